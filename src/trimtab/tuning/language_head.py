"""The torch half of `methods.LanguageHead`: the matrix over the vocabulary."""

from transformers import PreTrainedModel

from trimtab.methods import LanguageHead
from trimtab.models.spec import ModelSpec
from trimtab.tuning.attach import attach


@attach.register
def _(part: LanguageHead, model: PreTrainedModel, spec: ModelSpec) -> None:
    if part.trained:
        model.get_output_embeddings().requires_grad_(True)
