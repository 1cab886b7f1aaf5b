"""Head: the task head, and the pooler under it. Every classifier strategy contains it.

The pooler is trained with the head: it is one matrix above all layers, in some models freshly made (a
repository without pooler weights), and frozen random weights between model and head would spoil both.
"""

from dataclasses import dataclass
from typing import ClassVar

from trimtab.methods.part import LayerLoad, Part, Shape
from trimtab.models.families import head_parameters, pooler_parameters
from trimtab.models.spec import ModelSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Head(Part):
    """The layers above the transformer: pooler (where the family's classifier has one) and classifier."""

    name: ClassVar[str] = "head"
    mergeable: ClassVar[bool] = False
    starts_at_base: ClassVar[bool] = True
    adapter: ClassVar[bool] = False

    def trainable_parameters(self, spec: ModelSpec, outputs: int) -> int:
        return head_parameters(spec, outputs) + pooler_parameters(spec)

    def added_parameters(self, spec: ModelSpec, outputs: int) -> int:
        return head_parameters(spec, outputs)

    def lowest_layer(self, spec: ModelSpec) -> int:
        return spec.layers

    def load(self, spec: ModelSpec, layer: int) -> LayerLoad:
        return LayerLoad()

    def tensors_elsewhere(self, spec: ModelSpec, outputs: int) -> tuple[Shape, ...]:
        square = (self.trainable_parameters(spec, outputs) - outputs * spec.hidden) // spec.hidden**2
        return (*(((spec.hidden, spec.hidden),) * square), (outputs, spec.hidden))
