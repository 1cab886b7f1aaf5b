"""Biases: the biases of the layers, and nothing else of them (BitFit, Ben Zaken et al. 2022, arXiv 2106.10199).

A copy of every bias is trained and takes its place, so that what is kept beside the base is as small as the biases
are, and the base stays as it is. Leaves out, as the paper does, the norm above the embeddings.
"""

from dataclasses import dataclass
from typing import ClassVar

from trimtab.errors import Message, message
from trimtab.methods.part import LayerAdapter, LayerLoad
from trimtab.models.families import layer_biases
from trimtab.models.spec import ModelSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Biases(LayerAdapter):
    """The biases of the matrices and norms of the layers. They keep nothing for backward: the gradient of a bias
    is the sum of its output's."""

    name: ClassVar[str] = "biases"
    mergeable: ClassVar[bool] = True
    starts_at_base: ClassVar[bool] = True
    in_peft: ClassVar[bool] = False

    def added_to_a_layer(self, spec: ModelSpec) -> int:
        return layer_biases(spec)

    def layer_load(self, spec: ModelSpec) -> LayerLoad:
        return LayerLoad(biases=True)

    def refusal(self, spec: ModelSpec) -> Message | None:
        return None if layer_biases(spec) else message("TT-F002", model=spec.name, family=spec.family)
