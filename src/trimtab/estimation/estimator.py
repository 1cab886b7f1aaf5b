"""estimate: everything predicted of one Strategy on one Machine. Pure and instant."""

import math

from trimtab.data.spec import DataSpec
from trimtab.estimation.estimate import Estimate, Phase, QualityPrior, StageEstimate
from trimtab.estimation.held import BYTES
from trimtab.estimation.memory import memory
from trimtab.estimation.money import money
from trimtab.estimation.prefix import prefix_bytes
from trimtab.estimation.teacher import Teacher
from trimtab.estimation.time import time
from trimtab.estimation.updated import updated_parameters, updated_shapes
from trimtab.hardware.machine import Machine
from trimtab.methods import BasePrecision, Strategy, method_named
from trimtab.models.spec import ModelSpec
from trimtab.units import MIB, Evidence, Figure

_TOKENIZER_BYTES = 2 * MIB
_CHECKPOINTS_AT_ONCE = 3
_HEAD_LOSS = 10.0
# Points that a base in few bits costs: likely, at worst; a rule. QLoRA paper (arXiv 2305.14314), tables 3 and 4:
# int8 as good as 16 bit on GLUE, NF4 with double quantisation on five-shot MMLU in the mean (53.1 against 53.0).
_QUANTISED_LOSS: dict[BasePrecision, tuple[float, float]] = {
    "same": (0.0, 0.0),
    "int8": (0.1, 0.5),
    "nf4": (0.2, 1.0),
}
_QUANTISED_SOURCE = "QLoRA paper tables 3 and 4 (int8 and NF4 as good as 16 bit in the mean)"
_DEPTH_RATE = 5.0


def estimate(
    strategy: Strategy,
    spec: ModelSpec,
    data: DataSpec,
    machine: Machine,
    *,
    traced: tuple[Phase, ...] = (),
    teacher: Teacher | None = None,
) -> Estimate:
    """Memory, time, money, disk and likely quality of `strategy`, each with its interval and evidence. `traced`:
    phases that a dry run has counted. `teacher`: of a distillation, in memory, time and money; not in `stages`."""
    data = data.cut_at(strategy.max_length)
    spent = time(strategy, spec, data, machine, teacher=teacher)
    return Estimate(
        strategy=strategy,
        trainable_parameters=strategy.trainable_parameters(spec, data.outputs),
        total_parameters=strategy.total_parameters(spec, data.outputs),
        memory=memory(strategy, spec, data, machine, traced=traced, teacher=teacher),
        time=spent,
        disk_bytes=_disk(strategy, spec, data),
        kept_bytes=_kept_bytes(strategy, spec, data),
        quality=_quality(strategy, spec),
        money=money(spent.total_seconds, machine.price) if machine.price else None,
        prefix_bytes=prefix_bytes(strategy, spec, data),
        stages=tuple(_stage(stage, spec, data, machine) for stage in strategy.stages if stage is not strategy),
    )


def _stage(strategy: Strategy, spec: ModelSpec, data: DataSpec, machine: Machine) -> StageEstimate:
    """By formula."""
    assert strategy.span is not None, "a stage has its layers"
    spent, (first, last) = time(strategy, spec, data, machine), strategy.span
    return StageEstimate(
        first=first,
        last=last,
        epochs=strategy.schedule.epochs,
        steps=spent.steps,
        learning_rate=strategy.schedule.learning_rate,
        trainable_parameters=strategy.trainable_parameters(spec, data.outputs),
        step_seconds=spent.step_seconds,
        peak_bytes=memory(strategy, spec, data, machine).peak_bytes,
    )


def _disk(strategy: Strategy, spec: ModelSpec, data: DataSpec) -> Figure:
    """The most the output folder holds: checkpoints (masters, states, best weights, an average where one is kept)
    and the artifact. A third checkpoint is written before the first is deleted."""
    artifact = _kept_bytes(strategy, spec, data) + _TOKENIZER_BYTES
    shapes = updated_shapes(strategy, spec, data)
    states = sum(strategy.optimizer.state_bytes(shape) * count for shape, count in shapes)
    copies = updated_parameters(strategy, spec, data) * (8 if strategy.ema_decay is None else 12)
    checkpoints = _CHECKPOINTS_AT_ONCE * (copies + states)
    return Figure.within(artifact + checkpoints, 0.1, Evidence.FORMULA)


def _kept_bytes(strategy: Strategy, spec: ModelSpec, data: DataSpec) -> int:
    """Bytes of the weights that are kept: what was added to the base and the head, or the whole model. The header
    of the file is left out."""
    if any(part.adapter for part in strategy.parts):
        kept = sum(part.kept_parameters(spec, data.outputs) for part in strategy.parts)
    else:
        kept = strategy.total_parameters(spec, data.outputs)
    return kept * BYTES[strategy.precision]


def _quality(strategy: Strategy, spec: ModelSpec) -> QualityPrior:
    """The method's prior, less what shallow training loses.

    10 e^(-5 d) points, d = share of the layers that are trained: the value that leads from head alone (10 points
    below full tuning, d = 0) to a third of the layers (2 points). A rule between two published observations, not a
    law; it only orders depths of one method. A quantised base takes its own loss off.
    """
    method = method_named(strategy.method)
    low, typical, high = method.quality
    trained = max(0, spec.layers - max(0, strategy.lowest_layer(spec))) / spec.layers
    loss = _HEAD_LOSS * math.exp(-_DEPTH_RATE * trained) if method.depths else 0.0
    rounded, rounded_at_worst = _QUANTISED_LOSS[strategy.base_precision]
    likely = typical - loss - rounded
    figure = Figure(likely, low - 2 * loss - rounded_at_worst, max(high - loss, likely), Evidence.RULE)
    source = method.quality_source
    if rounded:
        source += f"; {_QUANTISED_SOURCE}"
    return QualityPrior(relative=figure, source=source)
