"""TokenHead: one matrix from what the last layer says of a token to the tags. Every strategy of a tagger contains
it, in the place of a classifier's head: there is no pooler under it, since no one vector stands for the text.
"""

from dataclasses import dataclass
from typing import ClassVar

from trimtab.methods.part import LayerLoad, Part, Shape
from trimtab.models.families import pooler_parameters, token_head_parameters
from trimtab.models.spec import ModelSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenHead(Part):
    """The head of transformers' ...ForTokenClassification classes."""

    name: ClassVar[str] = "token-head"
    mergeable: ClassVar[bool] = False
    starts_at_base: ClassVar[bool] = True
    adapter: ClassVar[bool] = False

    def trainable_parameters(self, spec: ModelSpec, outputs: int) -> int:
        return token_head_parameters(spec, outputs)

    def added_parameters(self, spec: ModelSpec, outputs: int) -> int:
        """Beyond what a classifier keeps of the model, whose class may have a pooler."""
        return token_head_parameters(spec, outputs) - pooler_parameters(spec)

    def lowest_layer(self, spec: ModelSpec) -> int:
        return spec.layers

    def load(self, spec: ModelSpec, layer: int) -> LayerLoad:
        return LayerLoad()

    def tensors_elsewhere(self, spec: ModelSpec, outputs: int) -> tuple[Shape, ...]:
        return ((outputs, spec.hidden),)
