"""VirtualTokens: what is trained and stands before every text: embeddings in the place of tokens, or keys and
values.

What the kinds have in common; each has a file of its own. Leaves out: virtual tokens between or behind the
tokens of a text.
"""

from dataclasses import dataclass
from typing import ClassVar

from trimtab.methods.part import Adapter, LayerLoad
from trimtab.models.spec import ModelSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class VirtualTokens(Adapter):
    """Abstract. So many `tokens`. The base reads something it did not before, so it does not start as it was, and
    none of its weights can take them up."""

    mergeable: ClassVar[bool] = False
    unmergeable: ClassVar[str] = "TT-F011"
    starts_at_base: ClassVar[bool] = False
    in_peft: ClassVar[bool] = True

    tokens: int = 8

    def load(self, spec: ModelSpec, layer: int) -> LayerLoad:
        return LayerLoad()


def token_width(spec: ModelSpec) -> int:
    """Numbers in the vector of a token, before a factorised embedding is widened."""
    return spec.embedding_size or spec.hidden
