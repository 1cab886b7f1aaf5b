"""Ia3: trained vectors that scale keys, values and inner activations ((IA)^3, Liu et al. 2022, arXiv 2205.05638).

Keys and values are multiplied with a vector of their width, the input of the feed-forward network's last matrix
with one of the inner width; all are 1 at the start. Where a family stores queries, keys and values as one matrix
the vector is as wide as the whole, as PEFT has it.
"""

from dataclasses import dataclass
from typing import ClassVar

from trimtab.methods.part import LayerAdapter, LayerLoad
from trimtab.models.spec import Linear, ModelSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Ia3(LayerAdapter):
    """(IA)^3. Parameters: the outputs of the key and value matrices, and the inputs of the last one, a layer. A
    scaled matrix is a matrix, so it can be folded in."""

    name: ClassVar[str] = "ia3"
    mergeable: ClassVar[bool] = True
    starts_at_base: ClassVar[bool] = True
    in_peft: ClassVar[bool] = True

    def scaled_outputs(self, spec: ModelSpec) -> tuple[Linear, ...]:
        return tuple(linear for linear in spec.linears if {"k", "v"} & set(linear.roles))

    def scaled_inputs(self, spec: ModelSpec) -> tuple[Linear, ...]:
        """Empty for a mixture of experts, whose networks are not matrices."""
        return tuple(linear for linear in spec.linears if linear.role == "down")

    def added_to_a_layer(self, spec: ModelSpec) -> int:
        outputs = sum(linear.outputs for linear in self.scaled_outputs(spec))
        return outputs + sum(linear.inputs for linear in self.scaled_inputs(spec))

    def layer_load(self, spec: ModelSpec) -> LayerLoad:
        return LayerLoad(scaled_outputs=self.scaled_outputs(spec), scaled_inputs=self.scaled_inputs(spec))
