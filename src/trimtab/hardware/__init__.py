"""hardware: Machines, from the catalogue or the one this runs on, and what was measured on it.

Leaves out: measuring the training stack, which needs torch and is in `trimtab.training.calibrate`.
"""

from trimtab.hardware.calibration import (
    cached_calibration,
    calibration_key,
    probe_matmul,
    save_calibration,
)
from trimtab.hardware.catalogue import machine_catalogue, machine_named
from trimtab.hardware.detect import this_machine
from trimtab.hardware.doctor import Diagnosis, examine
from trimtab.hardware.machine import Calibration, Device, Machine, Price
from trimtab.hardware.prices import Offer

__all__ = [
    "Calibration",
    "Device",
    "Diagnosis",
    "Machine",
    "Offer",
    "Price",
    "cached_calibration",
    "calibration_key",
    "examine",
    "machine_catalogue",
    "machine_named",
    "probe_matmul",
    "save_calibration",
    "this_machine",
]
