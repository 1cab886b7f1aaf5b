"""What is left of each layer of a pruned model: heads and inner neurons, and how config.json says so.

A transformers class gives all its layers one shape. Where a pruned model has such a shape its config.json is an
ordinary one; else the config keeps the sizes that the class builds, and one key beside them, `KEY`, says what is
left of every layer. Leaves out: which families can be pruned and what that does to a spec (pruned.py), and
weights.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trimtab.errors import ModelError

KEY = "trimtab_layers"
_NOTE = (
    "Layers of this model were pruned to shapes that its class cannot build. Trimtab opens it (trimtab predict, "
    "trimtab.evaluation.open_artifact); plain transformers stops with a size mismatch."
)
_LISTS = ("heads", "kv_heads", "neurons")


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerShape:
    """One layer: its query heads, its key and value heads, the neurons of its feed-forward network. All counts
    are at least 1."""

    heads: int
    kv_heads: int
    neurons: int

    @property
    def heads_each(self) -> int:
        """Query heads that share one key and value head."""
        return self.heads // self.kv_heads

    def holds(self, other: "LayerShape") -> bool:
        """Whether `other` is this layer or what is left of it: as many query heads to a key head, nothing more
        and nothing empty."""
        return (
            other.heads * self.kv_heads == other.kv_heads * self.heads
            and 1 <= other.kv_heads <= self.kv_heads
            and 1 <= other.neurons <= self.neurons
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerShapes:
    """All layers of a model, lowest first; at least one."""

    layers: tuple[LayerShape, ...]

    @classmethod
    def alike(cls, shape: LayerShape, count: int) -> "LayerShapes":
        return cls(layers=(shape,) * count)

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def even(self) -> bool:
        return len(set(self.layers)) == 1

    @property
    def heads(self) -> int:
        """Query heads of all layers together."""
        return sum(layer.heads for layer in self.layers)

    @property
    def kv_heads(self) -> int:
        return sum(layer.kv_heads for layer in self.layers)

    @property
    def neurons(self) -> int:
        return sum(layer.neurons for layer in self.layers)

    @property
    def largest(self) -> LayerShape:
        """The most that any layer has of each."""
        return LayerShape(
            heads=max(layer.heads for layer in self.layers),
            kv_heads=max(layer.kv_heads for layer in self.layers),
            neurons=max(layer.neurons for layer in self.layers),
        )

    def only(self, numbers: Iterable[int]) -> "LayerShapes":
        """The layers of those numbers, in their order."""
        return LayerShapes(layers=tuple(self.layers[number] for number in numbers))

    def written(self) -> Mapping[str, object]:
        """The value of `KEY` in config.json, with a note for whoever reads it there."""
        return {
            "heads": [layer.heads for layer in self.layers],
            "kv_heads": [layer.kv_heads for layer in self.layers],
            "neurons": [layer.neurons for layer in self.layers],
            "note": _NOTE,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Pruned:
    """A model whose layers its class cannot build as they are. `built`: a layer as the class makes it from the
    config; `left`: what is left of every layer."""

    built: LayerShape
    left: LayerShapes


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptLayer:
    """A layer that stays. `number`: which one it is of the model before; `groups` and `neurons`: what is kept, by
    the numbers it has there, rising. A group is a key and value head with the query heads that share it: where
    each has its own, a head."""

    number: int
    groups: tuple[int, ...]
    neurons: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """What is kept of a model: its layers, lowest first."""

    layers: tuple[KeptLayer, ...]

    @classmethod
    def first(cls, shapes: LayerShapes) -> "Kept":
        """The first groups and neurons of every layer: what turns an empty model into one of `shapes`."""
        return cls(
            layers=tuple(
                KeptLayer(number=number, groups=tuple(range(one.kv_heads)), neurons=tuple(range(one.neurons)))
                for number, one in enumerate(shapes.layers)
            )
        )

    def shapes(self, before: LayerShapes) -> LayerShapes:
        """What it leaves of layers with the shapes `before`."""
        return LayerShapes(
            layers=tuple(
                LayerShape(
                    heads=len(layer.groups) * before.layers[layer.number].heads_each,
                    kv_heads=len(layer.groups),
                    neurons=len(layer.neurons),
                )
                for layer in self.layers
            )
        )


def shapes_written(value: object, built: LayerShape, layers: int, name: str) -> LayerShapes:
    """The shapes that the value of `KEY` says, of a model with `layers` layers that its class builds as `built`.

    Raises ModelError TT-C200 where it is not what `LayerShapes.written` writes for such a model: config.json is
    somebody else's file.
    """
    lists = [value.get(key) for key in _LISTS] if isinstance(value, Mapping) else []
    columns = [column for column in lists if _is_counts(column, layers)]
    if len(columns) < len(_LISTS):
        raise ModelError("TT-C200", name=name, key=KEY, layers=layers)
    rows = zip(*columns, strict=True)
    found = tuple(LayerShape(heads=heads, kv_heads=pairs, neurons=neurons) for heads, pairs, neurons in rows)
    if not all(built.holds(shape) for shape in found):
        raise ModelError("TT-C200", name=name, key=KEY, layers=layers)
    return LayerShapes(layers=found)


def _is_counts(column: object, layers: int) -> bool:
    return isinstance(column, list) and len(column) == layers and all(type(count) is int for count in column)
