"""LanguageHead: the matrix from a decoder's last layer to its vocabulary. Every strategy of a chat model contains
it.

Most models share it with the token embedding (tied): then it has no parameters of its own, is trained where the
embedding is, and neither grows the model nor can be trained alone.
"""

from dataclasses import dataclass
from typing import ClassVar

from trimtab.methods.part import LayerLoad, Part, Shape
from trimtab.models.families import language_head_parameters
from trimtab.models.spec import ModelSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class LanguageHead(Part):
    """The head over the vocabulary, `trained` or frozen."""

    name: ClassVar[str] = "language-head"
    mergeable: ClassVar[bool] = True
    starts_at_base: ClassVar[bool] = True
    adapter: ClassVar[bool] = False

    trained: bool = False

    def trainable_parameters(self, spec: ModelSpec, outputs: int) -> int:
        return language_head_parameters(spec) if self.trained else 0

    def added_parameters(self, spec: ModelSpec, outputs: int) -> int:
        """Beyond what a classifier keeps of the model."""
        return language_head_parameters(spec)

    def lowest_layer(self, spec: ModelSpec) -> int:
        return spec.layers

    def tensors_elsewhere(self, spec: ModelSpec, outputs: int) -> tuple[Shape, ...]:
        own = self.trained and language_head_parameters(spec)
        return ((spec.vocab, spec.hidden),) if own else ()

    def load(self, spec: ModelSpec, layer: int) -> LayerLoad:
        return LayerLoad()
