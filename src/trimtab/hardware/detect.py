"""This machine, looked at without torch in a fraction of a second: what a process started now may use.

Leaves out: how fast it really is (calibration.py) and what is missing on it (doctor.py).
"""

import importlib.util
import os
import platform
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from trimtab.hardware.accelerator import accelerators
from trimtab.hardware.calibration import cached_calibration, calibration_key
from trimtab.hardware.cgroup import memory_limit, smallest_memory_limit
from trimtab.hardware.cpu import Cpu, this_cpu
from trimtab.hardware.machine import Device, Machine


@dataclass(frozen=True, slots=True)
class HostMemory:
    """Bytes of main memory: what this process may use at most, and what of that is free now."""

    total_bytes: int
    usable_bytes: int


def this_machine(root: Path = Path("/")) -> Machine:
    """The machine this process runs on, with the calibration kept for it where there is one.

    Its device is the GPU where there is one (of several kinds, the one with most memory free), else the CPU.
    Cores and memory are what affinity and container limits leave. `root` is where proc/ and sys/ lie.
    """
    cpu = this_cpu(root)
    memory = host_memory(root)
    found = accelerators(cpu, memory.total_bytes)
    device, count = _best_group(found) if found else (cpu_device(cpu, memory), 1)
    if device.kind == "soc":
        device = replace(device, usable_bytes=min(device.usable_bytes, memory.usable_bytes))
    machine = Machine(
        name=platform.node() or "here",
        device=device,
        count=count,
        cores=cpu.cores,
        host_memory_bytes=memory.total_bytes,
        is_here=True,
        quantises=importlib.util.find_spec("bitsandbytes") is not None,
    )
    return replace(machine, calibration=cached_calibration(calibration_key(machine)))


def cpu_device(cpu: Cpu, memory: HostMemory) -> Device:
    """The CPU as a device. Its peaks are a formula; its bandwidth cannot be asked for and is left to
    calibration."""
    clock = f"{cpu.ghz:.2f} GHz" if cpu.ghz else "an assumed 2.00 GHz"
    return Device(
        name=cpu.name,
        kind="cpu",
        vendor=cpu.vendor,
        memory_bytes=memory.total_bytes,
        usable_bytes=memory.usable_bytes,
        peaks=cpu.peaks(),
        features=cpu.features,
        source=f"formula: {cpu.physical} cores x {clock} x FLOP per cycle of the instruction set",
    )


def host_memory(root: Path = Path("/")) -> HostMemory:
    """The host's memory, cut by every container limit on the way up. Swap is not counted."""
    import psutil

    system = psutil.virtual_memory()
    total = min(int(system.total), smallest_memory_limit(root) or int(system.total))
    tightest = memory_limit(root)
    free = int(system.available) if tightest is None else min(int(system.available), tightest.free_bytes)
    return HostMemory(total, min(free, total))


def container(root: Path = Path("/")) -> str:
    """The kind of container this process runs in ("docker", "podman", "kubernetes", ...), empty for none."""
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return "kubernetes"
    for mark, kind in ((".dockerenv", "docker"), ("run/.containerenv", "podman")):
        if (root / mark).exists():
            return kind
    try:
        return (root / "run/systemd/container").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _best_group(devices: tuple[Device, ...]) -> tuple[Device, int]:
    """Equal devices count together, at the memory of the fullest one: a plan must fit on each."""
    counts = Counter(device.name for device in devices)
    best = max(devices, key=lambda device: device.usable_bytes)
    fullest = min(device.usable_bytes for device in devices if device.name == best.name)
    return replace(best, usable_bytes=fullest), counts[best.name]
