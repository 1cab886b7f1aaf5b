"""The torch half of `methods.TokenHead`: the matrix to the tags."""

from transformers import PreTrainedModel

from trimtab.methods import TokenHead
from trimtab.models.spec import ModelSpec
from trimtab.tuning import structure
from trimtab.tuning.attach import attach


@attach.register
def _(part: TokenHead, model: PreTrainedModel, spec: ModelSpec) -> None:
    for module in structure.head(model).values():
        module.requires_grad_(True)
