"""Calibrate this machine for the training stack: matmul rates in each precision, threads, bare memory.

Ten seconds at most, once a machine and library version; kept in the cache folder. Leaves out: GPUs, whose
rates come from the catalogue until runs are in the ledger.
"""

import os
import subprocess
import sys
import time

import torch

from trimtab.hardware.calibration import cached_calibration, save_calibration
from trimtab.hardware.machine import Calibration
from trimtab.training.meter import MemoryMeter
from trimtab.units import Evidence

# (rows, inputs, outputs): layers of small and base encoders at a few hundred to a thousand tokens
_SHAPES = ((800, 384, 384), (800, 384, 1536), (800, 1536, 384), (1024, 768, 768), (1024, 768, 3072))
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_SECONDS_A_SHAPE = 0.15
_COPY_NUMBERS = 16 * 1024 * 1024


def calibrated(key: str, cores: int) -> Calibration:
    """The kept calibration of `key`, or a fresh one, which is kept. `cores` = cores this process may use."""
    kept = cached_calibration(key)
    if kept is not None and kept.evidence is Evidence.MEASURED:
        return kept
    runtime_bytes = _bare_runtime_bytes()
    threads = max(1, min(cores, os.cpu_count() or 1))
    torch.set_num_threads(threads)
    rates = tuple((name, _rate(dtype)) for name, dtype in _DTYPES.items())
    fresh = Calibration(
        key=key,
        matmul_rates=rates,
        threads=threads,
        runtime_bytes=runtime_bytes,
        bandwidth=_bandwidth(),
        evidence=Evidence.MEASURED,
    )
    save_calibration(fresh)
    return fresh


def _bare_runtime_bytes() -> int:
    """Resident memory of a fresh process that has imported the training stack: this one may hold data already."""
    program = (
        "import torch, trimtab.training\n"
        "from trimtab.training.meter import MemoryMeter\n"
        "print(MemoryMeter(torch.device('cpu')).now_bytes())"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
        )
        return int(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):  # no second process to be had: an embedded Python
        return MemoryMeter(torch.device("cpu")).now_bytes()


def _rate(dtype: torch.dtype) -> float:
    """FLOP/s over the shapes: all work by the sum of the best times."""
    work = seconds = 0.0
    for rows, inputs, outputs in _SHAPES:
        x, weight = torch.randn(rows, inputs).to(dtype), torch.randn(outputs, inputs).to(dtype)
        seconds += _best_seconds(lambda x=x, weight=weight: torch.nn.functional.linear(x, weight))
        work += 2.0 * rows * inputs * outputs
    return work / seconds


def _bandwidth() -> float:
    """Bytes a second of a copy, reading and writing counted."""
    source, target = torch.empty(_COPY_NUMBERS).fill_(1.0), torch.empty(_COPY_NUMBERS)
    return 8.0 * _COPY_NUMBERS / _best_seconds(lambda: target.copy_(source))


def _best_seconds(work) -> float:  # type: ignore[no-untyped-def]
    work()
    best, end = float("inf"), time.perf_counter() + _SECONDS_A_SHAPE
    while time.perf_counter() < end:
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best
