"""The torch half of `methods.Weights`: the base model's own weights, all or the upper layers."""

from transformers import PreTrainedModel

from trimtab.methods import Weights
from trimtab.models.spec import ModelSpec
from trimtab.tuning import structure
from trimtab.tuning.attach import attach


@attach.register
def _(part: Weights, model: PreTrainedModel, spec: ModelSpec) -> None:
    trained = [*structure.above_layers(model, spec)]
    if part.top_layers is None:
        trained += [*structure.below_layers(model, spec), structure.layers(model, spec)]
    else:
        trained += [*structure.layers(model, spec)[part.lowest_layer(spec) :]]
    for module in trained:
        module.requires_grad_(True)
