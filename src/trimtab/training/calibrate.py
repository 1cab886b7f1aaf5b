"""Calibrate this machine for the training stack: rates, costs of a step, threads, memory of a process.

About twelve seconds, once a machine and library version; kept in the cache folder. Leaves out: GPUs, whose rates
come from the catalogue until runs are in the ledger.
"""

import subprocess
import sys
from dataclasses import replace

import psutil

from trimtab.hardware.calibration import cached_calibration, save_calibration
from trimtab.hardware.machine import Calibration
from trimtab.training.probe import Probed, from_json, probe
from trimtab.units import Evidence

_LOOK_SECONDS = 0.3
_BUSY_PERCENT = 20


def calibrated(key: str, cores: int) -> Calibration:
    """The kept calibration of `key`, or a fresh one, which is kept; one that was made while others were at work is
    made again when they no longer are. `cores` = cores this process may use."""
    kept = cached_calibration(key)
    if kept is not None and kept.evidence is not Evidence.MEASURED:
        kept = None
    busy = (kept is None or kept.busy) and _others_at_work()
    if kept is not None and (busy or not kept.busy):
        return kept
    probed = _in_fresh_process(cores)
    fresh = Calibration(
        key=key,
        matmul_rates=probed.matmul_rates,
        threads=probed.threads,
        runtime_bytes=probed.runtime_bytes,
        working_bytes=probed.working_bytes,
        bandwidth=probed.bandwidth,
        step_costs=probed.step_costs,
        busy=busy,
        fp32_onednn=probed.fp32_onednn,
        evidence=Evidence.MEASURED,
    )
    save_calibration(fresh)
    return fresh


def _others_at_work() -> bool:
    """Whether other processes keep more than a fifth of the processors busy, looked at for a moment."""
    return psutil.cpu_percent(interval=_LOOK_SECONDS) > _BUSY_PERCENT


def _in_fresh_process(cores: int) -> Probed:
    """A process that holds nothing but the training stack: this one may hold data already. Where no second process
    is to be had (an embedded Python) this one measures, and says nothing of what steps leave behind."""
    command = [sys.executable, "-m", "trimtab.training.probe", str(max(1, cores))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return from_json(done.stdout)
    except (OSError, ValueError, KeyError, TypeError, subprocess.SubprocessError):
        return replace(probe(max(1, cores)), working_bytes=0)
