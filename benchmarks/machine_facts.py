"""The head of every benchmark's output: machine and versions."""

import platform
from importlib.metadata import version

from trimtab.hardware import this_machine
from trimtab.units import format_bytes

_LIBRARIES = ("trimtab", "torch", "transformers", "peft", "accelerate", "numpy")


def print_facts() -> None:
    machine = this_machine()
    words = " ".join(machine.device.features)
    print(f"{machine.device.name}, {machine.cores} cores, {format_bytes(machine.host_memory_bytes)}, {words}")
    print(f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in _LIBRARIES))
