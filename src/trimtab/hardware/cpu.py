"""The processor: its name, what its instruction set can multiply, and how many FLOP/s that makes on paper.

Linux is read from /proc and /sys, macOS from sysctl, Windows as far as the standard library goes. Leaves out:
what the processor really reaches, which calibration.py measures.
"""

import functools
import os
import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from trimtab.hardware.cgroup import cpu_quota, whole_cpus

_DEFAULT_GHZ = 2.0  # where nothing tells the clock: a low, common base clock

# word in /proc/cpuinfo or sysctl -> our word
_FEATURES = {
    "avx2": "avx2",
    "avx512f": "avx512f",
    "avx512_bf16": "avx512_bf16",
    "avx512_vnni": "avx512_vnni",
    "avx_vnni": "avx2_vnni",
    "amx_bf16": "amx_bf16",
    "amx_int8": "amx_int8",
    "amx_tile": "amx_tile",
    "asimd": "neon",
    "asimddp": "asimddp",
    "bf16": "neon_bf16",
    "hw.optional.avx2_0": "avx2",
    "hw.optional.avx512f": "avx512f",
    "hw.optional.neon": "neon",
    "hw.optional.arm.FEAT_DotProd": "asimddp",
    "hw.optional.arm.FEAT_BF16": "neon_bf16",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Cpu:
    """One host's processor as this process may use it.

    `cores` are the CPUs the affinity mask and the quota allow, `physical` the cores behind them (two
    hyper-threads share one set of multipliers). `ghz` is the clock, 0.0 where unknown.
    """

    name: str
    vendor: str
    cores: int
    physical: int
    ghz: float
    features: tuple[str, ...]
    double_pumped: bool = False

    def peaks(self) -> tuple[tuple[str, float], ...]:
        """Peak FLOP/s by dtype = physical cores x clock x FLOP per cycle; see `flop_per_cycle`."""
        rate = self.physical * (self.ghz or _DEFAULT_GHZ) * 1e9
        return tuple((dtype, rate * flop) for dtype, flop in self.flop_per_cycle())

    def flop_per_cycle(self) -> tuple[tuple[str, float], ...]:
        """FLOP a cycle and core by dtype.

        fp32: lanes x 2 (multiply and add) x 2 units: AVX-512 64, AVX2 32, NEON 16, else SSE 8. Zen 4 runs
        AVX-512 in two halves: 32. bf16: twice fp32 with avx512_bf16 or NEON BF16, 1024 with AMX. int8: four
        times fp32 with a dot-product instruction, 2048 with AMX. (Intel optimisation manual, AMD Zen 4
        guide.)
        """
        has = set(self.features)
        if "avx512f" in has:
            fp32 = 32.0 if self.double_pumped else 64.0
        else:
            fp32 = 32.0 if "avx2" in has else 16.0 if "neon" in has else 8.0
        peaks = {"fp32": fp32}
        if has & {"avx512_bf16", "neon_bf16"}:
            peaks["bf16"] = 2 * fp32
        if has & {"avx512_vnni", "avx2_vnni", "asimddp"}:
            peaks["int8"] = 4 * fp32
        if "amx_bf16" in has:
            peaks["bf16"] = 1024.0
        if "amx_int8" in has:
            peaks["int8"] = 2048.0
        return tuple(peaks.items())


def this_cpu(root: Path = Path("/")) -> Cpu:
    """The processor of this machine. `root` is where proc/ and sys/ lie."""
    system = platform.system()
    if system == "Darwin":
        return _macos_cpu()
    if system == "Windows":
        return _windows_cpu()
    return linux_cpu(root)


def linux_cpu(root: Path = Path("/")) -> Cpu:
    """From /proc/cpuinfo, cpufreq, the affinity mask and the cgroup quota."""
    fields = cpuinfo(root)
    cores = allowed_cores(root)
    flags = fields.get("flags", fields.get("Features", "")).split()
    vendor = {"GenuineIntel": "Intel", "AuthenticAMD": "AMD"}.get(fields.get("vendor_id", ""), "")
    name = fields.get("model name") or fields.get("Model") or platform.machine()
    return Cpu(
        name=re.sub(r"\s+", " ", name).strip(),
        vendor=vendor or ("Arm" if "Features" in fields else ""),
        cores=cores,
        physical=max(1, round(cores / _threads_per_core(fields))),
        ghz=_linux_ghz(root, fields),
        features=_known_features(flags),
        double_pumped=vendor == "AMD" and fields.get("cpu family") == "25",
    )


def cpuinfo(root: Path = Path("/")) -> dict[str, str]:
    """The fields of the first processor in /proc/cpuinfo, and those that follow the last one on Arm
    boards."""
    try:
        text = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, found, value = line.partition(":")
        if found:
            fields.setdefault(key.strip(), value.strip())
    return fields


def allowed_cores(root: Path = Path("/")) -> int:
    """CPUs this process may keep busy: affinity mask, cut by the cgroup quota, at least one."""
    quota = cpu_quota(root)
    cores = _affinity()
    return cores if quota is None else min(cores, whole_cpus(quota))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _known_features(words: list[str]) -> tuple[str, ...]:
    return tuple(sorted({_FEATURES[word] for word in words if word in _FEATURES}))


def _threads_per_core(fields: dict[str, str]) -> float:
    """siblings / cpu cores of a socket, where the kernel tells both."""
    siblings, cores = fields.get("siblings", ""), fields.get("cpu cores", "")
    if siblings.isdigit() and cores.isdigit() and int(cores) > 0:
        return max(1.0, int(siblings) / int(cores))
    return 1.0


def _linux_ghz(root: Path, fields: dict[str, str]) -> float:
    """The base clock where cpufreq tells it (all cores hold it under vector load), else the one in the name
    ("@ 2.70GHz"), else the present one."""
    frequencies = root / "sys/devices/system/cpu/cpu0/cpufreq"
    for file in ("base_frequency", "cpuinfo_max_freq"):
        try:
            return int((frequencies / file).read_text()) / 1e6
        except (OSError, ValueError):
            continue
    named = re.search(r"@\s*([0-9.]+)\s*GHz", fields.get("model name", ""))
    if named:
        return float(named[1])
    try:
        return float(fields.get("cpu MHz", "0")) / 1000
    except ValueError:
        return 0.0


def _macos_cpu() -> Cpu:
    names = ("machdep.cpu.brand_string", "hw.physicalcpu", "hw.cpufrequency")
    values = {name: sysctl(name) for name in (*names, *(key for key in _FEATURES if key.startswith("hw.")))}
    cores = allowed_cores()
    physical = values["hw.physicalcpu"]
    name = values["machdep.cpu.brand_string"] or platform.machine()
    hertz = values["hw.cpufrequency"]
    return Cpu(
        name=name,
        vendor="Apple" if name.startswith("Apple") else "Intel",
        cores=cores,
        physical=min(cores, int(physical)) if physical.isdigit() else cores,
        ghz=int(hertz) / 1e9 if hertz.isdigit() else 3.2,  # Apple silicon does not tell; M1 runs at 3.2 GHz
        features=_known_features([key for key, value in values.items() if value == "1"]),
    )


def _windows_cpu() -> Cpu:
    """Instruction sets cannot be asked for without native code; every x86 of the last ten years has AVX2."""
    import psutil

    cores = allowed_cores()
    arm = platform.machine().lower() in ("arm64", "aarch64")
    frequency = psutil.cpu_freq()
    return Cpu(
        name=platform.processor() or platform.machine(),
        vendor="",
        cores=cores,
        physical=min(cores, psutil.cpu_count(logical=False) or cores),
        ghz=frequency.max / 1000 if frequency else 0.0,
        features=("neon",) if arm else ("avx2",),
    )


@functools.cache
def sysctl(name: str) -> str:
    """The value of a macOS sysctl, empty where there is none."""
    try:
        done = subprocess.run(
            ["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, timeout=2, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
