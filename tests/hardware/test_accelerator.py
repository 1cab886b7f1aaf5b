"""GPUs as their own tools list them: real executables on PATH that print what the tools print."""

import json
import os
import stat
import sys
import time
from pathlib import Path

import pytest

from trimtab.hardware.accelerator import accelerators, amd_devices, apple_device, nvidia_devices
from trimtab.hardware.cpu import this_cpu
from trimtab.hardware.detect import this_machine
from trimtab.units import GIB, MIB

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-ins are shell scripts")

A100S = """NVIDIA A100-SXM4-40GB, 40960, 40330, 8.0
NVIDIA A100-SXM4-40GB, 40960, 20000, 8.0
"""


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts an executable on an otherwise empty PATH; it prints `text` and ends with `status`."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def place(name: str, text: str, status: int = 0, before: str = "") -> None:
        path = tmp_path / name
        path.write_text(
            f"#!{sys.executable}\nimport sys, time\n{before}\nprint({text!r}, end='')\nsys.exit({status})\n"
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return place


def test_no_tool_no_device(tool) -> None:
    assert accelerators(this_cpu(), 8 * GIB) == ()
    assert this_machine().device.kind == "cpu"


def test_nvidia_memory_is_the_drivers_and_speed_the_catalogues(tool) -> None:
    tool("nvidia-smi", "Tesla T4, 15360, 15095, 7.5\n")
    (device,) = nvidia_devices()
    assert (device.memory_bytes, device.usable_bytes) == (15360 * MIB, 15095 * MIB)
    assert (device.peak("fp16"), device.peak("bf16"), device.bandwidth) == (65e12, None, 320e9)
    assert device.features == ("sm_75",)
    assert "T4" in device.source


def test_two_equal_cards_are_planned_for_the_fuller_one(tool) -> None:
    tool("nvidia-smi", A100S)
    machine = this_machine()
    assert (machine.count, machine.device.usable_bytes) == (2, 20000 * MIB)
    assert machine.host_memory_bytes > 0 and machine.cores >= 1 and machine.is_here


@pytest.mark.parametrize(
    ("visible", "count"), [("0", 1), ("1,0", 2), ("", 0), ("-1", 0), ("0,5,1", 1), ("GPU-1f", 1)]
)
def test_cards_hidden_from_cuda_are_hidden_here(tool, monkeypatch, visible: str, count: int) -> None:
    tool("nvidia-smi", A100S)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert len(nvidia_devices()) == count


def test_an_unknown_card_says_whose_speed_it_borrows(tool) -> None:
    tool("nvidia-smi", "NVIDIA GeForce RTX 4070 SUPER, 12282, 11900, 8.9\n")
    (device,) = nvidia_devices()
    assert device.memory_bytes == 12282 * MIB
    assert "assumed like RTX 4070" in device.source


@pytest.mark.parametrize("text", ["", "NVIDIA-SMI has failed\n", "Orin (nvgpu), [N/A], [N/A], 8.7\n", "a, b\n"])
def test_output_that_makes_no_sense_is_no_device(tool, text: str) -> None:
    tool("nvidia-smi", text)
    assert nvidia_devices() == ()


def test_a_failing_driver_is_no_device(tool) -> None:
    tool("nvidia-smi", A100S, status=9)
    assert nvidia_devices() == ()


def test_a_hanging_driver_is_given_up(tool) -> None:
    tool("nvidia-smi", A100S, before="time.sleep(30)")
    start = time.monotonic()
    assert nvidia_devices() == ()
    assert time.monotonic() - start < 5


def test_amd_cards(tool) -> None:
    card = {
        "Card Series": "AMD Instinct MI300X OAM",
        "VRAM Total Memory (B)": str(206141652992),
        "VRAM Total Used Memory (B)": str(297603072),
    }
    tool("rocm-smi", json.dumps({"card1": card, "card0": card, "system": {"Driver version": "6.8"}}))
    first, second = amd_devices()
    assert first == second
    assert first.usable_bytes == 206141652992 - 297603072
    assert first.peak("bf16") == 1307e12


def test_apple_silicon_shares_its_memory() -> None:
    """recommendedMaxWorkingSetSize of a 96 GiB M2 Max is 73,728 MiB in llama.cpp's logs."""
    big = apple_device("Apple M2 Max", 96 * GIB)
    assert (big.kind, big.usable_bytes) == ("soc", 73728 * MIB)
    small = apple_device("Apple M2", 8 * GIB)
    assert small.usable_bytes == pytest.approx(0.70 * 8 * GIB)
    assert small.bandwidth == 100e9, "the chip's bandwidth, whatever memory it was sold with"
