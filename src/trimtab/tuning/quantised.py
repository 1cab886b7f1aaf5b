"""The base of a strategy in few bits: pack its frozen matrices one by one, and unpack them into plain ones.

Packed are the matrices of the layers whose own weights are not trained (`Strategy.quantised`). Embeddings, norms,
pooler and head keep their numbers. Packing is done where the weights are, on the CPU they were loaded to, so that
the same file gives the same bits on every device.
"""

import importlib.util
from typing import Protocol, TypeGuard

import torch
from torch import nn
from transformers import PreTrainedModel

from trimtab.errors import ModelError
from trimtab.methods import Strategy
from trimtab.models.spec import ModelSpec
from trimtab.tuning import structure


class Packed(Protocol):
    """A matrix in few bits, as the layers of packed.py are. `tensors` is all that is held of it, `unpacked` the
    matrix (outputs, inputs)."""

    in_features: int
    out_features: int
    weight: nn.Parameter
    bias: nn.Parameter | None

    def unpacked(self, dtype: torch.dtype) -> torch.Tensor: ...

    def tensors(self) -> tuple[torch.Tensor, ...]: ...


def quantise(strategy: Strategy, model: PreTrainedModel, spec: ModelSpec) -> None:
    """Pack the matrices that `strategy` stores in few bits, in place, one at a time: beside the weights as they
    were loaded there are never more than the packed ones and one matrix in work. What is not packed is copied, so
    that nothing holds on to the file that the weights were mapped from.

    Raises ModelError TT-T090 where bitsandbytes is missing, TT-T006 where the model has no matrix of a name.
    """
    if strategy.base_precision == "same":
        return
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError("TT-T090", base=strategy.base_precision)
    from trimtab.tuning.packed import Int8Linear, Nf4Linear

    kind: type[Nf4Linear | Int8Linear] = Nf4Linear if strategy.base_precision == "nf4" else Int8Linear
    for name in quantised_names(strategy, model, spec):
        linear = model.get_submodule(name)
        if not isinstance(linear, nn.Linear):
            raise ModelError("TT-T091", family=spec.family, name=name, kind=type(linear).__name__)
        model.set_submodule(name, kind.of(linear), strict=True)
    model.is_loaded_in_4bit = strategy.base_precision == "nf4"  # by these PEFT chooses its layers
    model.is_loaded_in_8bit = strategy.base_precision == "int8"
    packed = {id(module.weight) for module in model.modules() if isinstance(module, kind)}
    for parameter in model.parameters():
        if id(parameter) not in packed:
            parameter.data = parameter.data.clone()


def quantised_names(strategy: Strategy, model: PreTrainedModel, spec: ModelSpec) -> list[str]:
    """Dotted names of the matrices that `strategy` stores in few bits. Raises ModelError TT-T006."""
    path = structure.layers_path(model, spec)
    names = [
        f"{path}.{layer}.{linear.module}"
        for layer in range(spec.layers)
        for linear in strategy.quantised(spec, layer)
    ]
    known = dict(model.named_modules())
    if missing := [name for name in names if name not in known]:
        raise ModelError("TT-T006", family=spec.family, name=missing[0])
    return names


def is_packed(module: object) -> TypeGuard[Packed]:
    """Whether a module is a matrix in few bits."""
    return hasattr(module, "unpacked")


def plain(packed: Packed, dtype: torch.dtype) -> nn.Linear:
    """An ordinary matrix in `dtype` that computes what the packed one does."""
    made = nn.Linear(packed.in_features, packed.out_features, packed.bias is not None, device="meta")
    made.weight = nn.Parameter(packed.unpacked(dtype), requires_grad=False)
    if packed.bias is not None:
        made.bias = packed.bias
    return made


def unpack(model: PreTrainedModel) -> PreTrainedModel:
    """Every packed matrix as an ordinary one in the model's dtype, in place. The result is the same."""
    for name, module in list(model.named_modules()):
        if is_packed(module):
            model.set_submodule(name, plain(module, model.dtype), strict=True)
    return model


def count_parameters(model: nn.Module) -> int:
    """Numbers that a model consists of: of a packed matrix, those it stands for."""
    packed = {id(x.weight): x.in_features * x.out_features for x in model.modules() if is_packed(x)}
    return sum(packed.get(id(parameter), parameter.numel()) for parameter in model.parameters())
