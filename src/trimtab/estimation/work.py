"""Floating-point work of a strategy, by matrix: what is multiplied, forward and backward.

Two FLOP a weight and token forward; the same again for the gradient of the input, and again for the gradient
of a trained weight (Kaplan et al. 2020, arXiv 2001.08361). Attention adds 4 L d forward and 8 L d backward a
token (L = length, d = heads x head size). What happens between the matmuls is counted in the numbers made.
"""

from dataclasses import dataclass
from functools import lru_cache

from trimtab.hardware.machine import StepWork
from trimtab.methods import LayerLoad, Place, Strategy, lowest_place
from trimtab.models.spec import Linear, ModelSpec, Role

_RENORM_PASSES = 4  # over what a matrix with rows of a trained length gives, forward, by PEFT's formula
_ATTENTION: tuple[Role, ...] = ("q", "k", "v", "qkv", "o")


@lru_cache(maxsize=4096)
def training_flop(strategy: Strategy, spec: ModelSpec, length: float) -> float:
    """FLOP a token (padding counts) of one forward and backward at padded length `length`, through the layers that
    run. Kept, since it is the same on every machine that is asked about."""
    return sum(
        _layer_flop(strategy, spec, layer, length) for layer in range(strategy.cached_layers(spec), spec.layers)
    )


def forward_flop(spec: ModelSpec, length: float, layers: range | None = None) -> float:
    """FLOP a token of a forward pass alone, through `layers`; None = all."""
    run = range(spec.layers) if layers is None else layers
    of = map(spec.layer, run)  # those of a pruned model are not alike
    return sum(2.0 * _matrix_numbers(layer) + _attention_flop(layer, length) for layer in of)


@lru_cache(maxsize=4096)
def training_work(strategy: Strategy, spec: ModelSpec, length: float) -> StepWork:
    """A forward and backward, a token: FLOP, and numbers made between the matmuls of each kind of layer: those of
    a forward, twice as many backward where gradients pass, and once more with recompute."""
    made, again = layer_numbers(spec, length), 4 if strategy.recompute else 3
    layers = _layers(strategy, spec)
    renormed = sum(linear.outputs for linear, _ in _renormed(strategy, spec))
    return StepWork(
        flop=training_flop(strategy, spec, length),
        trained_numbers=layers.trained * again * made,
        passed_numbers=layers.passed * again * made + again * _RENORM_PASSES * renormed,
        frozen_numbers=layers.frozen * made,
    )


def forward_work(spec: ModelSpec, length: float, layers: range | None = None) -> StepWork:
    """A forward pass that keeps nothing, a token, through `layers`; None = all."""
    run = range(spec.layers) if layers is None else layers
    return StepWork(flop=forward_flop(spec, length, run), frozen_numbers=len(run) * layer_numbers(spec, length))


@lru_cache(maxsize=1024)
def layers_work(strategy: Strategy, spec: ModelSpec) -> StepWork:
    """A micro-batch: the layers that are gone through, whatever the tokens. With recompute a third of what is
    asked of a layer is done again."""
    layers = _layers(strategy, spec)
    times = 4 / 3 if strategy.recompute else 1
    trained, passed = times * layers.trained, times * layers.passed
    if spec.kind == "decoder":
        return StepWork(
            flop=0.0,
            trained_decoder_layers=trained,
            passed_decoder_layers=passed,
            frozen_decoder_layers=layers.frozen,
        )
    return StepWork(flop=0.0, trained_layers=trained, passed_layers=passed, frozen_layers=layers.frozen)


@dataclass(frozen=True, slots=True)
class _Layers:
    """How many layers are trained, passed by gradients alone, and run frozen below those."""

    trained: int
    passed: int
    frozen: int


@lru_cache(maxsize=1024)
def _layers(strategy: Strategy, spec: ModelSpec) -> _Layers:
    frozen = min(max(0, strategy.lowest_layer(spec)), spec.layers)
    loads = (strategy.loads(spec, layer) for layer in range(frozen, spec.layers))
    trained = sum(any(load.trained for load in layer) for layer in loads)
    return _Layers(trained, spec.layers - frozen - trained, frozen - strategy.cached_layers(spec))


@lru_cache(maxsize=1024)
def renorm_work(strategy: Strategy, spec: ModelSpec) -> StepWork:
    """A micro-batch, while the rows of matrices are measured (DoRA): the product of B and A is multiplied out by
    way of a square of ones, scaled, added to the matrix, and read once more."""
    times = 2 if strategy.recompute else 1
    flop = numbers = 0.0
    for linear, rank in _renormed(strategy, spec):
        flop += 2.0 * linear.inputs * rank * (linear.inputs + linear.outputs)
        numbers += linear.inputs * (linear.inputs + 4.0 * linear.outputs)
    return StepWork(flop=times * flop, passed_numbers=times * numbers)


def _renormed(strategy: Strategy, spec: ModelSpec) -> list[tuple[Linear, int]]:
    """Matrices of all layers whose rows have a trained length, with the rank of what runs beside them."""
    loads = (load for layer in range(spec.layers) for load in strategy.loads(spec, layer))
    return [(linear, rank) for load in loads for linear, rank in load.beside if linear in load.renormed]


def head_work(strategy: Strategy, spec: ModelSpec, *, backward: bool) -> StepWork:
    """The head over a vocabulary, a learned token: forward, or with `backward` a step."""
    flop, made = head_flop(strategy, spec, backward=backward), head_numbers(strategy, spec, backward=backward)
    return StepWork(flop=flop, passed_numbers=made) if backward else StepWork(flop=flop, frozen_numbers=made)


def head_flop(strategy: Strategy, spec: ModelSpec, *, backward: bool) -> float:
    """FLOP a learned token in the head over the vocabulary: forward; with `backward` the scores once more, the
    gradient of what the head sees and, where it is trained, of its weights."""
    if strategy.language_head is None:
        return 0.0
    trained = strategy.trains_language_head(spec)
    return 2.0 * spec.vocab * spec.hidden * (3 + trained if backward else 1)


def head_numbers(strategy: Strategy, spec: ModelSpec, *, backward: bool) -> float:
    """Numbers a learned token that the head makes: scores and exponentials forward; both again, and the gradient
    in place of the scores, backward."""
    return 0.0 if strategy.language_head is None else spec.vocab * (5.0 if backward else 2.0)


def layer_numbers(spec: ModelSpec, length: float) -> float:
    """Numbers a token that a layer makes forward: queries, keys, values and attention's output, scores and
    probabilities, norms and sums, the inner activations."""
    inner = (3 if spec.gated_ffn else 2) * spec.ffn
    return 4.0 * spec.heads * spec.head_dim + 2.0 * spec.heads * length + 4.0 * spec.hidden + inner


def _layer_flop(strategy: Strategy, spec: ModelSpec, layer: int, length: float) -> float:
    lowest, loads = strategy.lowest_layer(spec), strategy.loads(spec, layer)
    reach = length + sum(load.keys for load in loads)
    resting = sum(_resting_flop(load.resting) for load in loads if load.resting is not None)
    forward = 2.0 * _matrix_numbers(spec) + _attention_flop(spec, reach) + resting
    if layer < lowest:
        return forward
    trained = sum(2.0 * linear.inputs * linear.outputs for load in loads for linear in load.trained)
    beside = sum(6.0 * rank * (linear.inputs + linear.outputs) for load in loads for linear, rank in load.beside)
    after = sum(12.0 * width * linear.outputs for load in loads for linear, width in load.after)
    backward = _gradient_flop(spec, reach, lowest_place(loads) if layer == lowest else "attention")
    return forward * (2 if strategy.recompute else 1) + backward + resting + trained + beside + after


def _resting_flop(load: LayerLoad) -> float:
    """FLOP a token of what was added to a layer and is not trained in this stage: forward, and as much again for
    the gradient that passes it."""
    beside = sum(2.0 * rank * (linear.inputs + linear.outputs) for linear, rank in load.beside)
    return beside + sum(4.0 * width * linear.outputs for linear, width in load.after)


def _gradient_flop(spec: ModelSpec, length: float, lowest: Place) -> float:
    """FLOP a token of gradients that pass a layer from above down to the place `lowest`."""
    if lowest == "end":
        return 0.0
    attention = sum(linear.inputs * linear.outputs for linear in spec.linears if linear.role in _ATTENTION)
    whole = 2.0 * _matrix_numbers(spec) + 2.0 * _attention_flop(spec, length)
    return whole if lowest == "attention" else 2.0 * (_matrix_numbers(spec) - attention)


def _matrix_numbers(spec: ModelSpec) -> float:
    """Numbers in the matrices one token is multiplied with in one layer."""
    numbers = sum(linear.inputs * linear.outputs for linear in spec.linears)
    if spec.experts:  # experts are not among the linears; each token goes through a few of them
        numbers += spec.experts_per_token * (3 if spec.gated_ffn else 2) * spec.hidden * spec.ffn
    return float(numbers)


def _attention_flop(spec: ModelSpec, length: float) -> float:
    return 4.0 * length * spec.heads * spec.head_dim
