"""Prefix: trained keys and values before those of the text, in every layer (prefix tuning, Li and Liang 2021,
arXiv 2101.00190).

No row is longer; attention reads more. They come in where a model that writes keeps what it has read (the cache of
keys and values), so that a family without one cannot have them. Leaves out: the network that makes them in the
paper, and layers without them, which PEFT has no format for.
"""

from dataclasses import dataclass
from typing import ClassVar

from trimtab.errors import Message, message
from trimtab.methods.part import LayerLoad, Shape
from trimtab.methods.virtual_tokens import VirtualTokens
from trimtab.models.spec import ModelSpec

# Families whose transformers class takes no cache; a test holds the list to the classes.
_WITHOUT_CACHE = frozenset({"deberta-v2", "distilbert", "mobilebert"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Prefix(VirtualTokens):
    """Prefix tuning. Parameters: tokens x layers x twice the width of the keys."""

    name: ClassVar[str] = "prefix"

    @property
    def positions(self) -> int:
        return self.tokens

    def trainable_parameters(self, spec: ModelSpec, outputs: int) -> int:
        return self.tokens * _width(spec)

    def lowest_layer(self, spec: ModelSpec) -> int:
        return 0

    def load(self, spec: ModelSpec, layer: int) -> LayerLoad:
        return LayerLoad(keys=self.tokens)

    def tensors_elsewhere(self, spec: ModelSpec, outputs: int) -> tuple[Shape, ...]:
        return ((self.tokens, _width(spec)),)

    def refusal(self, spec: ModelSpec) -> Message | None:
        if spec.family in _WITHOUT_CACHE:
            return message("TT-F012", model=spec.name, family=spec.family)
        if len({layer.kv_heads for layer in spec.shapes.layers}) > 1:
            return message("TT-C205", model=spec.name, family=spec.family)
        return None


def _width(spec: ModelSpec) -> int:
    """Numbers of a virtual token: keys and values of every layer."""
    return spec.layers * 2 * spec.kv_heads * spec.head_dim
