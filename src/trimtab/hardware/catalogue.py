"""The machines a plan can be made for without owning them: published devices, and tiers such as laptop-8g.

devices.csv holds one published device a row, with the address its figures come from and a confidence: A
confirmed in the source, B memory and bandwidth confirmed and peaks derived, C from memory. tiers.csv holds
classes of machines with the assumption behind each row. Leaves out: prices (prices.py), and what is on this
desk (detect.py).
"""

import csv
import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

from trimtab.errors import UsageError
from trimtab.hardware.machine import Device, DeviceKind, Machine
from trimtab.units import GIB

_GIGA, _TERA = 1e9, 1e12
_DEVICE_PEAKS = {
    "fp32": "fp32_tflops",
    "tf32": "tf32_tflops",
    "fp16": "fp16_tflops_dense",
    "bf16": "bf16_tflops_dense",
    "int8": "int8_tops_dense",
}
_TIER_PEAKS = {"fp32": "fp32_tflops", "fp16": "fp16_tflops", "bf16": "bf16_tflops", "int8": "int8_tops"}
_KINDS: dict[str, DeviceKind] = {"cpu": "cpu", "gpu": "gpu", "soc": "soc", "npu": "npu"}
_MEMORY_TOLERANCE = 0.12  # drivers report up to a tenth less than the box says (ECC, reserved pages)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    """A machine of the catalogue, and the names its driver gives it."""

    machine: Machine
    driver_names: tuple[str, ...] = ()


def machine_catalogue() -> tuple[Machine, ...]:
    """All machines of the catalogue, tiers first. `name` is the short word a user types."""
    return tuple(entry.machine for entry in _entries())


def machine_named(name: str, count: int = 1) -> Machine:
    """The catalogue machine of that name with `count` devices; "2xa100-40g-sxm" carries its own count.

    Case and spaces do not matter, and a device's full name ("RTX 3060 12GB") is taken too. Raises UsageError
    TT-H001 (no such machine, with the nearest names), TT-H002 (count below one, or two counts).
    """
    found = re.fullmatch(r"(\d{1,6})x(.+)", name.strip().lower())
    written, wanted = (int(found[1]), found[2]) if found else (1, name)
    if written < 1 or count < 1 or (found and count not in (1, written)):
        raise UsageError("TT-H002", name=name, count=count)
    known = _by_name()
    machine = known.get(_plain(wanted))
    if machine is None:
        nearest = _nearest(wanted)
        raise UsageError("TT-H001", name=name, suggestions=", ".join(nearest), suggestion=nearest[0])
    total = max(written, count)
    return machine if total == 1 else replace(machine, name=f"{total}x{machine.name}", count=total)


def device_by_driver_name(driver_name: str, memory_bytes: int | None) -> Device | None:
    """The published device a driver means by `driver_name`, where the memory agrees as well (an RTX 3060
    exists with 8 and with 12 GB); `memory_bytes` None = any size (unified memory is sold in several).
    None where the catalogue has no such device."""
    wanted = driver_name.strip().casefold()
    for entry in _entries():
        device = entry.machine.device
        names = {known.casefold() for known in entry.driver_names}
        if wanted in names and (memory_bytes is None or _agrees(memory_bytes, device.memory_bytes)):
            return device
    return None


def device_by_capability(capability: str, memory_bytes: int) -> Device | None:
    """The published GPU of the same generation (a feature such as "sm_86") that is nearest in memory."""
    same = [
        entry.machine.device
        for entry in _entries()
        if entry.driver_names and capability in entry.machine.device.features
    ]
    return min(same, key=lambda device: abs(device.memory_bytes - memory_bytes), default=None)


def _agrees(measured_bytes: int, published_bytes: int) -> bool:
    return abs(measured_bytes - published_bytes) <= _MEMORY_TOLERANCE * published_bytes


@cache
def _entries() -> tuple[_Entry, ...]:
    tiers = (_tier(row) for row in _rows("tiers.csv"))
    devices = (_device(row) for row in _rows("devices.csv"))
    return (*tiers, *devices)


@cache
def _by_name() -> Mapping[str, Machine]:
    full = {_plain(machine.device.name): machine for machine in machine_catalogue()}
    return full | {machine.name: machine for machine in machine_catalogue()}


def _nearest(name: str) -> list[str]:
    """Three short names: those that begin alike first ("rtx3060" is ambiguous, not wrong), then by
    spelling."""
    names = [machine.name for machine in machine_catalogue()]
    plain = _plain(name)
    alike = [known for known in names if known.startswith(plain) or plain.startswith(known)] if plain else []
    spelled = difflib.get_close_matches(plain, names, n=3, cutoff=0.0)
    return list(dict.fromkeys([*alike, *spelled]))[:3]


def _plain(name: str) -> str:
    return re.sub(r"[\s_]+", "-", name.strip().lower())


def _rows(file: str) -> Iterable[dict[str, str]]:
    text = (resources.files("trimtab.hardware") / file).read_text(encoding="utf-8")
    return csv.DictReader(text.splitlines())


def _device(row: Mapping[str, str]) -> _Entry:
    capability = row["compute_capability"]  # "8.6" on NVIDIA, else a word: "gfx942", "metal", "avx2"
    feature = f"sm_{capability.replace('.', '')}" if re.fullmatch(r"\d+\.\d", capability) else capability
    confidence, address, basis = row["confidence"], row["source_url"], row["usable_basis"]
    device = Device(
        name=row["name"],
        kind=_KINDS[row["kind"]],
        vendor=row["vendor"],
        memory_bytes=round(float(row["memory_gib"]) * GIB),
        usable_bytes=round(float(row["usable_gib"]) * GIB),
        bandwidth=float(row["bandwidth_gb_s"]) * _GIGA,
        peaks=_peaks(row, _DEVICE_PEAKS),
        features=(feature,),
        source=f"catalogue, confidence {confidence}: {address}; usable: {basis}",
    )
    names = tuple(name for name in row["driver_names"].split("|") if name)
    return _Entry(machine=_machine(row, device), driver_names=names)


def _tier(row: Mapping[str, str]) -> _Entry:
    device = Device(
        name=row["name"],
        kind=_KINDS[row["kind"]],
        vendor=row["vendor"],
        memory_bytes=round(float(row["memory_gib"]) * GIB),
        usable_bytes=round(float(row["usable_gib"]) * GIB),
        bandwidth=float(row["bandwidth_gb_s"]) * _GIGA,
        peaks=_peaks(row, _TIER_PEAKS),
        features=tuple(row["features"].split()),
        source=f"assumed: {row['assumption']}",
    )
    return _Entry(machine=_machine(row, device))


def _machine(row: Mapping[str, str], device: Device) -> Machine:
    """The host of a GPU is not in the catalogue (0 = unknown); elsewhere the device's memory is the
    host's."""
    host = 0 if device.kind in ("gpu", "npu") else device.memory_bytes
    return Machine(name=row["key"], device=device, cores=int(row["cores"] or 0), host_memory_bytes=host)


def _peaks(row: Mapping[str, str], columns: Mapping[str, str]) -> tuple[tuple[str, float], ...]:
    return tuple((dtype, float(row[column]) * _TERA) for dtype, column in columns.items() if row[column])
