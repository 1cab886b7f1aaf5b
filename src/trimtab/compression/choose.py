"""Which heads, neurons and layers go, from what they are worth. Pure: numpy, no torch.

Neurons go in blocks, so that as many are left as matrices multiply fast (a multiple of 32); a layer keeps at least
one group of heads and a floor of neurons. Heads are ranked among the heads of all layers, neurons among all
neurons, and the same share of both goes. Ranked together, by what is lost for what is saved, too many heads go:
first-order values of many neurons add up to more than what they are worth together (MiniLM-L6 on sst2, 40 %,
before recovery: 0.831 became 0.611, and 0.815 as here).

Leaves out: how much is to go (enough.py), and whether it was right (the equality gate, recovery training).
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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
    `share` of all heads and of all neurons that the layers that stay have, 0 up to below 1.

    `even`: alike in all layers, so that most classes' own config can say it. Of the neurons of a layer a multiple
    of `multiple` is left, and not less than `least` of them (a share).

    Raises UsageError TT-C207 where `share` is none.
    """

    share: float
    layers: int = 0
    even: bool = False
    multiple: int = 32
    least: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise UsageError("TT-C207", share=self.share)


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
    found = _even(now, first, wanted) if wanted.even else _uneven(now, first, worth, wanted)
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


# ------------------------------------------------------------------ layers of their own size


@dataclass(frozen=True, slots=True)
class _Block:
    """Units of one kind that go together from a layer: how many, and what they are worth."""

    layer: int
    kind: Kind
    units: int
    worth: float


def _uneven(now: LayerShapes, first: LayerShapes, worth: Importance, wanted: Removal) -> LayerShapes:
    gone = _gone(_group_blocks(worth), _to_go(now.kv_heads, first.kv_heads, wanted.share))
    gone += _gone(_neuron_blocks(first, worth, wanted), _to_go(now.neurons, first.neurons, wanted.share))
    return LayerShapes(
        layers=tuple(
            _less(shape, gone[layer, "groups"], gone[layer, "neurons"]) for layer, shape in enumerate(now.layers)
        )
    )


def _to_go(now: float, first: float, share: float) -> float:
    """How much is still to go of what there is, so that `share` of what there was first is gone."""
    return max(0.0, now - (1 - share) * first)


def _gone(blocks: Iterable[_Block], units: float) -> Counter[tuple[int, Kind]]:
    """Units that go of each layer: the blocks of one kind that are worth least a unit, up to `units` together, to
    the nearest block."""
    gone: Counter[tuple[int, Kind]] = Counter()
    for block in sorted(blocks, key=lambda block: block.worth / block.units):
        if block.units / 2 > units:
            break
        gone[block.layer, block.kind] += block.units
        units -= block.units
    return gone


def _group_blocks(worth: Importance) -> Iterator[_Block]:
    """One by one, the last of a layer stays."""
    for layer, values in enumerate(worth.groups):
        for value in np.sort(values)[:-1]:
            yield _Block(layer, "groups", 1, float(value))


def _neuron_blocks(first: LayerShapes, worth: Importance, wanted: Removal) -> Iterator[_Block]:
    """First what is left over of the multiple, then blocks of it, down to the floor."""
    for layer, values in enumerate(worth.neurons):
        rising, floor = np.sort(values), _floor(first.layers[layer], wanted)
        start = 0
        for left in _counts(len(values), floor, wanted.multiple):
            units = len(values) - start - left
            yield _Block(layer, "neurons", units, float(rising[start : start + units].sum()))
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


def _even(now: LayerShapes, first: LayerShapes, wanted: Removal) -> LayerShapes:
    """The shape for all layers that is nearest to what is wanted."""
    groups = range(1, min(layer.kv_heads for layer in now.layers) + 1)
    most, least = min(layer.neurons for layer in now.layers), max(_floor(layer, wanted) for layer in first.layers)
    neurons = [most, *_counts(most, least, wanted.multiple)]
    kv_heads = _nearest(groups, (1 - wanted.share) * first.kv_heads / len(first))
    inner = _nearest(neurons, (1 - wanted.share) * first.neurons / len(first))
    shape = LayerShape(heads=kv_heads * now.layers[0].heads_each, kv_heads=kv_heads, neurons=inner)
    return LayerShapes.alike(shape, len(now))


def _nearest(counts: Iterable[int], wanted: float) -> int:
    return min(counts, key=lambda count: (abs(count - wanted), count))


# ------------------------------------------------------------------ which ones


def _staying(spec: ModelSpec, worth: Importance, dropped: int) -> tuple[int, ...]:
    """Numbers of the layers that stay, rising."""
    if not 0 <= dropped < spec.layers:
        raise ModelError("TT-C206", name=spec.name, asked=dropped, layers=spec.layers)
    return _best(worth.layers, spec.layers - dropped)


def _best(values: np.ndarray, count: int) -> tuple[int, ...]:
    """Numbers of the `count` largest values, rising; of equal ones the lower stay."""
    return tuple(sorted(np.argsort(-values, kind="stable")[:count].tolist()))
