"""Pooling: how an encoder makes one vector of a text. Every strategy of the task embed contains it.

The vector is the mean of the last layer's outputs over the tokens of a text, or that at the first token, divided
by its length. Nothing of it is trained, and the pooler that a classifier runs is not there."""

from dataclasses import dataclass
from typing import ClassVar

from trimtab.methods.part import LayerLoad, Part
from trimtab.models.families import pooler_parameters
from trimtab.models.sentence import PoolingKind
from trimtab.models.spec import ModelSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Pooling(Part):
    """The mean over tokens, or the first token ("cls")."""

    name: ClassVar[str] = "pooling"
    mergeable: ClassVar[bool] = True
    starts_at_base: ClassVar[bool] = True
    adapter: ClassVar[bool] = False

    kind: PoolingKind = "mean"

    def trainable_parameters(self, spec: ModelSpec, outputs: int) -> int:
        return 0

    def added_parameters(self, spec: ModelSpec, outputs: int) -> int:
        """Beyond what a classifier keeps of the model: less, where its class has a pooler."""
        return -pooler_parameters(spec)

    def lowest_layer(self, spec: ModelSpec) -> int:
        return spec.layers

    def load(self, spec: ModelSpec, layer: int) -> LayerLoad:
        return LayerLoad()
