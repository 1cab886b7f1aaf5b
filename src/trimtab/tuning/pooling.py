"""The torch half of `methods.Pooling`: nothing is opened; what is above the layers has no weights."""

from transformers import PreTrainedModel

from trimtab.methods import Pooling
from trimtab.models.spec import ModelSpec
from trimtab.tuning.attach import attach


@attach.register
def _(part: Pooling, model: PreTrainedModel, spec: ModelSpec) -> None:
    return None
