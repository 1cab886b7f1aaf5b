"""estimate: everything predicted of one Strategy on one Machine. Pure and instant."""

import math

from trimtab.data.spec import DataSpec
from trimtab.estimation.estimate import Estimate, Phase, QualityPrior
from trimtab.estimation.memory import BYTES, memory
from trimtab.estimation.money import money
from trimtab.estimation.time import time
from trimtab.estimation.updated import updated_parameters, updated_shapes
from trimtab.hardware.machine import Machine
from trimtab.methods import Strategy, method_named
from trimtab.models.spec import ModelSpec
from trimtab.units import MIB, Evidence, Figure

_TOKENIZER_BYTES = 2 * MIB
_CHECKPOINTS_AT_ONCE = 3
_HEAD_LOSS = 10.0
_DEPTH_RATE = 5.0


def estimate(
    strategy: Strategy,
    spec: ModelSpec,
    data: DataSpec,
    machine: Machine,
    *,
    traced: tuple[Phase, ...] = (),
) -> Estimate:
    """Memory, time, money, disk and likely quality of `strategy`, each with its interval and evidence. `traced`:
    phases that a dry run has counted."""
    spent = time(strategy, spec, data, machine)
    return Estimate(
        strategy=strategy,
        trainable_parameters=strategy.trainable_parameters(spec, data.outputs),
        total_parameters=strategy.total_parameters(spec, data.outputs),
        memory=memory(strategy, spec, data, machine, traced=traced),
        time=spent,
        disk_bytes=_disk(strategy, spec, data),
        quality=_quality(strategy, spec),
        money=money(spent.total_seconds, machine.price) if machine.price else None,
    )


def _disk(strategy: Strategy, spec: ModelSpec, data: DataSpec) -> Figure:
    """The most the output folder holds: checkpoints (masters, states, best weights, an average where one is kept)
    and the artifact. A third checkpoint is written before the first is deleted."""
    trained = strategy.trainable_parameters(spec, data.outputs)
    total = strategy.total_parameters(spec, data.outputs)
    added = any(part.adapter for part in strategy.parts)
    artifact = (trained if added else total) * BYTES[strategy.precision] + _TOKENIZER_BYTES
    shapes = updated_shapes(strategy, spec, data)
    states = sum(strategy.optimizer.state_bytes(shape) * count for shape, count in shapes)
    copies = updated_parameters(strategy, spec, data) * (8 if strategy.ema_decay is None else 12)
    checkpoints = _CHECKPOINTS_AT_ONCE * (copies + states)
    return Figure.within(artifact + checkpoints, 0.1, Evidence.FORMULA)


def _quality(strategy: Strategy, spec: ModelSpec) -> QualityPrior:
    """The method's prior, less what shallow training loses.

    10 e^(-5 d) points, d = share of the layers that are trained: the value that leads from head alone (10 points
    below full tuning, d = 0) to a third of the layers (2 points). A rule between two published observations, not a
    law; it only orders depths of one method.
    """
    method = method_named(strategy.method)
    low, typical, high = method.quality
    trained = max(0, spec.layers - max(0, strategy.lowest_layer(spec))) / spec.layers
    loss = _HEAD_LOSS * math.exp(-_DEPTH_RATE * trained) if method.depths else 0.0
    figure = Figure(typical - loss, low - 2 * loss, max(high - loss, typical - loss), Evidence.RULE)
    return QualityPrior(relative=figure, source=method.quality_source)
