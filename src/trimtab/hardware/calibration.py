"""How fast this machine multiplies: a short probe without torch, and the file that keeps what was measured.

Leaves out: the calibration of the training stack (bf16, threads, resident memory of torch), which is below
the torch line and saves its result through `save_calibration` under the same key.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, fields
from importlib import metadata
from pathlib import Path

from trimtab.hardware.machine import Calibration, Machine, StepCosts, StepWork
from trimtab.home import cache_folder, write_atomically
from trimtab.units import GIB, MIB, Evidence

# (rows, inputs, outputs): matrices of a 768-wide encoder layer, 4 to 8 texts of 128 tokens
_SHAPES = ((512, 768, 768), (1024, 768, 768), (512, 768, 3072))
_REPEATS = 4
_BUDGET_SECONDS = 0.2
_COPY_BYTES = 64 * MIB
_PROBE = "probe 2"  # another number when training computes otherwise, so that what was timed before is left alone
_LIBRARIES = ("numpy", "torch", "transformers", "peft", "bitsandbytes")
_HALF_PRECISION = frozenset({"avx512_bf16", "amx_bf16", "neon_bf16"})


def calibration_key(machine: Machine) -> str:
    """Names what a calibration holds for: device, count, cores, memory to the GiB, instruction set, and the
    versions of the libraries that a training imports (read from their metadata; none is imported). bitsandbytes,
    where it is installed, is imported by peft and takes 45 MiB."""
    device = machine.device
    memory = f"{machine.host_memory_bytes / GIB:.0f} GiB"
    versions = [f"{name} {_version(name)}" for name in _LIBRARIES]
    facts = (f"{machine.count} x {device.name}", f"{machine.cores} cores", memory, " ".join(device.features))
    return "; ".join((*facts, *versions, _PROBE))


def cached_calibration(key: str) -> Calibration | None:
    """The calibration kept under `key`. None where there is none, or the file is damaged or of another
    format."""
    try:
        facts = json.loads(_file(key).read_text(encoding="utf-8"))
        if facts["key"] != key:
            return None
        return Calibration(
            key=key,
            matmul_rates=tuple((str(dtype), float(rate)) for dtype, rate in facts["matmul_rates"]),
            threads=int(facts["threads"]),
            runtime_bytes=int(facts["runtime_bytes"]),
            working_bytes=int(facts["working_bytes"]),
            bandwidth=float(facts["bandwidth"]),
            step_costs=tuple(_costs(dtype, each) for dtype, each in facts["step_costs"]),
            busy=bool(facts["busy"]),
            fp32_onednn=bool(facts["fp32_onednn"]),
            evidence=Evidence(facts["evidence"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def save_calibration(calibration: Calibration) -> bool:
    """Keep it for later processes. False where the cache folder cannot be written: measuring again is no
    error."""
    facts = {
        "key": calibration.key,
        "matmul_rates": calibration.matmul_rates,
        "threads": calibration.threads,
        "runtime_bytes": calibration.runtime_bytes,
        "working_bytes": calibration.working_bytes,
        "bandwidth": calibration.bandwidth,
        "step_costs": [(costs.dtype, asdict(costs.seconds_each)) for costs in calibration.step_costs],
        "busy": calibration.busy,
        "fp32_onednn": calibration.fp32_onednn,
        "evidence": calibration.evidence,
    }
    try:
        write_atomically(_file(calibration.key), json.dumps(facts, indent=1) + "\n")
    except OSError:
        return False
    return True


def probe_matmul(machine: Machine | None = None) -> Calibration:
    """Measure fp32 matmul (FLOP/s) and memory copy (bytes/s, read and write counted) with numpy, in about 0.3
    s.

    The rate is all shapes' FLOP over the sum of their best times: what a transformer layer sees. bf16 is not
    measured: where the CPU has bf16 instructions it is taken as twice fp32 (they do twice the work a cycle;
    AMX does more), elsewhere it is left out. `machine` None = this machine. Nothing is saved.
    """
    from trimtab.hardware.detect import this_machine

    machine = machine or this_machine()
    fp32 = _fp32_rate()
    rates = [("fp32", fp32)]
    if _HALF_PRECISION & set(machine.device.features):
        rates.append(("bf16", 2 * fp32))
    return Calibration(
        key=calibration_key(machine),
        matmul_rates=tuple(rates),
        threads=machine.cores,
        bandwidth=_copy_rate(),
        evidence=Evidence.PROBE,
    )


def _fp32_rate() -> float:
    """FLOP/s over `_SHAPES`. A slow machine gets fewer repeats, every shape at least one after a warm-up."""
    import numpy as np

    generator = np.random.default_rng(0)
    deadline = time.perf_counter() + _BUDGET_SECONDS
    flop = seconds = 0.0
    for rows, inputs, outputs in _SHAPES:
        left = generator.standard_normal((rows, inputs), dtype=np.float32)
        right = generator.standard_normal((inputs, outputs), dtype=np.float32)
        result = np.empty((rows, outputs), dtype=np.float32)
        np.matmul(left[:64], right, out=result[:64])  # starts the threads, touches the memory
        best = float("inf")
        for _ in range(_REPEATS):
            start = time.perf_counter()
            np.matmul(left, right, out=result)
            best = min(best, time.perf_counter() - start)
            if time.perf_counter() > deadline:
                break
        flop += 2.0 * rows * inputs * outputs
        seconds += best
    return flop / seconds


def _copy_rate() -> float:
    """Bytes per second of a copy larger than most caches, best of three, read and write counted."""
    import numpy as np

    source = np.ones(_COPY_BYTES // 4, dtype=np.float32)
    target = np.empty_like(source)
    target.fill(0)  # pages are mapped before the clock runs
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        np.copyto(target, source)
        best = min(best, time.perf_counter() - start)
    return 2 * _COPY_BYTES / best


def _costs(dtype: str, each: Mapping[str, float]) -> StepCosts:
    """Raises ValueError where there are other costs than those of now."""
    if set(each) != {field.name for field in fields(StepWork)}:
        raise ValueError(f"costs of {sorted(each)}")
    return StepCosts(dtype=dtype, seconds_each=StepWork(**{name: float(cost) for name, cost in each.items()}))


def _file(key: str) -> Path:
    return cache_folder() / "calibration" / f"{hashlib.sha256(key.encode()).hexdigest()[:20]}.json"


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "absent"
