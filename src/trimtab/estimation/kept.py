"""What layers keep for backward, by formula: bytes a token.

Of a layer that gradients pass through (s = bytes a number, h hidden, f inner
size, d = heads x head size, L = padded length); derived from the autograd rules of the operations in the
transformers classes, see docs/formulas.md:

    queries, keys, values                    3 s d: with a padding mask, keys and values are repeated to the
                                             number of query heads
    attention                                fused kernel: its output s d, the mask s L, 4 heads
                                             in low precision on a CPU: nothing, it is made again
                                             with dropout on a CPU: probabilities and their mask (s + m) heads L;
                                             a decoder's goes through torch's own, in fp32: 12 heads L
    input of every layer norm                s h each
    input of every RMS norm                  4 h each, an fp32 copy; where it is trained also its result, s h
    input of the activation function         s f        (gated: gate, its activation, up: 3 s f; stepwise: 4 s f)
    dropout masks                            m h each; m = s in the kernels for CPUs, 1 byte elsewhere
    input of every trained matrix            s times its inputs; q, k, v share one, gate and up share one, and
                                             the input of o is the output of a fused attention
    bottleneck of width b after a matrix     s times its outputs, and s b: the input of each of its two matrices
    matrix with rows of a trained length     2 s times its outputs: what it gives, and what runs beside it gives
    what a trained vector scales             s times its width: keys, values, and the input of the last matrix
    prefix of p tokens                       keys, values, mask and probabilities of L + p in the place of L
    quantised matrix                         nothing: it is unpacked again, one at a time (a temporary)

The statistics of norms (a few bytes a token) are left out. tests/estimation counts the tensors autograd keeps.

Sources: the code named above. Leaves out: what is alive beside it (`estimation.memory`).
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

from trimtab.estimation.held import BYTES
from trimtab.hardware.machine import DeviceKind, Machine
from trimtab.methods import LayerLoad, Place, Strategy, lowest_place
from trimtab.models.families import activation_arrays
from trimtab.models.spec import ModelSpec, Role

_INPUT_OF: dict[Role, str] = {
    "q": "layer", "k": "layer", "v": "layer", "qkv": "layer", "o": "attention", "gate": "mlp",
    "up": "mlp", "gate_up": "mlp", "down": "inner",
}  # fmt: skip

# On a CPU attention in low precision is our own (`training.kernels`) up to so many scores a row; so many are made
# at once, those of one row at least.
ATTENTION_MOST, ATTENTION_PIECE = 1 << 22, 1 << 20


def activation_bytes(
    strategy: Strategy, spec: ModelSpec, length: int, machine: Machine, *, again: bool = True
) -> int:
    """Bytes a token kept for backward, over the whole model; with recompute and `again`, when a layer is computed
    again."""
    number = BYTES[strategy.precision]
    lowest = strategy.lowest_layer(spec)
    kept = layers_bytes(strategy, spec, length, machine.device.kind)
    embeddings = spec.hidden * (number + mask_bytes(number, machine.device.kind)) if lowest < 0 else 0
    if strategy.recompute and kept:
        # Each layer keeps its input; one layer at a time is computed again in full.
        return embeddings + len(kept) * spec.hidden * number + (max(kept) if again else 0)
    return embeddings + sum(kept)


def lowest_layer_bytes(strategy: Strategy, spec: ModelSpec, length: int, machine: Machine) -> int:
    """Bytes a token that are still kept when backward comes to the lowest layer it goes through."""
    lowest = max(0, strategy.lowest_layer(spec))
    if lowest >= spec.layers:
        return 0
    return layer_bytes(strategy, spec, lowest, length, machine.device.kind)


def layers_bytes(strategy: Strategy, spec: ModelSpec, length: int, kind: DeviceKind) -> tuple[int, ...]:
    """`layer_bytes` of every layer that gradients pass through, from below. How a batch is cut, what is computed
    again and how weights are updated change nothing about a token, so that candidates share what is kept here."""
    alike = replace(strategy.what_is_trained, precision=strategy.precision)
    return _kept_by_layer(alike, spec, length, kind)


@lru_cache(maxsize=1024)
def _kept_by_layer(strategy: Strategy, spec: ModelSpec, length: int, kind: DeviceKind) -> tuple[int, ...]:
    """Layers in which the same parts are trained are alike, but for the lowest."""
    starts = [max(0, part.lowest_layer(spec)) for part in strategy.parts]
    lowest = max(0, strategy.lowest_layer(spec))
    known: dict[tuple[int, bool, bool], int] = {}
    kept = []
    for layer in range(lowest, spec.layers):
        alike = (sum(start <= layer for start in starts), strategy.trains(spec, layer), layer == lowest)
        if alike not in known:
            known[alike] = layer_bytes(strategy, spec, layer, length, kind)
        kept.append(known[alike])
    return tuple(kept)


def layer_bytes(strategy: Strategy, spec: ModelSpec, layer: int, length: int, kind: DeviceKind) -> int:
    """Bytes a token that one layer with gradient flow keeps for backward."""
    number = BYTES[strategy.precision]
    loads = strategy.loads(spec, layer)
    if layer == strategy.lowest_layer(spec) and (lowest := lowest_place(loads)) != "attention":
        return _partly_passed_bytes(spec, loads, number, lowest, kind)
    trained = [linear for load in loads for linear in load.trained]
    beside = [(linear, rank) for load in loads for linear, rank in load.beside]
    inputs = {_INPUT_OF[linear.role]: linear.inputs for linear in (*trained, *(x for x, _ in beside))}
    keys = length + sum(load.keys for load in loads)
    if not (drops_probabilities(spec, kind) or attends_again(spec, number, length, keys, kind)):
        inputs["attention"] = spec.heads * spec.head_dim
    return (
        number * (sum(inputs.values()) + sum(rank for _, rank in beside) + sum(map(_kept_by_adapters, loads)))
        + _attention_bytes(strategy, spec, length, sum(load.keys for load in loads), kind)
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
    """Numbers a token: what a bottleneck after a matrix is given, and what ReLU lets through, this at rest too;
    what is scaled."""
    if load.resting is not None:
        return sum(width for _, width in load.resting.after)
    after = sum(linear.outputs + width for linear, width in load.after)
    after += sum(2 * linear.outputs for linear in load.renormed)
    outputs = sum(linear.outputs for linear in load.scaled_outputs)
    return after + outputs + sum(linear.inputs for linear in load.scaled_inputs)


def _attention_bytes(strategy: Strategy, spec: ModelSpec, length: int, before: int, kind: DeviceKind) -> int:
    """Queries, keys, values and what attention keeps beside them, its output left out; `before`: so many keys and
    values stand before those of a text."""
    number, keys = BYTES[strategy.precision], length + before
    width = round(spec.heads * spec.head_dim * (1 + 2 * keys / length))
    if attends_again(spec, number, length, keys, kind):
        return number * width
    if not drops_probabilities(spec, kind):
        return number * (width + keys) + 4 * spec.heads
    if spec.kind == "encoder":
        return number * width + (number + mask_bytes(number, kind)) * spec.heads * keys
    return 4 * (width + 3 * spec.heads * keys)


def _dropout_bytes(spec: ModelSpec, number: int, kind: DeviceKind) -> int:
    if not spec.hidden_dropout:
        return 0
    return spec.dropouts_per_layer * spec.hidden * mask_bytes(number, kind)


def _norm_bytes(spec: ModelSpec, number: int, *, trained: bool) -> int:
    width = spec.hidden * spec.norms_per_layer
    if spec.qk_norm:
        width += (spec.heads + spec.kv_heads) * spec.head_dim
    if spec.norm == "layer":
        return number * width
    return (4 + (number if trained else 0)) * width


def mask_bytes(number: int, kind: DeviceKind) -> int:
    """Bytes of a dropout mask for each number it is for."""
    return number if kind == "cpu" else 1


def attends_again(spec: ModelSpec, number: int, length: float, keys: float, kind: DeviceKind) -> bool:
    """Whether attention keeps queries, keys and values alone; `number`: bytes of one."""
    short = spec.heads * length * keys <= ATTENTION_MOST
    return kind == "cpu" and number == 2 and short and not drops_probabilities(spec, kind)


def scores_at_once(spec: ModelSpec, number: int, rows: int, length: int, kind: DeviceKind) -> int:
    """How many scores are made at a time where attention is made again; 0 elsewhere."""
    if not attends_again(spec, number, length, length, kind):
        return 0
    a_row = spec.heads * length * length
    return min(rows * a_row, max(ATTENTION_PIECE, a_row))


def drops_probabilities(spec: ModelSpec, kind: DeviceKind) -> bool:
    """On a CPU, attention with dropout keeps its probabilities; fused kernels elsewhere do not."""
    return kind == "cpu" and spec.attention_dropout > 0
