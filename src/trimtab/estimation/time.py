"""Time of a strategy: work over the machine's rate, plus what a step costs at any size.

    step = FLOP in matmuls x seconds + numbers made in between x seconds + layers x seconds, each by what is asked
           of a layer, + optimiser bytes / bandwidth + numbers unpacked x bytes / bandwidth

A calibrated machine has timed the first three on steps of its own (`training.probe`). Elsewhere they follow from
the rate of a matmul and the bandwidth, measured or, of a catalogue device, published peaks: by the share and bytes
that one machine reached on a CPU; on a GPU all is in the share, a first guess from published runs. Known error:
docs/formulas.md (benchmarks/real_runs.py). Leaves out: loading, saving, tokenising.
"""

import math
from dataclasses import replace
from functools import lru_cache, partial

from trimtab.data.spec import EVALUATION_TOKENS, DataSpec, LengthHistogram, padded_tokens
from trimtab.estimation.estimate import TimeEstimate
from trimtab.estimation.held import unpacked_numbers
from trimtab.estimation.margins import widened
from trimtab.estimation.prefix import cached_depths, copied_bytes, prefix_bytes, prefix_tokens
from trimtab.estimation.teacher import Teacher, Writing
from trimtab.estimation.updated import updated_parameters
from trimtab.estimation.work import forward_work, head_work, layers_work, renorm_work, training_work
from trimtab.hardware.machine import Machine, StepCosts, StepWork
from trimtab.methods import BasePrecision, Precision, Strategy
from trimtab.models.spec import ModelSpec
from trimtab.units import Evidence, Figure

# Fitted on benchmarks/real_runs.py (two AVX-512 cores): the share of the measured rate that matmuls reach in a
# step, and bytes moved, as far as time is concerned, for each number that the operations between them make.
_CPU_MATMULS = 0.70
_CPU_NUMBER_BYTES = {"fp32": 20, "bf16": 8, "fp16": 8}
# Share of the dense peak on a GPU at many tokens a micro-step (transformers, unpacked): prediction notes of
# published runs, 0.20-0.30; falls towards short steps, which the fixed cost a layer stands for.
_GPU_EFFICIENCY = 0.30
_CPU_LAYER_SECONDS = 0.0007
_GPU_LAYER_SECONDS = 0.0015
_AVERAGE_BYTES = 12  # weight and its average read, the average written
# Unpacking a number of a quantised matrix takes as long as moving so many bytes. CPU: measured with bitsandbytes
# 0.50 on one AVX-512 core, NF4 and int8 into fp32 and bf16, beside the bandwidth that the calibration measures
# there; GPU: as fitted on published QLoRA runs (`estimation.setups`).
_CPU_UNPACK_BYTES: dict[BasePrecision, float] = {"same": 0.0, "nf4": 6.0, "int8": 15.0}
_GPU_UNPACK_BYTES: dict[BasePrecision, float] = {"same": 0.0, "nf4": 12.0, "int8": 15.0}
_DEFAULT_BANDWIDTH = 20e9
_DEFAULT_RATE = 100e9
# Of a batch of answers the longest is about so many times the mean: measured, SmolLM2 on GSM8K.
_LEAST_PASS_SECONDS = 1e-3  # batch and Python, measured on two EPYC cores; layers take theirs with them
_LONGEST_ANSWER = 2.0
_SPREAD = {Evidence.MEASURED: 0.25, Evidence.PROBE: 0.35, Evidence.FORMULA: 0.6}


def time(
    strategy: Strategy, spec: ModelSpec, data: DataSpec, machine: Machine, *, teacher: Teacher | None = None
) -> TimeEstimate:
    """Wall-clock seconds of all epochs and their dev evaluations, stage by stage, without early stop. A step of
    several stages is their mean. A live `teacher` answers within the steps, another before them, as it writes."""
    costs, evidence = step_costs(machine, strategy.precision)
    spread = _SPREAD[evidence]
    shown = Evidence.FORMULA if evidence is Evidence.MEASURED else evidence
    rows = data.train_rows
    parts = [(stage.steps(rows), _step_seconds(stage, spec, data, machine, costs)) for stage in strategy.stages]
    steps, train = sum(count for count, _ in parts), sum(count * seconds for count, seconds in parts)
    taught = 0.0 if teacher is None else _teacher_seconds(teacher, strategy, data, machine)
    before = 0.0 if teacher is None or teacher.live else taught
    train += taught - before
    if teacher is not None and teacher.writing is not None:
        before += _writing_seconds(teacher, teacher.writing, strategy, data, machine)
    step = train / steps
    evaluate = _evaluate_seconds(strategy, spec, data, machine, costs)
    prefix = _prefix_seconds(strategy, spec, data, machine, costs)
    train += prefix
    return TimeEstimate(
        step_seconds=Figure.within(step, spread, shown),
        steps=steps,
        train_seconds=Figure.within(train, spread, shown),
        evaluate_seconds=Figure.within(evaluate, spread, shown),
        total_seconds=widened(Figure.within(before + train + evaluate, spread, shown), machine.time_margin),
        prefix_seconds=Figure.within(prefix, spread, shown) if prefix else None,
        teacher_seconds=Figure.within(before, spread, shown) if before else None,
    )


def _evaluate_seconds(
    strategy: Strategy, spec: ModelSpec, data: DataSpec, machine: Machine, costs: StepCosts
) -> float:
    """All evaluations of dev: of the layers that a stage runs, and at the end of the whole model."""
    row = partial(_forward_seconds, spec, data, machine, costs)
    seconds = sum(
        stage.schedule.epochs * stage.schedule.evaluations * row(stage, stage.cached_layers(spec))
        for stage in strategy.stages
    )
    if strategy.starts_scored:
        # It is scored before it is trained, and its base where that is another.
        before = 1 if all(part.starts_at_base for part in strategy.parts) else 2
        seconds += before * row(strategy.stages[0], strategy.stages[0].cached_layers(spec))
    return (seconds + row(strategy)) * data.dev_rows


def _prefix_seconds(
    strategy: Strategy, spec: ModelSpec, data: DataSpec, machine: Machine, costs: StepCosts
) -> float:
    """All runs of frozen parts, one before every stage whose part is another than that of the stage before."""
    depths = cached_depths(strategy, spec)
    tokens = sum(prefix_tokens(strategy, data))
    length = _padded_length(strategy, data)
    padded = tokens * length / max(1e-9, data.lengths.mean(strategy.max_length))
    seconds = 0.0
    for depth, before in zip(depths, (0, *depths), strict=False):
        if depth and depth != before:
            seconds += padded * costs.seconds(forward_work(spec, length, range(depth)))
            seconds += copied_bytes(prefix_bytes(strategy, spec, data)) / bandwidth_of(machine)
    return seconds


def _teacher_seconds(teacher: Teacher, strategy: Strategy, data: DataSpec, machine: Machine) -> float:
    """Seconds of all its forward passes over the training rows, with the head that the student has."""
    costs, _ = step_costs(machine, teacher.precision)
    unpacked = replace(strategy, base_precision="same")
    row = _forward_seconds(teacher.spec, data, machine, costs, unpacked)
    return teacher.passes(strategy) * data.train_rows * row


def _writing_seconds(
    teacher: Teacher, writing: Writing, strategy: Strategy, data: DataSpec, machine: Machine
) -> float:
    """Seconds in which it writes its answers: prompts are read once; then in every step one token of each row of a
    batch is made, for which all weights are read, until the longest answer has ended."""
    costs, _ = step_costs(machine, teacher.precision)
    prompt, answer = writing.prompt_tokens(data), writing.answer_tokens(data)
    batch = writing.batch(data)
    steps = math.ceil(writing.rows / batch) * min(writing.most, _LONGEST_ANSWER * answer)
    weights = teacher.weight_bytes(strategy, data.outputs)
    head = costs.seconds(head_work(strategy, teacher.spec, backward=False))
    token = costs.seconds(forward_work(teacher.spec, prompt + answer)) + head
    layers = costs.seconds(StepWork(flop=0.0, frozen_decoder_layers=teacher.spec.layers))
    read = writing.rows * prompt * costs.seconds(forward_work(teacher.spec, prompt))
    return read + steps * (weights / bandwidth_of(machine) + layers + batch * token)


def _step_seconds(
    strategy: Strategy, spec: ModelSpec, data: DataSpec, machine: Machine, costs: StepCosts
) -> float:
    length = _packed_length(strategy, data) if strategy.packed else _padded_length(strategy, data)
    rows = min(strategy.batch, max(1, data.train_rows))
    tokens, learned = length * rows * data.texts.mean, _learned(strategy, data) * rows
    moved = strategy.optimizer.moved_bytes(cpu=machine.device.kind == "cpu") + (
        0 if strategy.ema_decay is None else _AVERAGE_BYTES
    )
    update = updated_parameters(strategy, spec, data) * moved / bandwidth_of(machine)
    passes = tokens * costs.seconds(training_work(strategy, spec, length))
    passes += learned * costs.seconds(head_work(strategy, spec, backward=True))
    _, unpacked = unpacked_numbers(strategy, spec)
    micro_step = costs.seconds(layers_work(strategy, spec)) + unpacked * _unpack_seconds(strategy, machine)
    micro_step += costs.seconds(renorm_work(strategy, spec))
    if strategy.cached_layers(spec):
        micro_step = max(micro_step, _LEAST_PASS_SECONDS)
    return passes + update + strategy.accumulation * micro_step


def _forward_seconds(
    spec: ModelSpec, data: DataSpec, machine: Machine, costs: StepCosts, strategy: Strategy, lowest: int = 0
) -> float:
    """Seconds to score one row, from layer `lowest` on."""
    length = _padded_length(strategy, data)
    run = range(lowest, spec.layers)
    seconds = length * data.texts.mean * costs.seconds(forward_work(spec, length, run))
    seconds += _learned(strategy, data) * costs.seconds(head_work(strategy, spec, backward=False))
    unpacked, _ = unpacked_numbers(strategy, spec)
    shared = unpacked * _unpack_seconds(strategy, machine) * length / EVALUATION_TOKENS  # by the rows of a batch
    return seconds + shared


def _learned(strategy: Strategy, data: DataSpec) -> float:
    """Tokens with a loss of their own, a row on average."""
    if data.answers is None:
        return 0.0
    return data.answers.kept(data.lengths, strategy.max_length) / max(1, data.lengths.examples)


def _unpack_seconds(strategy: Strategy, machine: Machine) -> float:
    """Seconds to unpack one number of a quantised matrix."""
    table = _CPU_UNPACK_BYTES if machine.device.kind == "cpu" else _GPU_UNPACK_BYTES
    return table[strategy.base_precision] / bandwidth_of(machine)


def _padded_length(strategy: Strategy, data: DataSpec) -> float:
    """Mean padded length of a micro-batch, virtual tokens included: batches are made of rows of like length."""
    return _mean_width(data.lengths, strategy.micro_batch, strategy.max_length) + strategy.virtual_tokens


def _packed_length(strategy: Strategy, data: DataSpec) -> float:
    """Mean tokens a row of a micro-batch that is one sequence, with what fills it up."""
    rows = min(strategy.micro_batch, max(1, data.train_rows))
    return padded_tokens(math.ceil(rows * data.lengths.mean(strategy.max_length))) / rows


@lru_cache(maxsize=64)
def _mean_width(lengths: LengthHistogram, batch: int, cap: int) -> float:
    """Kept, since every candidate of a plan asks for one of a few."""
    widths, batches = lengths.batch_widths(batch, cap)
    return float(widths @ batches / batches.sum()) if len(widths) else float(cap)


def step_costs(machine: Machine, precision: Precision) -> tuple[StepCosts, Evidence]:
    """What a step costs, as timed on this machine, else by rule from the rate of a matmul; and how it is known."""
    if machine.calibration is not None and (timed := machine.calibration.costs(precision)):
        return timed, machine.calibration.evidence
    rate, evidence = _rate(machine, precision)
    if machine.device.kind != "cpu":
        return _same_costs(precision, 1 / (rate * _GPU_EFFICIENCY), 0.0, _GPU_LAYER_SECONDS), evidence
    number_seconds = _CPU_NUMBER_BYTES[precision] / bandwidth_of(machine)
    return _same_costs(precision, 1 / (rate * _CPU_MATMULS), number_seconds, _CPU_LAYER_SECONDS), evidence


def _same_costs(precision: Precision, flop: float, number: float, layer: float) -> StepCosts:
    """Of a number and of a layer, the same for every kind."""
    return StepCosts(
        dtype=precision,
        seconds_each=StepWork(
            flop=flop,
            trained_numbers=number,
            passed_numbers=number,
            frozen_numbers=number,
            trained_layers=layer,
            passed_layers=layer,
            frozen_layers=layer,
            trained_decoder_layers=layer,
            passed_decoder_layers=layer,
            frozen_decoder_layers=layer,
        ),
    )


def _rate(machine: Machine, precision: str) -> tuple[float, Evidence]:
    """FLOP/s of a matmul in `precision`, measured here or the catalogue's peak, and which of the two."""
    if machine.calibration is not None:
        measured = machine.calibration.rate(precision) or machine.calibration.rate("fp32")
        if measured:
            return measured, machine.calibration.evidence
    peak = machine.device.peak(precision) or machine.device.peak("fp32")
    return (peak or _DEFAULT_RATE), Evidence.FORMULA


def bandwidth_of(machine: Machine) -> float:
    """Bytes a second: measured here, else published, else a guess."""
    if machine.calibration is not None and machine.calibration.bandwidth:
        return machine.calibration.bandwidth
    return machine.device.bandwidth or _DEFAULT_BANDWIDTH
