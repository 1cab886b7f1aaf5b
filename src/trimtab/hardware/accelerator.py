"""Graphics cards and Apple silicon found without torch: nvidia-smi, rocm-smi, sysctl.

A query may fail, hang or be missing: then there is no such device. What a tool cannot tell (peaks, bandwidth)
comes from the catalogue, by the driver's name for the card. Leaves out: Intel XPUs, which have no query tool
that comes with the driver.
"""

import csv
import itertools
import json
import os
import platform
import shutil
import subprocess
from dataclasses import replace

from trimtab.hardware.catalogue import device_by_capability, device_by_driver_name
from trimtab.hardware.cpu import Cpu
from trimtab.hardware.machine import Device
from trimtab.units import GIB, MIB

_QUERY_SECONDS = 2.0
_NVIDIA_FIELDS = "name,memory.total,memory.free,compute_cap"
_SMALL_APPLE_BYTES = 32 * GIB


def accelerators(cpu: Cpu, memory_bytes: int) -> tuple[Device, ...]:
    """All devices of the first kind found: NVIDIA, AMD, Apple. Empty on a machine with a CPU alone.

    `cpu` and `memory_bytes` are the host's: on Apple silicon the GPU shares them.
    """
    if platform.system() == "Darwin" and cpu.vendor == "Apple":
        return (apple_device(cpu.name, memory_bytes),)
    return nvidia_devices() or amd_devices()


def nvidia_devices() -> tuple[Device, ...]:
    """What nvidia-smi lists; `usable_bytes` is what is free on the card now."""
    output = _query("nvidia-smi", f"--query-gpu={_NVIDIA_FIELDS}", "--format=csv,noheader,nounits")
    rows = [[cell.strip() for cell in row] for row in csv.reader(output.splitlines())]
    devices = [_nvidia_device(*row) for row in rows if len(row) == 4 and row[1].isdigit()]
    return tuple(_visible(devices, os.environ.get("CUDA_VISIBLE_DEVICES")))


def amd_devices() -> tuple[Device, ...]:
    """What rocm-smi lists, as JSON: {"card0": {"Card Series": ..., "VRAM Total Memory (B)": ...}}."""
    output = _query("rocm-smi", "--showproductname", "--showmeminfo", "vram", "--json")
    try:
        cards = json.loads(output or "{}")
    except ValueError:
        return ()
    devices = []
    for name, card in sorted(cards.items()) if isinstance(cards, dict) else ():
        total = str(card.get("VRAM Total Memory (B)", "")) if isinstance(card, dict) else ""
        if name.startswith("card") and total.isdigit():
            used = str(card.get("VRAM Total Used Memory (B)", "0"))
            title = card.get("Card Series") or card.get("Card series") or "AMD GPU"
            free = int(total) - (int(used) if used.isdigit() else 0)
            devices.append(_found(str(title), "AMD", int(total), free, capability=""))
    return tuple(devices)


def apple_device(name: str, memory_bytes: int) -> Device:
    """Apple silicon: one memory for CPU and GPU, of which Metal lets the GPU hold about 70 % (75 % above 32
    GiB).

    Source: recommendedMaxWorkingSetSize in llama.cpp's logs (two thirds to 78 %, by macOS version).
    """
    share = 0.70 if memory_bytes <= _SMALL_APPLE_BYTES else 0.75
    device = _found(name, "Apple", memory_bytes, round(memory_bytes * share), capability="metal")
    return replace(device, kind="soc")


def driver_version() -> str:
    """NVIDIA's driver version, empty where there is none."""
    return _query("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader").split("\n")[0].strip()


def _visible(devices: list[Device], chosen: str | None) -> list[Device]:
    """The devices that CUDA_VISIBLE_DEVICES leaves ("0,2" by number; "" or "-1" none). CUDA stops at the
    first number that is no device; names of another kind (UUIDs) are taken as they are counted."""
    if chosen is None:
        return devices
    words = [word.strip() for word in chosen.split(",") if word.strip()]
    if any(not word.lstrip("-").isdigit() for word in words):
        return devices[: len(words)]
    numbers = itertools.takewhile(lambda number: 0 <= number < len(devices), map(int, words))
    return [devices[number] for number in numbers]


def _nvidia_device(name: str, total_mib: str, free_mib: str, capability: str) -> Device:
    total = int(total_mib) * MIB
    free = int(free_mib) * MIB if free_mib.isdigit() else total
    return _found(name, "NVIDIA", total, free, capability=f"sm_{capability.replace('.', '')}")


def _found(name: str, vendor: str, total_bytes: int, free_bytes: int, *, capability: str) -> Device:
    """A device with its measured memory, and bandwidth and peaks of the catalogue's device of that name. One
    the catalogue does not have borrows from the nearest in generation and memory, and says so."""
    here = Device(
        name=name,
        kind="gpu",
        vendor=vendor,
        memory_bytes=total_bytes,
        usable_bytes=max(0, min(free_bytes, total_bytes)),
        features=(capability,) if capability else (),
        source="driver",
    )
    known = device_by_driver_name(name, None if vendor == "Apple" else total_bytes)
    if known is not None:
        source = f"driver; peaks and bandwidth of {known.name}: {known.source}"
    else:
        known = device_by_capability(capability, total_bytes)
        if known is None:
            return here
        source = f"driver; not in the catalogue, peaks and bandwidth assumed like {known.name}"
    return replace(here, bandwidth=known.bandwidth, peaks=known.peaks, source=source)


def _query(program: str, *arguments: str) -> str:
    path = shutil.which(program)
    if path is None:
        return ""
    try:
        done = subprocess.run(
            [path, *arguments],
            capture_output=True,
            text=True,
            timeout=_QUERY_SECONDS,
            check=False,
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
