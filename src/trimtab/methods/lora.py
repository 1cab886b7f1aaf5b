"""Lora: a trained low-rank product beside frozen matrices (Hu et al. 2021, arXiv 2106.09685).

W x  ->  W x + s B A x, s = alpha / rank, with A (rank x inputs) random and B (outputs x rank) zero at the start.

rsLoRA (Kalajdzievski 2023, arXiv 2312.03732): s = alpha / sqrt(rank), so that a larger rank does not learn slower.
DoRA (Liu et al. 2024, arXiv 2402.09353): every row of W + s B A is brought to a length that is trained too, one
number an output, at the start the length of the row of W.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from trimtab.methods.part import LayerAdapter, LayerLoad
from trimtab.models.spec import Linear, ModelSpec, Role

LoraVariant = Literal["dora", "rslora"]
LORA_VARIANTS: tuple[LoraVariant, ...] = ("dora", "rslora")


@dataclass(frozen=True, kw_only=True, slots=True)
class Lora(LayerAdapter):
    """LoRA on the matrices named by `targets` (roles: q k v o gate up down). Parameters: rank x (inputs + outputs)
    a matrix, and its outputs more with DoRA; a bias is not touched. `variant`: None = as first published."""

    name: ClassVar[str] = "lora"
    mergeable: ClassVar[bool] = True
    starts_at_base: ClassVar[bool] = True
    in_peft: ClassVar[bool] = True

    rank: int = 8
    alpha: int = 16
    dropout: float = 0.0
    targets: tuple[Role, ...] = ("q", "v")
    variant: LoraVariant | None = None

    def matrices(self, spec: ModelSpec) -> tuple[Linear, ...]:
        """The targeted matrices of one layer. A role this family does not have (gate in BERT) is left out."""
        targets = frozenset(self.targets)
        return tuple(linear for linear in spec.linears if not targets.isdisjoint(linear.roles))

    def added_to_a_layer(self, spec: ModelSpec) -> int:
        products = sum(self.rank * (linear.inputs + linear.outputs) for linear in self.matrices(spec))
        return products + sum(linear.outputs for linear in self.renormed(spec))

    def renormed(self, spec: ModelSpec) -> tuple[Linear, ...]:
        """The matrices of one layer whose rows have a trained length."""
        return self.matrices(spec) if self.variant == "dora" else ()

    def layer_load(self, spec: ModelSpec) -> LayerLoad:
        beside = tuple((linear, self.rank) for linear in self.matrices(spec))
        return LayerLoad(beside=beside, renormed=self.renormed(spec))
