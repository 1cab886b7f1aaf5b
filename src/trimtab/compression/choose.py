"""Which heads, neurons and layers go, from what they are worth and what they cost. Pure: numpy, no torch.

Neurons go in blocks, so that as many are left as matrices multiply fast (a multiple of 32); a layer keeps at least
one group of heads and a floor of neurons. Heads are ranked among the heads of all layers and neurons among all
neurons, or both together by what is lost for what is saved.

Leaves out: whether it was right (the equality gate, recovery training), and how long a layer takes (measured).
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np

from trimtab.compression.worth import Importance
from trimtab.errors import ModelError, UsageError
from trimtab.methods import Precision, Strategy
from trimtab.models.layer_shapes import Kept, KeptLayer, LayerShape, LayerShapes
from trimtab.models.pruned import require_prunable, with_shapes
from trimtab.models.spec import ModelSpec

Kind = Literal["groups", "neurons"]
_NUMBER_BYTES: dict[Precision, int] = {"fp32": 4, "bf16": 2, "fp16": 2}


@dataclass(frozen=True, kw_only=True, slots=True)
class Removal:
    """What is to go, of the model as it was first. `layers`: so many whole layers, the least important ones; then
    `share` of what the layers that stay have, 0 up to below 1.

    `ranking` "apart": that share of all heads and that share of all neurons; "together": that share of what both
    cost, whichever is worth least for it. First-order values of many neurons add up to more than what they are
    worth together, so that too many heads go: MiniLM-L6 on sst2, 40 %, before recovery, fell from 0.831 to 0.611,
    and to 0.815 apart. `cost`: parameters, or FLOP a token in a text of `length` tokens.
    `even`: alike in all layers, so that most classes' own config can say it. Of the neurons of a layer a multiple
    of `multiple` is left, and not less than `least` of them (a share).

    Raises UsageError TT-C207 where `share` is none.
    """

    share: float
    layers: int = 0
    ranking: Literal["apart", "together"] = "apart"
    cost: Literal["parameters", "flop"] = "parameters"
    length: int = 128
    even: bool = False
    multiple: int = 32
    least: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise UsageError("TT-C207", share=self.share)


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """What one group of heads and one neuron of any layer cost: parameters, or FLOP a token."""

    group: float
    neuron: float

    def of(self, shapes: LayerShapes) -> float:
        """All groups and neurons together; norms and the biases that stay are not among it."""
        return shapes.kv_heads * self.group + shapes.neurons * self.neuron


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """Of a model: all its numbers, head included, and the bytes of their tensors. A weights file is longer by its
    header (some 100 bytes a tensor)."""

    parameters: int
    weight_bytes: int


def choose(spec: ModelSpec, worth: Importance, wanted: Removal, original: LayerShapes | None = None) -> Kept:
    """What to keep of the model of `spec`. `original`: what the layers that it has now were like before the first
    of several steps, of which `wanted.share` is meant; None = as they are.

    Raises ModelError TT-C201 where the family cannot be pruned, TT-C206 where no layer would be left.
    """
    require_prunable(spec)
    staying = _staying(spec, worth, wanted.layers)
    now, worth = spec.shapes.only(staying), worth.only(staying)
    first = now if original is None else original.only(staying)
    costs = costs_of(spec, wanted)
    found = _even(now, first, worth, wanted, costs) if wanted.even else _uneven(now, first, worth, wanted, costs)
    return Kept(
        layers=tuple(
            KeptLayer(
                number=number,
                groups=_best(worth.groups[index], found.layers[index].kv_heads),
                neurons=_best(worth.neurons[index], found.layers[index].neurons),
            )
            for index, number in enumerate(staying)
        )
    )


def shares_in_steps(share: float, steps: int) -> tuple[float, ...]:
    """Shares of the original that are gone after each of `steps` steps, equally far apart; the last is `share`."""
    return (*(share * step / steps for step in range(1, steps)), share)


def pruned_size(spec: ModelSpec, shapes: LayerShapes, strategy: Strategy, outputs: int) -> Size:
    """Size of the model of `spec` pruned to `shapes`, with a head of `outputs` numbers, as a training with
    `strategy` holds and saves it; exact. Raises what `with_shapes` raises."""
    count = strategy.total_parameters(with_shapes(spec, shapes), outputs)
    return Size(parameters=count, weight_bytes=count * _NUMBER_BYTES[strategy.precision])


def costs_of(spec: ModelSpec, wanted: Removal) -> Costs:
    """What a group and a neuron cost, which is the same in all layers. Biases of output matrices stay. FLOP: two a
    number of a matrix, and of attention 4 x length a number of a query head (scores and their sum)."""
    matrices = {role: linear for linear in spec.linears for role in linear.roles}
    into, out = [matrices[role] for role in ("q", "k", "v")], matrices["o"]
    group = sum(linear.parameters for linear in into) // spec.kv_heads + out.inputs * out.outputs // spec.kv_heads
    inner = [linear for role, linear in matrices.items() if role in ("gate", "up")]
    neuron = sum(linear.parameters for linear in inner) // spec.ffn + matrices["down"].outputs
    if wanted.cost == "parameters":
        return Costs(group=group, neuron=neuron)
    attention = 4.0 * wanted.length * spec.head_dim * spec.heads // spec.kv_heads
    return Costs(group=2.0 * group + attention, neuron=2.0 * neuron)


# ------------------------------------------------------------------ layers of their own size


@dataclass(frozen=True, slots=True)
class _Block:
    """Units of one kind that go together from a layer: how many, what they cost, and what they are worth."""

    layer: int
    kind: Kind
    units: int
    cost: float
    worth: float


def _uneven(now: LayerShapes, first: LayerShapes, worth: Importance, wanted: Removal, costs: Costs) -> LayerShapes:
    blocks = [*_group_blocks(worth, costs), *_neuron_blocks(first, worth, wanted, costs)]
    if wanted.ranking == "together":
        gone = _gone(blocks, _to_go(costs.of(now), costs.of(first), wanted.share))
    else:
        groups = [block for block in blocks if block.kind == "groups"]
        neurons = [block for block in blocks if block.kind == "neurons"]
        gone = _gone(groups, costs.group * _to_go(now.kv_heads, first.kv_heads, wanted.share))
        gone += _gone(neurons, costs.neuron * _to_go(now.neurons, first.neurons, wanted.share))
    return LayerShapes(
        layers=tuple(
            _less(shape, gone[layer, "groups"], gone[layer, "neurons"]) for layer, shape in enumerate(now.layers)
        )
    )


def _to_go(now: float, first: float, share: float) -> float:
    """How much is still to go of what there is, so that `share` of what there was first is gone."""
    return max(0.0, now - (1 - share) * first)


def _gone(blocks: Iterable[_Block], cost: float) -> Counter[tuple[int, Kind]]:
    """Units that go of each layer: the blocks that are worth least for what they cost, up to `cost` together, to
    the nearest block."""
    gone: Counter[tuple[int, Kind]] = Counter()
    for block in sorted(blocks, key=lambda block: block.worth / block.cost):
        if block.cost / 2 > cost:
            break
        gone[block.layer, block.kind] += block.units
        cost -= block.cost
    return gone


def _group_blocks(worth: Importance, costs: Costs) -> Iterator[_Block]:
    """One by one, the last of a layer stays."""
    for layer, values in enumerate(worth.groups):
        for value in np.sort(values)[:-1]:
            yield _Block(layer, "groups", 1, costs.group, float(value))


def _neuron_blocks(first: LayerShapes, worth: Importance, wanted: Removal, costs: Costs) -> Iterator[_Block]:
    """First what is left over of the multiple, then blocks of it, down to the floor."""
    for layer, values in enumerate(worth.neurons):
        rising, floor = np.sort(values), _floor(first.layers[layer], wanted)
        start = 0
        for left in _counts(len(values), floor, wanted.multiple):
            units = len(values) - start - left
            cost = units * costs.neuron
            yield _Block(layer, "neurons", units, cost, float(rising[start : start + units].sum()))
            start += units


def _counts(neurons: int, floor: int, multiple: int) -> Iterator[int]:
    """Numbers of neurons that a layer may be left with, falling, below `neurons`."""
    yield from range((neurons - 1) // multiple * multiple, max(floor, 1) - 1, -multiple)


def _floor(shape: LayerShape, wanted: Removal) -> int:
    """The fewest neurons that are left of a layer that was first like `shape`."""
    return max(wanted.multiple, math.ceil(wanted.least * shape.neurons))


def _less(shape: LayerShape, groups: int, neurons: int) -> LayerShape:
    kv_heads = shape.kv_heads - groups
    return LayerShape(heads=kv_heads * shape.heads_each, kv_heads=kv_heads, neurons=shape.neurons - neurons)


# ------------------------------------------------------------------ layers alike


def _even(now: LayerShapes, first: LayerShapes, worth: Importance, wanted: Removal, costs: Costs) -> LayerShapes:
    """The shape for all layers that loses least of those nearest to what is wanted."""
    least = LayerShape(
        heads=1,
        kv_heads=min(layer.kv_heads for layer in now.layers),
        neurons=min(layer.neurons for layer in now.layers),
    )
    floor = max(_floor(layer, wanted) for layer in first.layers)
    groups = range(1, least.kv_heads + 1)
    neurons = [least.neurons, *_counts(least.neurons, floor, wanted.multiple)]
    if wanted.ranking == "together":
        kv_heads, inner = _cheapest_pair(groups, neurons, first, worth, wanted, costs)
    else:
        kv_heads = _nearest(groups, (1 - wanted.share) * first.kv_heads / len(first))
        inner = _nearest(neurons, (1 - wanted.share) * first.neurons / len(first))
    shape = LayerShape(heads=kv_heads * now.layers[0].heads_each, kv_heads=kv_heads, neurons=inner)
    return LayerShapes.alike(shape, len(now))


def _nearest(counts: Iterable[int], wanted: float) -> int:
    return min(counts, key=lambda count: (abs(count - wanted), count))


def _cheapest_pair(
    groups: Iterable[int],
    neurons: Iterable[int],
    first: LayerShapes,
    worth: Importance,
    wanted: Removal,
    costs: Costs,
) -> tuple[int, int]:
    """Of all pairs that cost no more than is wanted, the one that loses least; where none does, the smallest."""
    most = (1 - wanted.share) * costs.of(first) / len(first)
    pairs = list(product(groups, neurons))
    cheap = [pair for pair in pairs if pair[0] * costs.group + pair[1] * costs.neuron <= most]
    kept_groups, kept_neurons = _kept_worth(worth.groups), _kept_worth(worth.neurons)
    return max(cheap or [min(pairs)], key=lambda pair: kept_groups[pair[0]] + kept_neurons[pair[1]])


def _kept_worth(values: tuple[np.ndarray, ...]) -> np.ndarray:
    """What the best n of every layer are worth together, float64 (n, from 0 to as many as each layer has)."""
    shortest = min(len(layer) for layer in values)
    falling = sum(np.sort(layer)[::-1][:shortest] for layer in values)
    return np.concatenate([[0.0], np.cumsum(falling)])


# ------------------------------------------------------------------ which ones


def _staying(spec: ModelSpec, worth: Importance, dropped: int) -> tuple[int, ...]:
    """Numbers of the layers that stay, rising."""
    if not 0 <= dropped < spec.layers:
        raise ModelError("TT-C206", name=spec.name, asked=dropped, layers=spec.layers)
    return _best(worth.layers, spec.layers - dropped)


def _best(values: np.ndarray, count: int) -> tuple[int, ...]:
    """Numbers of the `count` largest values, rising; of equal ones the lower stay."""
    return tuple(sorted(np.argsort(-values, kind="stable")[:count].tolist()))
