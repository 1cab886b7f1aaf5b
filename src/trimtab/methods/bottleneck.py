"""Bottleneck: a small network after frozen matrices (Houlsby et al. 2019, arXiv 1902.00751).

y  ->  y + up(relu(down(y))), with down (outputs x width) random and up (width x outputs) zero at the start, both
with a bias. Houlsby places one after attention's output matrix and one after the feed-forward network's; Pfeiffer
et al. 2021 (arXiv 2005.00247) the second alone, for half the cost. Both come before the residual sum. Leaves out:
a non-linearity to choose, norms of their own, adapters in parallel to the network.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Literal

from trimtab.errors import Message, message
from trimtab.methods.part import LayerAdapter, LayerLoad
from trimtab.models.spec import Linear, ModelSpec, Role

Placement = Literal["houlsby", "pfeiffer"]
PLACEMENTS: Mapping[Placement, tuple[Role, ...]] = MappingProxyType(
    {"houlsby": ("o", "down"), "pfeiffer": ("down",)}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bottleneck(LayerAdapter):
    """Bottleneck adapters of `width` numbers, `placement` after which matrices. Parameters: 2 x width x outputs
    and the biases, width + outputs, a matrix. What it computes is not linear, so no matrix can take it up."""

    name: ClassVar[str] = "bottleneck"
    mergeable: ClassVar[bool] = False
    unmergeable: ClassVar[str] = "TT-F010"
    starts_at_base: ClassVar[bool] = True
    in_peft: ClassVar[bool] = False

    width: int = 64
    placement: Placement = "houlsby"

    def matrices(self, spec: ModelSpec) -> tuple[Linear, ...]:
        """The matrices of one layer that it stands after."""
        return tuple(linear for linear in spec.linears if linear.role in PLACEMENTS[self.placement])

    def added_to_a_layer(self, spec: ModelSpec) -> int:
        return sum(self.parameters(linear) for linear in self.matrices(spec))

    def parameters(self, linear: Linear) -> int:
        """Parameters of the adapter after one matrix."""
        return 2 * self.width * linear.outputs + self.width + linear.outputs

    def layer_load(self, spec: ModelSpec) -> LayerLoad:
        return LayerLoad(after=tuple((linear, self.width) for linear in self.matrices(spec)))

    def refusal(self, spec: ModelSpec) -> Message | None:
        if self.matrices(spec):
            return None
        return message("TT-F001", placement=self.placement, model=spec.name)
