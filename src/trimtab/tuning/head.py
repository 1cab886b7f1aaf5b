"""The torch half of `methods.Head`: the task head, and the pooler under it."""

from transformers import PreTrainedModel

from trimtab.methods import Head
from trimtab.models.spec import ModelSpec
from trimtab.tuning import structure
from trimtab.tuning.attach import attach


@attach.register
def _(part: Head, model: PreTrainedModel, spec: ModelSpec) -> None:
    for module in structure.head(model).values():
        module.requires_grad_(True)
