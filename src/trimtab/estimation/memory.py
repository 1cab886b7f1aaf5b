"""Peak memory of a strategy, by formula: what must be alive at once in each phase, the worst phase taken.

What layers keep for backward is in `estimation.kept`, what a process takes beside its tensors in
`estimation.heap`, weights in `estimation.held`, trained numbers in `estimation.updated`; here they are added and
compared. Checked against measured runs in benchmarks/memory_prediction.py, whose errors are printed in
docs/formulas.md. Leaves out: several devices. `training.dry_run` counts the same by running the step; tests hold
the two together.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from trimtab.data.spec import DataSpec, padded_positions
from trimtab.estimation.estimate import PARTS, MemoryEstimate, MemoryParts, Phase
from trimtab.estimation.heap import (
    grown_shares,
    hole_bytes,
    kernel_bytes,
    left_bytes,
    runtime_bytes,
    working_bytes,
)
from trimtab.estimation.held import BYTES, held_bytes, packing_bytes, unpacked_bytes
from trimtab.estimation.kept import (
    activation_bytes,
    drops_probabilities,
    lowest_layer_bytes,
    mask_bytes,
    scores_at_once,
)
from trimtab.estimation.margins import widened
from trimtab.estimation.prefix import cached_depths, held_prefix_bytes, released_bytes
from trimtab.estimation.question import evaluated_rows, learned_tokens, longest_batch
from trimtab.estimation.teacher import Beside, Teacher, beside
from trimtab.estimation.updated import (
    shares_table,
    table_parameters,
    table_rows,
    updated_parameters,
    updated_shapes,
)
from trimtab.hardware.machine import Machine
from trimtab.methods import Strategy
from trimtab.models.families import activation_arrays
from trimtab.models.spec import ModelSpec
from trimtab.units import Evidence, Figure

_MASTER_BYTES = 4
_GRADIENT_BYTES = 4
_AGAIN_BYTES = 12  # a score and its gradient in low precision, and both as softmax's gradient has them in fp32
_READ_AHEAD_BYTES = 64 * 1024  # Linux maps so much of a file around a page that is asked for
# Half-width of the interval, of the part above the runtime: of 94 trainings (benchmarks/real_runs.py) that no
# constant was fitted on, 5 took more than the high end (docs/formulas.md, "Known error").
_FORMULA_SHARE = 0.30


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sizes:
    """Bytes of each kind, before phases are compared."""

    weights: int
    unread: int
    masters: int
    gradients: int
    table_gradient: int
    states: int
    update: int
    activations: int
    kept_at_head: int
    lowest_layer: int
    lowest_gradient: int
    temporaries: int
    holes: int
    left: int
    logits: int
    scores: int
    head_gradient: int
    waiting_gradient: int
    late_gradients: int
    load: int
    evaluate: int
    evaluate_whole: int
    released: int
    prefix: int
    builds: bool
    save: int
    kept_states: int
    kernels: int
    kernels_so_far: int


def memory(
    strategy: Strategy,
    spec: ModelSpec,
    data: DataSpec,
    machine: Machine,
    *,
    traced: tuple[Phase, ...] = (),
    teacher: Teacher | None = None,
) -> MemoryEstimate:
    """Peak memory of training `strategy`, longest batch included: that of its largest stage. `traced`: phases that
    a dry run has counted, which take the place of the formula's. `teacher`: a model that stands beside."""
    peaks = (_of_a_stage(stage, strategy, spec, data, machine, traced, teacher) for stage in strategy.stages)
    return max(peaks, key=lambda memory: memory.peak_bytes.value)


def _of_a_stage(
    strategy: Strategy,
    whole: Strategy,
    spec: ModelSpec,
    data: DataSpec,
    machine: Machine,
    traced: tuple[Phase, ...],
    teacher: Teacher | None,
) -> MemoryEstimate:
    sizes = _sizes(strategy, spec, data, machine, least_depth(whole, spec))
    bare, runtime_evidence = runtime_bytes(machine)
    known = {phase.name: phase for phase in (*_phases(sizes, strategy), *traced)}
    taught = _with_teacher(known.values(), beside(teacher, strategy, data))
    phases = [_in_process(phase, bare, sizes, spec, machine) for phase in taught]
    worst = max(phases, key=lambda phase: phase.parts.total_bytes)
    total, above = worst.parts.total_bytes, worst.parts.total_bytes - bare
    margin = round(_FORMULA_SHARE * above + (0.1 * bare if runtime_evidence is Evidence.RULE else 0.02 * bare))
    evidence = Evidence.DRY_RUN if worst.name in {phase.name for phase in traced} else Evidence.FORMULA
    figure = Figure(total, total - margin, total + margin, evidence)
    return MemoryEstimate(
        peak_bytes=widened(figure, machine.memory_margin),
        parts=worst.parts,
        phase=worst.name,
        kind="rss" if machine.device.kind == "cpu" else "device",
    )


def _with_teacher(phases: Iterable[Phase], bytes_of: Beside) -> tuple[Phase, ...]:
    """The same phases with a teacher in them, and the one before them in which it is asked."""
    of = {"forward-backward": bytes_of.standing + bytes_of.answering, "save": 0}
    taught = tuple(
        replace(phase, parts=replace(phase.parts, teacher_bytes=of.get(phase.name, bytes_of.standing)))
        for phase in phases
    )
    return (_phase("ask", teacher=bytes_of.before), *taught) if bytes_of.before else taught


def least_depth(strategy: Strategy, spec: ModelSpec) -> int:
    """How many layers run in no stage once their states are there, from below."""
    return min(cached_depths(strategy, spec))


def live_phases(strategy: Strategy, spec: ModelSpec, data: DataSpec, machine: Machine) -> tuple[Phase, ...]:
    """Live tensors of every phase, by formula: what a dry run counts."""
    return _phases(_sizes(strategy, spec, data, machine, least_depth(strategy, spec)), strategy)


def _phases(sizes: _Sizes, strategy: Strategy) -> tuple[Phase, ...]:
    weights = sizes.weights - sizes.released + sizes.masters
    held = {"weights": weights, "optimizer": sizes.states, "prefix": sizes.prefix}
    # While micro-batches add up, the sums of those before are alive during forward and backward; the token table's
    # always is.
    waiting = sizes.gradients if strategy.accumulation > 1 else sizes.table_gradient
    # Gradients grow while activations shrink, layer by layer: backward is worst at its beginning or at its end.
    # The scores of a vocabulary are gone before the first layer is gone through, or computed again.
    above = waiting + sizes.head_gradient
    head = {"gradients": above, "activations": sizes.kept_at_head, "logits": sizes.scores}
    begins = {
        "gradients": above,
        "activations": sizes.activations,
        "logits": sizes.logits,
        "temporaries": sizes.temporaries,
    }
    ends = {
        "gradients": sizes.gradients - sizes.lowest_gradient + sizes.waiting_gradient,
        "activations": sizes.lowest_layer,
        "temporaries": sizes.temporaries,
    }
    below = {"gradients": sizes.late_gradients}
    worse = max((head, begins, ends, below), key=lambda kept: sum(kept.values()))
    return (
        _phase("forward-backward", **held, **worse),
        _phase("optimizer", **held, gradients=sizes.gradients, temporaries=sizes.update),
        _phase("load", weights=sizes.load),
        *_built(sizes),
        _phase("evaluate", **held, temporaries=sizes.evaluate),
        _phase("save", weights=sizes.save, optimizer=sizes.kept_states),
    )


def _built(sizes: _Sizes) -> tuple[Phase, ...]:
    """The run of a frozen part, by the whole model; in a later stage that is read again first, beside what has
    been trained."""
    if not sizes.builds:
        return ()
    whole = sizes.weights + sizes.masters
    return (_phase("prefix", weights=whole, prefix=sizes.prefix, temporaries=sizes.evaluate_whole),)


def _phase(name: str, **bytes_of: int) -> Phase:
    parts = {f"{part}_bytes": bytes_of.get(part, 0) for part in PARTS}
    return Phase(name=name, parts=MemoryParts(**parts))


def _in_process(phase: Phase, bare: int, sizes: _Sizes, spec: ModelSpec, machine: Machine) -> Phase:
    """What a phase takes as a process measures it: with the runtime, compiled kernels from the first step on, and
    what the heap loses while a step runs."""
    kernels = {"ask": 0, "load": 0, "forward-backward": sizes.kernels_so_far}.get(phase.name, sizes.kernels)
    runtime = bare + working_bytes(spec, machine) + kernels
    lost = {"forward-backward": sizes.holes, "save": sizes.left}.get(phase.name, 0)
    inside = replace(
        phase.parts,
        weights_bytes=phase.parts.weights_bytes - _unread_in(phase, sizes),
        temporaries_bytes=phase.parts.temporaries_bytes + lost,
        runtime_bytes=runtime,
    )
    return Phase(name=phase.name, parts=inside)


def _unread_in(phase: Phase, sizes: _Sizes) -> int:
    """Nothing of a token table that has been let go."""
    if phase.name in ("ask", "save") or (sizes.released and phase.name not in ("load", "prefix")):
        return 0
    return sizes.unread


def _sizes(strategy: Strategy, spec: ModelSpec, data: DataSpec, machine: Machine, least: int) -> _Sizes:
    """`least`: layers that run in no stage, once their states are there."""
    rule, shapes = strategy.optimizer, updated_shapes(strategy, spec, data)
    updated = updated_parameters(strategy, spec, data)
    table = table_parameters(strategy, spec, data)
    weights = held_bytes(strategy, spec, data.outputs)
    rows, length = longest_batch(strategy, data)
    width = length + strategy.virtual_tokens
    masters = (table if strategy.precision == "fp32" else updated) * _MASTER_BYTES
    if strategy.ema_decay is not None:
        masters += updated * _MASTER_BYTES  # their average
    loaded = _loaded_bytes(strategy, spec, data, machine)
    unread = _unread_bytes(strategy, spec, data, machine)
    activations = rows * width * activation_bytes(strategy, spec, width, machine)
    temporaries = _temporary_bytes(strategy, spec, rows, width, machine)
    grown = grown_shares(strategy, data)
    holes = hole_bytes(strategy, spec, data, grown, machine)
    kernels = kernel_bytes(strategy, spec, data, machine)
    adapter = any(part.adapter for part in strategy.parts)
    released = released_bytes(strategy, spec, least)
    again = loaded + weights - released + masters if least else 0  # read again beside what was trained
    states = sum(rule.device_bytes(shape) * count for shape, count in shapes)
    return _Sizes(
        weights=weights,
        unread=unread,
        masters=masters,
        gradients=updated * _GRADIENT_BYTES,
        table_gradient=table * _GRADIENT_BYTES,
        states=states,
        update=max(rule.step_bytes(shape, cpu=machine.device.kind == "cpu") for shape, _ in shapes),
        activations=activations,
        kept_at_head=rows * width * activation_bytes(strategy, spec, width, machine, again=False),
        lowest_layer=rows * width * lowest_layer_bytes(strategy, spec, width, machine),
        lowest_gradient=0 if strategy.accumulation > 1 else _lowest_parameters(strategy, spec) * _GRADIENT_BYTES,
        temporaries=temporaries,
        holes=holes,
        left=left_bytes(activations + temporaries + holes, machine),
        logits=_output_bytes(strategy, spec, data, machine) + _vector_bytes(strategy, spec, data, rows),
        scores=_head_bytes(strategy, spec, data, rows, length),
        head_gradient=_head_gradient_bytes(strategy, spec),
        waiting_gradient=_waiting_gradient_bytes(strategy, spec),
        late_gradients=_late_gradient_bytes(strategy, spec, updated),
        load=loaded + masters,
        evaluate=_evaluate_bytes(strategy, spec, length, data),
        evaluate_whole=_evaluate_bytes(replace(strategy, prefix_cache=False), spec, length, data),
        released=released,
        prefix=held_prefix_bytes(strategy, spec, data) if strategy.cached_layers(spec) else 0,
        builds=bool(strategy.cached_layers(spec)),
        save=max(
            again,
            _saved_bytes(loaded - unread, _written_bytes(strategy, spec, data) + masters, adapter, machine),
        ),
        kept_states=0 if adapter or strategy.prefix_cache or machine.device.kind != "cpu" else states,
        kernels=kernels,
        kernels_so_far=round(max(grown.same, grown.mixed) * kernels),
    )


def _loaded_bytes(strategy: Strategy, spec: ModelSpec, data: DataSpec, machine: Machine) -> int:
    """A model as it is opened. On a CPU the file is mapped, in memory once it has been read, and weights that are
    cast are there beside it until the last one is. A GPU gets the weights as stored and casts them one by one: for
    a moment the token embedding, the largest, is there twice. A base in few bits is packed on the CPU, beside the
    file, and a GPU never sees more of it than that."""
    total = strategy.total_parameters(spec, data.outputs)
    stored = spec.stored_bytes or total * BYTES[spec.weights_dtype]
    number = BYTES[strategy.precision]
    if strategy.base_precision != "same":
        held = held_bytes(strategy, spec, data.outputs)
        return held + (stored + packing_bytes(strategy, spec) if machine.device.kind == "cpu" else 0)
    if number == BYTES[spec.weights_dtype]:
        return stored
    beside = total if machine.device.kind == "cpu" else spec.vocab * (spec.embedding_size or spec.hidden)
    return stored + beside * number


def _unread_bytes(strategy: Strategy, spec: ModelSpec, data: DataSpec, machine: Machine) -> int:
    """Of the token table, what no text has asked for: where weights need no cast a CPU process has the file
    mapped, and a page is in memory once it has been read. The system reads ahead by windows; rows lie among them
    as if by chance, and a window is missed with probability exp(-rows / windows)."""
    if machine.device.kind != "cpu" or BYTES[strategy.precision] != BYTES[spec.weights_dtype]:
        return 0
    if strategy.base_precision != "same":
        return 0  # copied, so that the file can be let go
    if shares_table(strategy, spec):
        return 0  # the head reads every row
    table = spec.vocab * (spec.embedding_size or spec.hidden) * BYTES[strategy.precision]
    windows = max(1.0, table / _READ_AHEAD_BYTES)
    return round(table * math.exp(-table_rows(spec, data) / windows))


def _saved_bytes(loaded: int, written: int, adapter: bool, machine: Machine) -> int:
    """The worse of writing and of opening what was written, on the CPU whatever trained. A whole model is read
    from end to end as it is written, while all that trained it is still there; an adapter is small, and is opened
    with its base as that was loaded."""
    if machine.device.kind != "cpu":
        return 0
    return loaded if adapter else written


def _written_bytes(strategy: Strategy, spec: ModelSpec, data: DataSpec) -> int:
    """A whole model as it is written: a base in few bits has been unpacked."""
    return strategy.total_parameters(spec, data.outputs) * BYTES[strategy.precision]


def _evaluate_bytes(strategy: Strategy, spec: ModelSpec, length: int, data: DataSpec) -> int:
    """The widest moment of a forward pass that keeps nothing, over an evaluation batch; or that of a quantised
    matrix, which is unpacked before there is anything of what it gives; or of a language model's scores."""
    number, rows = BYTES[strategy.precision], evaluated_rows(data, length)
    tokens, arrays = (length + strategy.virtual_tokens) * rows, 3 if spec.gated_ffn else 2
    widest = max(spec.ffn * arrays, 4 * spec.heads * spec.head_dim) * tokens * number
    multiplied = spec.ffn * (arrays - 1) * tokens * number + unpacked_bytes(strategy, spec)
    layer = max(widest, multiplied, _renorm_bytes(strategy, spec)) + 3 * spec.hidden * tokens * number
    if strategy.cached_layers(spec) == spec.layers:
        layer = 2 * spec.hidden * tokens * number  # states, and what a norm makes of them
    if strategy.language_head is None:
        return layer
    positions = learned_tokens(data, length) * rows
    hidden = (tokens + positions) * spec.hidden * number
    return max(layer, hidden + _scores_bytes(strategy, spec, positions))


def _head_bytes(strategy: Strategy, spec: ModelSpec, data: DataSpec, rows: int, length: int) -> int:
    """Of a language model one chunk of scores (`evaluation.vocabulary`), and what the head sees before each
    learned token, with its gradient; 0 for a classifier, whose outputs are few."""
    if strategy.language_head is None:
        return 0
    positions = rows * learned_tokens(data, length)
    return _scores_bytes(strategy, spec, positions) + 2 * positions * spec.hidden * BYTES[strategy.precision]


def _vector_bytes(strategy: Strategy, spec: ModelSpec, data: DataSpec, texts: int) -> int:
    """Of embeddings: the vectors of `texts` in fp32, as pooled and of length 1, with a gradient; and the cosines
    of each row's query with all that it may find, as divided, masked, and with their gradient. 0 for other
    tasks."""
    if strategy.pooling is None:
        return 0
    queries = texts // data.texts.most
    return 4 * (3 * texts * spec.hidden + 4 * queries * (texts - queries))


def _output_bytes(strategy: Strategy, spec: ModelSpec, data: DataSpec, machine: Machine) -> int:
    """What a task's own head gives and keeps: numbers and their gradients, with a copy of both in fp32, of every
    row. A tagger's are of every token, and once more of the words that are picked out of them; with what the head
    is given, and its mask where it is dropped from."""
    number, (rows, length) = BYTES[strategy.precision], longest_batch(strategy, data)
    of_row = data.outputs * (number + 4) * 2
    if strategy.token_head is None:
        return rows * of_row
    dropped = mask_bytes(number, machine.device.kind) if spec.hidden_dropout else 0
    return rows * length * (of_row + 2 * number * data.outputs + spec.hidden * (number + dropped))


def _scores_bytes(strategy: Strategy, spec: ModelSpec, positions: int) -> int:
    """A chunk of scores over the vocabulary, twice in fp32 and, in low precision, as the matrix gives them."""
    number = BYTES[strategy.precision]
    made = number if number < _MASTER_BYTES else 0
    return (2 * 4 + made) * spec.vocab * padded_positions(positions, spec.vocab)


def _head_gradient_bytes(strategy: Strategy, spec: ModelSpec) -> int:
    """The gradient of a trained language-model head is there from the beginning of backward on: in the precision
    of the weights where it waits for the token table's to be added, else in the fp32 sums."""
    trained = strategy.trains_language_head(spec)
    if not trained or (strategy.accumulation > 1 and not spec.tied_embeddings):
        return 0  # with several micro-batches the sums of those before are counted anyway
    return spec.vocab * spec.hidden * (BYTES[strategy.precision] if spec.tied_embeddings else _GRADIENT_BYTES)


def _waiting_gradient_bytes(strategy: Strategy, spec: ModelSpec) -> int:
    """A shared table's gradient from the head, while backward goes through the layers, less its place among the
    sums, which is taken at the end only: what this adds to the sums, so it may be below zero."""
    if not _trains_shared_head(strategy, spec):
        return 0
    sums = _GRADIENT_BYTES if strategy.accumulation == 1 else 0
    return spec.vocab * spec.hidden * (BYTES[strategy.precision] - sums)


def _late_gradient_bytes(strategy: Strategy, spec: ModelSpec, updated: int) -> int:
    """At the end of backward, of a shared table: all sums, its own only from the second micro-batch on, with the
    gradients from the head and from the embedding and what the two come to. 0 where there is no such table: then
    the end is not worse than the lowest layer."""
    if not _trains_shared_head(strategy, spec):
        return 0
    table = spec.vocab * spec.hidden
    sums = updated - (table if strategy.accumulation == 1 else 0)
    return sums * _GRADIENT_BYTES + 3 * table * BYTES[strategy.precision]


def _trains_shared_head(strategy: Strategy, spec: ModelSpec) -> bool:
    return strategy.trains_language_head(spec) and spec.tied_embeddings


def _lowest_parameters(strategy: Strategy, spec: ModelSpec) -> int:
    """Trained numbers in the matrices of that layer: their gradients are still to come."""
    lowest = max(0, strategy.lowest_layer(spec))
    if lowest >= spec.layers:
        return 0
    loads = strategy.loads(spec, lowest)
    own = sum(linear.parameters for load in loads for linear in load.trained)
    beside = sum(rank * (linear.inputs + linear.outputs) for load in loads for linear, rank in load.beside)
    after = sum(2 * width * linear.outputs for load in loads for linear, width in load.after)
    return own + beside + after


def _temporary_bytes(strategy: Strategy, spec: ModelSpec, rows: int, length: int, machine: Machine) -> int:
    """Bytes of the widest moment of one layer: gradients of the inner activations, or of attention, or a gradient
    that comes to a quantised matrix and the one that leaves it, with the matrix unpacked between them. Layers that
    gradients do not pass through run without dropout, and attention there keeps nothing. With recompute, what the
    one layer kept for its MLP has gone when attention's turn comes (without it too: there the fitted shares of
    what a heap loses stand on the sum as it is)."""
    number, tokens = BYTES[strategy.precision], rows * length
    if strategy.cached_layers(spec) == spec.layers:
        return 2 * tokens * spec.hidden * number  # no layer runs: states, and what a norm makes of them
    backward = strategy.lowest_layer(spec) < spec.layers
    arrays = spec.ffn * (2 if spec.gated_ffn else 1)
    inner = number * (2 * arrays + 2 * spec.hidden)
    dropped = backward and drops_probabilities(spec, machine.device.kind)
    attention = 4 * number * spec.heads * length if dropped else 0
    again = _AGAIN_BYTES * scores_at_once(spec, number, rows, length, machine.device.kind)
    gone = number * (spec.ffn * activation_arrays(spec) + spec.hidden) if strategy.recompute else 0
    unpacked = unpacked_bytes(strategy, spec)
    multiplied = tokens * number * (arrays + 3 * spec.hidden) + unpacked if unpacked else 0
    renormed = _renorm_bytes(strategy, spec)
    attends = tokens * (attention + 4 * number * spec.hidden - gone) + again
    return max(tokens * inner, attends, multiplied, renormed)


def _renorm_bytes(strategy: Strategy, spec: ModelSpec) -> int:
    """The widest moment while the rows of a matrix are measured, whatever the tokens: PEFT multiplies B A out by
    way of a square of ones, scales it, and adds it to the matrix, which is unpacked for it where it is packed."""
    loads = [load.resting or load for load in strategy.loads(spec, spec.layers - 1)]
    numbers = (linear.inputs**2 + 3 * linear.inputs * linear.outputs for load in loads for linear in load.renormed)
    widest = max(numbers, default=0) * BYTES[strategy.precision]
    return widest + unpacked_bytes(strategy, spec) if widest else 0
