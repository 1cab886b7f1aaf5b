"""Peak memory of a strategy, by formula: what must be alive at once in each phase, the worst phase taken.

Kept for backward, per token of a layer that gradients pass through (s = bytes a number, h hidden, f inner
size, d = heads x head size, L = padded length); derived from the autograd rules of the operations in the
transformers classes, see docs/formulas.md:

    queries, keys, values                    3 s d: with a padding mask, keys and values are repeated to the
                                             number of query heads
    attention                                fused kernel: its output s d, the mask s L, 4 heads
                                             with dropout on a CPU: probabilities and their mask (s + m) heads L;
                                             a decoder's goes through torch's own, in fp32: 12 heads L
    input of every layer norm                s h each
    input of every RMS norm                  4 h each, an fp32 copy; where it is trained also its result, s h
    input of the activation function         s f        (gated: gate, its activation, up: 3 s f; stepwise: 4 s f)
    dropout masks                            m h each; m = s in the kernels for CPUs, 1 byte elsewhere
    input of every trained matrix            s times its inputs; q, k, v share one, gate and up share one, and
                                             the input of o is the output of a fused attention
    bottleneck of width b after a matrix     s times its outputs, and s b: the input of each of its two matrices
    what a trained vector scales             s times its width: keys, values, and the input of the last matrix
    quantised matrix                         nothing: it is unpacked again, one at a time (a temporary)

The statistics of norms (a few bytes a token) are left out. tests/estimation counts the tensors autograd keeps.

Sources: the code named above; checked against measured runs in benchmarks/memory_prediction.py, whose errors
are printed in docs/formulas.md. Leaves out: what a heap loses beyond a fixed share, several devices.
`training.dry_run` counts the same by running the step; tests hold the two together."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from trimtab.data.spec import DataSpec, LengthHistogram, padded_positions
from trimtab.estimation.estimate import PARTS, MemoryEstimate, MemoryParts, Phase
from trimtab.estimation.held import BYTES, held_bytes, packing_bytes, unpacked_bytes
from trimtab.estimation.margins import widened
from trimtab.estimation.question import evaluated_rows, learned_tokens, longest_batch
from trimtab.estimation.updated import (
    shares_table,
    table_parameters,
    table_rows,
    updated_parameters,
    updated_shapes,
)
from trimtab.hardware.machine import DeviceKind, Machine
from trimtab.methods import LayerLoad, Place, Strategy, lowest_place
from trimtab.models.families import activation_arrays
from trimtab.models.spec import ModelSpec, Role
from trimtab.units import GIB, MIB, Evidence, Figure

_MASTER_BYTES = 4
_GRADIENT_BYTES = 4
_INPUT_OF: dict[Role, str] = {
    "q": "layer", "k": "layer", "v": "layer", "qkv": "layer", "o": "attention", "gate": "mlp",
    "up": "mlp", "gate_up": "mlp", "down": "inner",
}  # fmt: skip

# What a process holds before any model. A rule where this machine has not been calibrated.
_CPU_RUNTIME_BYTES = 620 * MIB
# Fitted on benchmarks/memory_prediction.py (12 cells, MiniLM-L6, two AVX-512 cores):
_CPU_WORKING_BYTES = 81 * MIB  # thread pools, allocator arenas, first kernels
# Share of what the layers keep, with recompute as without, that is lost to holes in the C heap: glibc cuts a block
# for a tensor a little too large, and a small object that moves into the rest keeps it from being used again.
# Blocks of 32 MiB and more are mapped one by one: what is beyond that of the largest ones is not counted.
_CPU_HOLES = 0.45
_MAPPED_BLOCK_BYTES = 32 * MIB
_CPU_GRADIENT_HOLES = 0.6  # of gradients: freed after a step, their places are taken by activations of the next
# A third of it in the first of the largest batches, which the preflight is, all after a dozen of that width.
_CPU_FIRST_SHARE = 0.3
_CPU_SAME_BATCHES = 12
# More where narrower batches run between, all after four that are nearly as wide: what they have cut up does not
# serve a wider one. One of half the width counts a sixteenth. Fitted on the demo and on SST-2, where a training
# goes on growing over 200 steps.
_CPU_MIXED_HOLES = 0.85
_CPU_MIXED_BATCHES = 4
_WIDTH_POWER = 4
_CPU_LEFT = 0.5  # share of what a step took of the heap that is still held afterwards
_READ_AHEAD_BYTES = 64 * 1024  # Linux maps so much of a file around a page that is asked for
_KERNEL_BYTES = 2 * MIB // 5
# A tokenizer as `tokenizers` and transformers hold it, over the size of its file: 22 for MiniLM's 30,522 word
# pieces, 20 for e5's 250,002 unigrams (314 MiB), 12 for SmolLM2's 49,152 byte pairs. Where the file is not at
# hand, its size by rule: an entry takes 15 bytes (MiniLM) to 72 (SmolLM2).
_TOKENIZER_SHARE = 20
_TOKENIZER_ENTRY_BYTES = 40
# Kinds of matmul: the layer's matrices forward; their and attention's gradients, with attention's own forward;
# gradients of weights; LoRA's.
_FORWARD_MATMULS, _BACKWARD_MATMULS, _WEIGHT_MATMULS, _BESIDE_MATMULS = 3, 9, 3, 4
_CUDA_CONTEXT_BYTES = int(1.4 * GIB)
_FORMULA_SHARE = 0.20  # half-width of the interval, of the part above the runtime


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
) -> MemoryEstimate:
    """Peak memory of training `strategy`, longest batch included. `traced`: phases that a dry run has counted,
    which take the place of the formula's."""
    sizes = _sizes(strategy, spec, data, machine)
    bare, runtime_evidence = _runtime(machine)
    known = {phase.name: phase for phase in (*_phases(sizes, strategy), *traced)}
    phases = [_in_process(phase, bare, sizes, spec, machine) for phase in known.values()]
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


def live_phases(strategy: Strategy, spec: ModelSpec, data: DataSpec, machine: Machine) -> tuple[Phase, ...]:
    """Live tensors of every phase, by formula: what a dry run counts."""
    return _phases(_sizes(strategy, spec, data, machine), strategy)


def _phases(sizes: _Sizes, strategy: Strategy) -> tuple[Phase, ...]:
    held = {"weights": sizes.weights + sizes.masters, "optimizer": sizes.states}
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
        _phase("evaluate", **held, temporaries=sizes.evaluate),
        _phase("save", weights=sizes.save, optimizer=sizes.kept_states),
    )


def _phase(name: str, **bytes_of: int) -> Phase:
    parts = {f"{part}_bytes": bytes_of.get(part, 0) for part in PARTS}
    return Phase(name=name, parts=MemoryParts(**parts))


def _in_process(phase: Phase, bare: int, sizes: _Sizes, spec: ModelSpec, machine: Machine) -> Phase:
    """What a phase takes as a process measures it: with the runtime, compiled kernels from the first step on, and
    what the heap loses while a step runs."""
    kernels = {"load": 0, "forward-backward": sizes.kernels_so_far}.get(phase.name, sizes.kernels)
    runtime = bare + _working_bytes(spec, machine) + kernels
    lost = {"forward-backward": sizes.holes, "save": sizes.left}.get(phase.name, 0)
    inside = replace(
        phase.parts,
        weights_bytes=phase.parts.weights_bytes - (0 if phase.name == "save" else sizes.unread),
        temporaries_bytes=phase.parts.temporaries_bytes + lost,
        runtime_bytes=runtime,
    )
    return Phase(name=phase.name, parts=inside)


def _sizes(strategy: Strategy, spec: ModelSpec, data: DataSpec, machine: Machine) -> _Sizes:
    rule, shapes = strategy.optimizer, updated_shapes(strategy, spec, data)
    updated = updated_parameters(strategy, spec, data)
    table = table_parameters(strategy, spec, data)
    weights = held_bytes(strategy, spec, data.outputs)
    number = BYTES[strategy.precision]
    rows, length = longest_batch(strategy, data)
    masters = (table if strategy.precision == "fp32" else updated) * _MASTER_BYTES
    if strategy.ema_decay is not None:
        masters += updated * _MASTER_BYTES  # their average
    loaded = _loaded_bytes(strategy, spec, data, machine)
    unread = _unread_bytes(strategy, spec, data, machine)
    activations = rows * length * _activation_bytes(strategy, spec, length, machine)
    temporaries = _temporary_bytes(strategy, spec, rows, length, machine)
    grown = _grown(strategy, data)
    holes = _hole_bytes(strategy, spec, data, grown, machine)
    kernels = _kernel_bytes(strategy, spec, data, machine)
    adapter = any(part.adapter for part in strategy.parts)
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
        kept_at_head=rows * length * _activation_bytes(strategy, spec, length, machine, again=False),
        lowest_layer=rows * length * _lowest_layer_bytes(strategy, spec, length, machine),
        lowest_gradient=0 if strategy.accumulation > 1 else _lowest_parameters(strategy, spec) * _GRADIENT_BYTES,
        temporaries=temporaries,
        holes=holes,
        left=_left_bytes(activations + temporaries + holes, machine),
        logits=rows * data.outputs * (number + 4) * 2,
        scores=_head_bytes(strategy, spec, data, rows, length),
        head_gradient=_head_gradient_bytes(strategy, spec),
        waiting_gradient=_waiting_gradient_bytes(strategy, spec),
        late_gradients=_late_gradient_bytes(strategy, spec, updated),
        load=loaded + masters,
        evaluate=_evaluate_bytes(strategy, spec, length, data),
        save=_saved_bytes(loaded - unread, _written_bytes(strategy, spec, data) + masters, adapter, machine),
        kept_states=0 if adapter or machine.device.kind != "cpu" else states,
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


def _left_bytes(step: int, machine: Machine) -> int:
    """Of what a step took of a CPU's heap, what the C library has not given back when the steps are over."""
    return round(_CPU_LEFT * step) if machine.device.kind == "cpu" else 0


def _evaluate_bytes(strategy: Strategy, spec: ModelSpec, length: int, data: DataSpec) -> int:
    """The widest moment of a forward pass that keeps nothing, over an evaluation batch; or that of a quantised
    matrix, which is unpacked before there is anything of what it gives; or of a language model's scores."""
    number, rows = BYTES[strategy.precision], evaluated_rows(data, length)
    tokens, arrays = length * rows, 3 if spec.gated_ffn else 2
    widest = max(spec.ffn * arrays, 4 * spec.heads * spec.head_dim) * tokens * number
    multiplied = spec.ffn * (arrays - 1) * tokens * number + unpacked_bytes(strategy, spec)
    layer = max(widest, multiplied) + 3 * spec.hidden * tokens * number
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


def _scores_bytes(strategy: Strategy, spec: ModelSpec, positions: int) -> int:
    """A chunk of scores over the vocabulary, twice in fp32 and, in low precision, as the matrix gives them."""
    number = BYTES[strategy.precision]
    made = number if number < _MASTER_BYTES else 0
    return (2 * 4 + made) * spec.vocab * padded_positions(positions, spec.vocab)


def _head_gradient_bytes(strategy: Strategy, spec: ModelSpec) -> int:
    """The gradient of a trained language-model head is there from the beginning of backward on: in the precision
    of the weights where it waits for the token table's to be added, else in the fp32 sums."""
    head = strategy.language_head
    if head is None or not head.trained or (strategy.accumulation > 1 and not spec.tied_embeddings):
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
    head = strategy.language_head
    return head is not None and head.trained and spec.tied_embeddings


def _activation_bytes(
    strategy: Strategy, spec: ModelSpec, length: int, machine: Machine, *, again: bool = True
) -> int:
    """Bytes a token kept for backward, over the whole model; with recompute and `again`, when a layer is computed
    again."""
    number = BYTES[strategy.precision]
    lowest = strategy.lowest_layer(spec)
    kept = _layers_bytes(strategy, spec, length, machine.device.kind)
    embeddings = spec.hidden * (number + _mask_bytes(number, machine.device.kind)) if lowest < 0 else 0
    if strategy.recompute and kept:
        # Each layer keeps its input; one layer at a time is computed again in full.
        return embeddings + len(kept) * spec.hidden * number + (max(kept) if again else 0)
    return embeddings + sum(kept)


@dataclass(frozen=True, slots=True)
class _Grown:
    """Of what the heap loses, and of kernels that are compiled, in a long training: the shares that are there when
    the largest batch runs for the last time. `same`: by batches of its own width; `mixed`: by others."""

    same: float
    mixed: float


def _grown(strategy: Strategy, data: DataSpec) -> _Grown:
    epochs = strategy.schedule.epochs
    largest, others = _widest(data.lengths, strategy.micro_batch, strategy.max_length)
    again = max(0.0, largest * epochs - 1) / (_CPU_SAME_BATCHES - 1)
    return _Grown(
        same=min(1.0, _CPU_FIRST_SHARE + (1 - _CPU_FIRST_SHARE) * again),
        mixed=min(1.0, others * epochs / _CPU_MIXED_BATCHES),
    )


@lru_cache(maxsize=256)
def _widest(lengths: LengthHistogram, micro_batch: int, cap: int) -> tuple[int, float]:
    """Micro-batches an epoch of the largest width, and how many such the narrower ones are as good as. Kept, since
    every candidate of a plan asks for one of a few."""
    widths, batches = lengths.batch_widths(micro_batch, cap)
    if not len(widths):
        return 0, 0.0
    alike = (widths / widths[-1]) ** _WIDTH_POWER
    return int(batches[-1]), float(alike[:-1] @ batches[:-1])


def _hole_bytes(strategy: Strategy, spec: ModelSpec, data: DataSpec, grown: _Grown, machine: Machine) -> int:
    """What a CPU's heap loses in a step of the largest batch, when `grown` of it is there: see `_CPU_HOLES`. Only
    tensors of layers that gradients pass through are cut apart so: elsewhere no object outlives its tensor."""
    if machine.device.kind != "cpu":
        return 0
    rows, length = longest_batch(strategy, data)
    tokens, number = rows * length, BYTES[strategy.precision]
    large = number * spec.ffn * activation_arrays(spec)  # of a token, in blocks of ffn numbers each
    spared = max(0.0, 1 - _MAPPED_BLOCK_BYTES / (tokens * number * spec.ffn)) * large
    kept = sum(max(0.0, layer - spared) for layer in _layers_bytes(strategy, spec, length, machine.device.kind))
    collected = updated_parameters(strategy, spec, data) - table_parameters(strategy, spec, data)
    cut_up = (_CPU_HOLES * grown.same + _CPU_MIXED_HOLES * grown.mixed) * tokens * kept
    freed = max(grown.same, grown.mixed) * _CPU_GRADIENT_HOLES * collected * _GRADIENT_BYTES
    return round(cut_up + freed)


def _lowest_layer_bytes(strategy: Strategy, spec: ModelSpec, length: int, machine: Machine) -> int:
    """Bytes a token that are still kept when backward comes to the lowest layer it goes through."""
    lowest = max(0, strategy.lowest_layer(spec))
    if lowest >= spec.layers:
        return 0
    return _layer_bytes(strategy, spec, lowest, length, machine.device.kind)


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


def _layers_bytes(strategy: Strategy, spec: ModelSpec, length: int, kind: DeviceKind) -> tuple[int, ...]:
    """`_layer_bytes` of every layer that gradients pass through, from below. How a batch is cut, what is computed
    again and how weights are updated change nothing about a token, so that candidates share what is kept here."""
    alike = Strategy(method="", parts=strategy.parts, precision=strategy.precision)
    return _kept_by_layer(alike, spec, length, kind)


@lru_cache(maxsize=1024)
def _kept_by_layer(strategy: Strategy, spec: ModelSpec, length: int, kind: DeviceKind) -> tuple[int, ...]:
    """Layers in which the same parts are trained are alike, but for the lowest."""
    starts = [max(0, part.lowest_layer(spec)) for part in strategy.parts]
    known: dict[tuple[int, bool], int] = {}
    kept = []
    for layer in range(min(starts), spec.layers):
        alike = (sum(start <= layer for start in starts), layer == min(starts))
        if alike not in known:
            known[alike] = _layer_bytes(strategy, spec, layer, length, kind)
        kept.append(known[alike])
    return tuple(kept)


def _layer_bytes(strategy: Strategy, spec: ModelSpec, layer: int, length: int, kind: DeviceKind) -> int:
    """Bytes a token that one layer with gradient flow keeps for backward."""
    number = BYTES[strategy.precision]
    loads = strategy.loads(spec, layer)
    if layer == max(0, strategy.lowest_layer(spec)) and (lowest := lowest_place(loads)) != "attention":
        return _partly_passed_bytes(spec, loads, number, lowest, kind)
    trained = [linear for load in loads for linear in load.trained]
    beside = [(linear, rank) for load in loads for linear, rank in load.beside]
    inputs = {_INPUT_OF[linear.role]: linear.inputs for linear in (*trained, *(x for x, _ in beside))}
    if not _drops_probabilities(spec, kind):
        inputs["attention"] = spec.heads * spec.head_dim
    return (
        number * (sum(inputs.values()) + sum(rank for _, rank in beside) + sum(map(_kept_by_adapters, loads)))
        + _attention_bytes(strategy, spec, length, kind)
        + _norm_bytes(spec, number, trained=any(load.everything_else for load in loads))
        + number * spec.ffn * activation_arrays(spec)
        + _dropout_bytes(spec, number, kind)
    )


def _partly_passed_bytes(
    spec: ModelSpec, loads: Iterable[LayerLoad], number: int, lowest: Place, kind: DeviceKind
) -> int:
    """Bytes a token that the lowest layer keeps where gradients end above its attention: what stands after that
    alone, or after the network. A decoder's norms stand before each of them, an encoder's behind."""
    network = lowest == "network"
    share = 0.5 * network + (0.5 if spec.kind == "encoder" else 0.0)
    inner = number * spec.ffn * activation_arrays(spec) if network else 0
    norms = share * _norm_bytes(spec, number, trained=False)
    masks = _dropout_bytes(spec, number, kind) // (1 if network else spec.dropouts_per_layer)
    return number * sum(map(_kept_by_adapters, loads)) + inner + round(norms) + masks


def _kept_by_adapters(load: LayerLoad) -> int:
    """Numbers a token: what a bottleneck after a matrix is given, and what ReLU lets through; what is scaled."""
    after = sum(linear.outputs + width for linear, width in load.after)
    outputs = sum(linear.outputs for linear in load.scaled_outputs)
    return after + outputs + sum(linear.inputs for linear in load.scaled_inputs)


def _attention_bytes(strategy: Strategy, spec: ModelSpec, length: int, kind: DeviceKind) -> int:
    """Queries, keys, values and what attention keeps beside them, its output left out."""
    number, width = BYTES[strategy.precision], 3 * spec.heads * spec.head_dim
    if not _drops_probabilities(spec, kind):
        return number * (width + length) + 4 * spec.heads
    if spec.kind == "encoder":
        return number * width + (number + _mask_bytes(number, kind)) * spec.heads * length
    return 4 * (width + 3 * spec.heads * length)


def _dropout_bytes(spec: ModelSpec, number: int, kind: DeviceKind) -> int:
    if not spec.hidden_dropout:
        return 0
    return spec.dropouts_per_layer * spec.hidden * _mask_bytes(number, kind)


def _mask_bytes(number: int, kind: DeviceKind) -> int:
    """Bytes of a dropout mask for each number it is for."""
    return number if kind == "cpu" else 1


def _norm_bytes(spec: ModelSpec, number: int, *, trained: bool) -> int:
    width = spec.hidden * spec.norms_per_layer
    if spec.qk_norm:
        width += (spec.heads + spec.kv_heads) * spec.head_dim
    if spec.norm == "layer":
        return number * width
    return (4 + (number if trained else 0)) * width


def _temporary_bytes(strategy: Strategy, spec: ModelSpec, rows: int, length: int, machine: Machine) -> int:
    """Bytes of the widest moment of one layer: gradients of the inner activations, or of attention, or a gradient
    that comes to a quantised matrix and the one that leaves it, with the matrix unpacked between them. Layers that
    gradients do not pass through run without dropout, and attention there keeps nothing. With recompute, what the
    one layer kept for its MLP has gone when attention's turn comes (without it too: there the fitted shares of
    what a heap loses stand on the sum as it is)."""
    number, tokens = BYTES[strategy.precision], rows * length
    backward = strategy.lowest_layer(spec) < spec.layers
    arrays = spec.ffn * (2 if spec.gated_ffn else 1)
    inner = number * (2 * arrays + 2 * spec.hidden)
    dropped = backward and _drops_probabilities(spec, machine.device.kind)
    attention = 4 * number * spec.heads * length if dropped else 0
    gone = number * (spec.ffn * activation_arrays(spec) + spec.hidden) if strategy.recompute else 0
    unpacked = unpacked_bytes(strategy, spec)
    multiplied = tokens * number * (arrays + 3 * spec.hidden) + unpacked if unpacked else 0
    return max(tokens * inner, tokens * (attention + 4 * number * spec.hidden - gone), multiplied)


def _drops_probabilities(spec: ModelSpec, kind: DeviceKind) -> bool:
    """On a CPU, attention with dropout keeps its probabilities; fused kernels elsewhere do not."""
    return kind == "cpu" and spec.attention_dropout > 0


def _working_bytes(spec: ModelSpec, machine: Machine) -> int:
    """What a CPU process takes when it starts to work, the tokenizer included. On other devices the host pays."""
    if machine.device.kind != "cpu":
        return 0
    return _CPU_WORKING_BYTES + _TOKENIZER_SHARE * (spec.tokenizer_bytes or _TOKENIZER_ENTRY_BYTES * spec.vocab)


def _kernel_bytes(strategy: Strategy, spec: ModelSpec, data: DataSpec, machine: Machine) -> int:
    """What oneDNN compiles and keeps for low-precision matmuls on a CPU: a set of kernels for every padded width.

    Measured on AVX-512 cores: about 0.4 MiB a kind of matmul and width; evicted kernels do not
    return their memory. fp32 goes through MKL, which keeps nothing of the kind.
    """
    if machine.device.kind != "cpu" or strategy.precision == "fp32":
        return 0
    lowest = strategy.lowest_layer(spec)
    kinds = _FORWARD_MATMULS
    if lowest < spec.layers:
        loads = strategy.loads(spec, spec.layers - 1)
        kinds += _BACKWARD_MATMULS
        kinds += _WEIGHT_MATMULS if any(load.trained for load in loads) else 0
        kinds += _BESIDE_MATMULS if any(load.beside or load.after for load in loads) else 0
    widths, _ = data.lengths.batch_widths(strategy.micro_batch, strategy.max_length)
    return len(widths) * kinds * _KERNEL_BYTES


def _runtime(machine: Machine) -> tuple[int, Evidence]:
    """What a process holds before any model: libraries, on a GPU the context."""
    if machine.device.kind != "cpu":
        return _CUDA_CONTEXT_BYTES, Evidence.RULE
    if machine.calibration is not None and machine.calibration.runtime_bytes:
        return machine.calibration.runtime_bytes, Evidence.MEASURED
    return _CPU_RUNTIME_BYTES, Evidence.RULE
