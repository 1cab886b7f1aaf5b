"""The processor, from /proc/cpuinfo of real machines, and its peaks against published figures."""

from dataclasses import replace
from pathlib import Path

import pytest

from trimtab.hardware.catalogue import machine_named
from trimtab.hardware.cpu import Cpu, linux_cpu

ICE_LAKE = """processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model name\t: Intel(R) Xeon(R) Platinum 8369B CPU @ 2.70GHz
cpu MHz\t\t: 3499.998
siblings\t: 16
cpu cores\t: 8
flags\t\t: fpu sse2 avx avx2 fma avx512f avx512dq avx512bw avx512_vnni

processor\t: 1
vendor_id\t: GenuineIntel
model name\t: another
"""
ZEN4 = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model name\t: AMD EPYC 9654
cpu MHz\t\t: 2400.000
siblings\t: 2
cpu cores\t: 2
flags\t\t: fpu avx2 avx512f avx512_bf16 avx512_vnni
"""
RASPBERRY = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid asimdrdm lrcpc dcpop asimddp

Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""


def cpu_from(tmp_path: Path, cpuinfo: str, files: dict[str, str] | None = None) -> Cpu:
    for name, text in {"proc/cpuinfo": cpuinfo, **(files or {})}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return linux_cpu(tmp_path)


def test_intel_server(tmp_path: Path) -> None:
    cpu = cpu_from(tmp_path, ICE_LAKE)
    assert cpu.name == "Intel(R) Xeon(R) Platinum 8369B CPU @ 2.70GHz"
    assert cpu.ghz == 2.7, "the clock all cores hold, not the boost of this moment"
    assert cpu.features == ("avx2", "avx512_vnni", "avx512f")
    assert "bf16" not in dict(cpu.peaks())


def test_two_threads_of_a_core_share_its_multipliers(tmp_path: Path) -> None:
    cpu = cpu_from(tmp_path, ICE_LAKE)
    assert cpu.physical == max(1, round(cpu.cores / 2))


def test_arm_board_clock_comes_from_cpufreq(tmp_path: Path) -> None:
    cpufreq = {"sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "2400000\n"}
    cpu = cpu_from(tmp_path, RASPBERRY, cpufreq)
    assert (cpu.name, cpu.ghz) == ("Raspberry Pi 5 Model B Rev 1.0", 2.4)
    assert cpu.features == ("asimddp", "neon")


def test_no_cpuinfo_at_all_still_gives_a_machine(tmp_path: Path) -> None:
    cpu = linux_cpu(tmp_path)
    assert cpu.cores >= 1 and cpu.name and dict(cpu.peaks())["fp32"] > 0


@pytest.mark.parametrize(
    ("cpuinfo", "cores", "published", "tolerance"),
    [(ICE_LAKE, 32, "xeon-8369b", 0.01), (ZEN4, 96, "epyc-9654", 0.01)],
)
def test_peaks_agree_with_published_sockets(
    tmp_path: Path, cpuinfo: str, cores: int, published: str, tolerance: float
) -> None:
    cpu = replace(cpu_from(tmp_path, cpuinfo), cores=cores, physical=cores)
    device = machine_named(published).device
    for dtype, flops in device.peaks:
        assert dict(cpu.peaks())[dtype] == pytest.approx(flops, rel=tolerance)


def test_amx_peak_of_a_sapphire_rapids_socket() -> None:
    """56 cores x 2.0 GHz x 1024 = 114.7 Tops bf16, Intel's own figure."""
    features = ("amx_bf16", "amx_int8", "avx2", "avx512_bf16", "avx512f", "avx512_vnni")
    cpu = Cpu(name="8480+", vendor="Intel", cores=112, physical=56, ghz=2.0, features=features)
    assert dict(cpu.peaks()) == pytest.approx({"fp32": 7.17e12, "bf16": 114.7e12, "int8": 229.4e12}, rel=0.01)
