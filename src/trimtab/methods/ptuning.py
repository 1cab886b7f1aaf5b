"""PTuning: a prompt that a small network makes while it is trained (P-tuning, Liu et al. 2021, arXiv 2103.10385).

Each virtual token has a vector; two hidden layers and one more make its embedding of it, as PEFT has it. What is
kept is what the network gives: the folder is as small as a prompt's, and the network is gone once it is opened.
Leaves out: the paper's recurrent network.
"""

from dataclasses import dataclass
from typing import ClassVar

from trimtab.methods.part import Shape
from trimtab.methods.virtual_tokens import VirtualTokens, token_width
from trimtab.models.spec import ModelSpec

_MATRICES = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class PTuning(VirtualTokens):
    """P-tuning with a network as wide as an embedding. Parameters: tokens x width, and three matrices of width x
    width with their biases."""

    name: ClassVar[str] = "ptuning"

    @property
    def virtual_tokens(self) -> int:
        return self.tokens

    def trainable_parameters(self, spec: ModelSpec, outputs: int) -> int:
        width = token_width(spec)
        return self.tokens * width + _MATRICES * (width * width + width)

    def kept_parameters(self, spec: ModelSpec, outputs: int) -> int:
        return self.tokens * token_width(spec)

    def lowest_layer(self, spec: ModelSpec) -> int:
        return -1

    def below_layers(self, spec: ModelSpec) -> int:
        return self.trainable_parameters(spec, 0)

    def tensors_below(self, spec: ModelSpec) -> tuple[Shape, ...]:
        width = token_width(spec)
        return ((self.tokens, width), *(((width, width),) * _MATRICES))
