"""estimate: everything predicted of one Strategy on one Machine. Pure and instant."""

from trimtab.data.spec import DataSpec
from trimtab.estimation.estimate import Estimate, QualityPrior
from trimtab.estimation.memory import BYTES, memory
from trimtab.estimation.time import time
from trimtab.hardware.machine import Machine
from trimtab.methods import Strategy, method_named
from trimtab.models.spec import ModelSpec
from trimtab.units import MIB, Evidence, Figure

_TOKENIZER_BYTES = 2 * MIB
_CHECKPOINTS_KEPT = 2


def estimate(strategy: Strategy, spec: ModelSpec, data: DataSpec, machine: Machine) -> Estimate:
    """Memory, time, disk and likely quality of `strategy`, each with its interval and evidence."""
    return Estimate(
        strategy=strategy,
        trainable_parameters=strategy.trainable_parameters(spec, data.outputs),
        total_parameters=strategy.total_parameters(spec, data.outputs),
        memory=memory(strategy, spec, data, machine),
        time=time(strategy, spec, data, machine),
        disk_bytes=_disk(strategy, spec, data),
        quality=_quality(strategy),
    )


def _disk(strategy: Strategy, spec: ModelSpec, data: DataSpec) -> Figure:
    """The most the output folder holds: two checkpoints (masters, two states, best weights) and the artifact."""
    trained = strategy.trainable_parameters(spec, data.outputs)
    total = strategy.total_parameters(spec, data.outputs)
    added = any(part.adapter for part in strategy.parts)
    artifact = (trained if added else total) * BYTES[strategy.precision] + _TOKENIZER_BYTES
    checkpoints = _CHECKPOINTS_KEPT * trained * (4 + 8 + 4)
    return Figure.within(artifact + checkpoints, 0.1, Evidence.FORMULA)


def _quality(strategy: Strategy) -> QualityPrior:
    method = method_named(strategy.method)
    low, typical, high = method.quality
    return QualityPrior(relative=Figure(typical, low, high, Evidence.RULE), source=method.quality_source)
