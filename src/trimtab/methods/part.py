"""Part: one kind of trainable thing, on a range of layers. The pure half; its torch half is in tuning/.

A new part is one file here (fields and arithmetic), one file in tuning/ (attach to a real model) and one
name in `methods.PARTS`. The exams in tests/exams then hold the two halves to each other.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from trimtab.models.spec import Linear, ModelSpec


@dataclass(frozen=True, slots=True)
class LayerLoad:
    """What a part does to one transformer layer, as far as memory and time are concerned.

    `trained`: matrices whose own weights get gradients (their inputs are kept for backward).
    `beside`: matrices that run beside a frozen one (input size, output size), trained; as LoRA's A and B.
    `everything_else`: the layer's norms and biases are trained as well.
    """

    trained: tuple[Linear, ...] = ()
    beside: tuple[tuple[Linear, int], ...] = ()
    everything_else: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Part(ABC):
    """Abstract. A subclass is final: a frozen dataclass with these answers."""

    name: ClassVar[str]
    mergeable: ClassVar[bool]  # can be folded into the base weights
    starts_at_base: ClassVar[bool]  # untrained, the model computes what the base computes
    adapter: ClassVar[bool]  # saved beside the base, as an adapter, not as a whole model

    @abstractmethod
    def trainable_parameters(self, spec: ModelSpec, outputs: int) -> int:
        """Parameters that get gradients, exact. `outputs` = numbers the head gives."""

    @abstractmethod
    def added_parameters(self, spec: ModelSpec, outputs: int) -> int:
        """Parameters the base model does not have, exact."""

    @abstractmethod
    def lowest_layer(self, spec: ModelSpec) -> int:
        """The lowest layer that is trained: -1 the embeddings, `spec.layers` only what is above the layers.
        What lies below never changes and needs no backward."""

    @abstractmethod
    def load(self, spec: ModelSpec, layer: int) -> LayerLoad:
        """What it does to layer `layer` (0 = lowest)."""
