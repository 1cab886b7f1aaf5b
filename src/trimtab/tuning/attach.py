"""Attach a strategy to a real model: freeze everything, pack what is stored in few bits, then let each Part open
or add what it trains.

`attach` is a generic function: each part's torch half registers itself in its own file, and this room's
__init__ imports them all. The model stays the transformers class it was; nothing wraps it.
"""

from collections.abc import Iterable
from functools import singledispatch

from torch import nn
from transformers import PreTrainedModel

from trimtab.methods import Part, Strategy
from trimtab.models.spec import ModelSpec
from trimtab.tuning import structure
from trimtab.tuning.quantised import quantise


@singledispatch
def attach(part: Part, model: PreTrainedModel, spec: ModelSpec) -> None:
    """Make `model` trainable as `part` says, in place. The model is frozen when this is called."""
    raise AssertionError(f"{type(part).__name__} has no torch half; add one in tuning/")


def apply(strategy: Strategy, model: PreTrainedModel, spec: ModelSpec) -> PreTrainedModel:
    """Freeze `model`, quantise the base where the strategy does, and attach every part of it, in place; what no
    stage trains is frozen again.

    Raises ModelError TT-T002 where the layers are not to be found (ALBERT shares one), whatever the parts;
    TT-T090 where the library for a quantised base is missing.
    """
    structure.layers_path(model, spec)
    model.requires_grad_(False)
    quantise(strategy, model, spec)
    for part in strategy.parts:
        attach(part, model, spec)
    open_only(strategy, model, spec, trained_names(model))
    return model


def open_only(strategy: Strategy, model: PreTrainedModel, spec: ModelSpec, names: Iterable[str]) -> None:
    """Of the parameters called `names`, let those get gradients that `strategy` trains, and no other. Of a whole
    training these are all; a stage leaves some out."""
    layers, parameters = structure.layer_numbers(model, spec), dict(model.named_parameters())
    for name in names:
        parameters[name].requires_grad_(strategy.trains(spec, layers[name]))


def trained_names(model: nn.Module) -> tuple[str, ...]:
    """Names of the parameters that get gradients, in the model's order."""
    return tuple(name for name, parameter in model.named_parameters() if parameter.requires_grad)


def rate_shares(strategy: Strategy, model: PreTrainedModel, spec: ModelSpec) -> dict[str, float]:
    """Learning rate of every parameter over the schedule's; empty where all have the same."""
    if strategy.schedule.layer_decay == 1.0:
        return {}
    return {name: strategy.rate_share(spec, layer) for name, layer in structure.layer_numbers(model, spec).items()}


def train_mode(strategy: Strategy, model: PreTrainedModel, spec: ModelSpec) -> None:
    """Training mode (dropout on) for what is trained and what lies above it; the part below, which never
    changes, stays in evaluation mode: its output for a text is always the same and may be kept."""
    model.train()
    lowest = strategy.lowest_layer(spec)
    if lowest < 0:
        return
    for module in (*structure.below_layers(model, spec), *structure.layers(model, spec)[:lowest]):
        module.eval()
