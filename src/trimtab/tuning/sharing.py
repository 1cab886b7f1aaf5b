"""Several models on the weights of one: copies that have modules of their own and share every tensor.

A copy costs the modules, some kB each, and what is trained in it. Nothing of it is switched: each copy is as it
would be alone, and two can run at once. Leaves out sharing between processes.
"""

import copy

import torch
from torch import nn
from transformers import PreTrainedModel

from trimtab.methods import Head, Lora, Precision, Strategy, TokenHead
from trimtab.models.spec import ModelSpec
from trimtab.tuning import structure
from trimtab.tuning.attach import attach
from trimtab.tuning.blocked import BlockedLinear, unblock
from trimtab.tuning.load import DTYPES, quiet_transformers
from trimtab.tuning.quantised import is_packed


def on_same_weights(
    base: PreTrainedModel, strategy: Strategy, spec: ModelSpec, labels: tuple[str, ...], outputs: int
) -> PreTrainedModel:
    """A model with the parts of `strategy` attached and, where they have one, a head of its own of `outputs`
    numbers, unfilled; every frozen tensor is `base`'s. `base` has no parts, is frozen, and stored as the strategy
    stores its base (`quantise`, `cast`)."""
    model = sharing_copy(base)
    for part in strategy.parts:
        if isinstance(part, Lora) and part.variant == "dora":  # it takes norms of the base's matrices
            unblock(model, {linear.module for linear in part.matrices(spec)})
    if any(isinstance(part, Head | TokenHead) for part in strategy.parts):
        _put_new_head(model, labels, outputs, strategy.precision)
    shared = {id(parameter) for parameter in base.parameters()}
    for part in strategy.parts:
        attach(part, model, spec)
    for parameter in model.parameters():
        if id(parameter) not in shared:
            parameter.data = parameter.data.to(DTYPES[strategy.precision])
    return model


def share_backbone(model: PreTrainedModel, other: PreTrainedModel) -> None:
    """Let equal tensors of two backbones be one: `model` gives its own up. They are compared bit by bit."""
    for name, module in structure.backbone(other).named_modules():
        if isinstance(module, BlockedLinear):
            own = structure.backbone(model).get_submodule(name)
            if torch.equal(own.get_parameter("weight"), module.unpacked(module.weight.dtype)):
                structure.backbone(model).set_submodule(name, module, strict=True)
    theirs = dict(structure.backbone(other).named_parameters())
    for name, parameter in structure.backbone(model).named_parameters():
        known = theirs.get(name)
        if known is not None and known.dtype == parameter.dtype and torch.equal(known.data, parameter.data):
            parameter.data = known.data


def sharing_copy(model: PreTrainedModel) -> PreTrainedModel:
    """Modules of its own, every tensor `model`'s."""
    shared: list[object] = [*model.parameters(), *model.buffers()]
    shared += [module for module in model.modules() if is_packed(module)]  # their scales hang on the module
    return copy.deepcopy(model, {id(thing): thing for thing in shared})


def _put_new_head(model: PreTrainedModel, labels: tuple[str, ...], outputs: int, precision: Precision) -> None:
    """Everything above the backbone, and its pooler, anew and empty."""
    config = model.config
    names = labels or tuple(f"value_{number}" for number in range(outputs))
    config.num_labels = outputs
    config.id2label = dict(enumerate(names))
    config.label2id = {name: index for index, name in enumerate(names)}
    if hasattr(model, "num_labels"):
        model.num_labels = outputs
    with torch.device("meta"), quiet_transformers():
        twin = type(model)(copy.deepcopy(config))
    for name, module in structure.head(twin).items():
        assert not any(True for _ in module.buffers()), f"{name} has buffers, which nothing fills"
        empty = module.to_empty(device="cpu").to(DTYPES[precision])
        model.set_submodule(name, empty.eval(), strict=True)


def own_bytes(model: nn.Module, base: nn.Module) -> int:
    """Bytes of the tensors of `model` that are not `base`'s too."""
    held = {tensor.data_ptr() for tensor in (*base.parameters(), *base.buffers())}
    own = {tensor.data_ptr(): tensor.nbytes for tensor in model.parameters()}
    return sum(size for place, size in own.items() if place not in held)
