"""Prompt: trained embeddings before those of the text (prompt tuning, Lester et al. 2021, arXiv 2104.08691).

They start as the embeddings of tokens: drawn from the vocabulary, or those of a text. Gradients go through all
layers down to them, though nothing else below the head is trained.
"""

from dataclasses import dataclass
from typing import ClassVar

from trimtab.methods.part import Shape
from trimtab.methods.virtual_tokens import VirtualTokens, token_width
from trimtab.models.spec import ModelSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt(VirtualTokens):
    """Prompt tuning. Parameters: tokens x the width of an embedding. `init_text`: the text whose tokens they start
    as, cut or repeated to as many; "" = tokens drawn from the vocabulary."""

    name: ClassVar[str] = "prompt"

    init_text: str = ""

    @property
    def virtual_tokens(self) -> int:
        return self.tokens

    def trainable_parameters(self, spec: ModelSpec, outputs: int) -> int:
        return self.tokens * token_width(spec)

    def lowest_layer(self, spec: ModelSpec) -> int:
        return -1

    def below_layers(self, spec: ModelSpec) -> int:
        return self.trainable_parameters(spec, 0)

    def tensors_below(self, spec: ModelSpec) -> tuple[Shape, ...]:
        return ((self.tokens, token_width(spec)),)
