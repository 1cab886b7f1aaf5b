"""Lora: a trained low-rank product beside frozen matrices (Hu et al. 2021, arXiv 2106.09685).

W x  ->  W x + (alpha / rank) B A x, with A (rank x inputs) random and B (outputs x rank) zero at the start.
"""

from dataclasses import dataclass
from typing import ClassVar

from trimtab.methods.part import Adapter, LayerLoad
from trimtab.models.spec import Linear, ModelSpec, Role


@dataclass(frozen=True, kw_only=True, slots=True)
class Lora(Adapter):
    """LoRA on the matrices named by `targets` (roles: q k v o gate up down). Parameters: rank x (inputs + outputs)
    a matrix; a bias is not touched."""

    name: ClassVar[str] = "lora"
    mergeable: ClassVar[bool] = True
    starts_at_base: ClassVar[bool] = True
    in_peft: ClassVar[bool] = True

    rank: int = 8
    alpha: int = 16
    dropout: float = 0.0
    targets: tuple[Role, ...] = ("q", "v")

    def matrices(self, spec: ModelSpec) -> tuple[Linear, ...]:
        """The targeted matrices of one layer. A role this family does not have (gate in BERT) is left out."""
        targets = frozenset(self.targets)
        return tuple(linear for linear in spec.linears if not targets.isdisjoint(linear.roles))

    def added_to_a_layer(self, spec: ModelSpec) -> int:
        return sum(self.rank * (linear.inputs + linear.outputs) for linear in self.matrices(spec))

    def layer_load(self, spec: ModelSpec) -> LayerLoad:
        return LayerLoad(beside=tuple((linear, self.rank) for linear in self.matrices(spec)))
