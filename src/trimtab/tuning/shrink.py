"""Make a real model physically smaller, in place: heads, inner neurons, whole layers. And build one that is.

A head goes with its rows of queries, keys and values, their biases and its columns of the output matrix; where
several query heads share a key head, the whole group goes. A neuron goes with its rows of the up (and gate) matrix
and its column of the down matrix. What is left computes what the whole computed without their contribution. The
model's config says what is left, so that `save_pretrained` writes a folder that the loaders of load.py open; where
the class cannot build such layers, plain transformers refuses that folder with a size mismatch.

Leaves out: choosing what goes (compression), adapters and matrices in few bits (merge, unpack first).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from trimtab.errors import ModelError
from trimtab.models.config import shape_from
from trimtab.models.layer_shapes import KEY, Kept, KeptLayer, LayerShape
from trimtab.models.pruned import built_shape, config_changes, require_prunable, with_shapes
from trimtab.models.spec import ModelSpec, Role
from trimtab.tuning import structure
from trimtab.tuning.products import QuickLinear


@dataclass(frozen=True, slots=True)
class _Count:
    """An attribute of a module inside a layer that holds a size its forward pass, or somebody else, reads."""

    module: str
    attribute: str
    of: Literal["heads", "width", "neurons"]


_BERT_COUNTS = (
    _Count("attention.self", "num_attention_heads", "heads"),
    _Count("attention.self", "all_head_size", "width"),
)
_LLAMA_COUNTS = (_Count("mlp", "intermediate_size", "neurons"),)
# Family -> where its classes keep sizes beside the matrices. Query heads to a key head stay what they were.
_COUNTS: Mapping[str, tuple[_Count, ...]] = {
    "bert": _BERT_COUNTS,
    "camembert": _BERT_COUNTS,
    "distilbert": (_Count("attention", "n_heads", "heads"),),
    "electra": _BERT_COUNTS,
    "llama": _LLAMA_COUNTS,
    "mistral": _LLAMA_COUNTS,
    "qwen2": _LLAMA_COUNTS,
    "qwen3": _LLAMA_COUNTS,
    "roberta": _BERT_COUNTS,
    "xlm-roberta": _BERT_COUNTS,
}


def shrink(model: PreTrainedModel, spec: ModelSpec, kept: Kept) -> ModelSpec:
    """Leave of `model` what is `kept`, in place; its config then says so. Returns the spec of the smaller model.
    Tensors that are cut are new ones: an optimiser made before does not know them.

    Raises ModelError TT-C201 where the family cannot be pruned, TT-C202 where a layer would have nothing left,
    TT-C203 where a matrix is not an ordinary one (an adapter beside it, few bits), before anything is changed.
    """
    require_prunable(spec)
    after = with_shapes(spec, kept.shapes(spec.shapes))
    _require_plain(model, spec)
    path, before = structure.layers_path(model, spec), structure.layers(model, spec)
    layers = [before[layer.number] for layer in kept.layers]
    for number, (module, layer) in enumerate(zip(layers, kept.layers, strict=True)):
        _cut_layer(module, spec, layer, spec.shapes.layers[layer.number])
        _set_counts(module, after, number)
    model.set_submodule(path, nn.ModuleList(layers).train(before.training), strict=True)
    write_shapes(model.config, spec, after)
    if len(kept.layers) < spec.layers:
        _drop_in_config(model.config, [layer.number for layer in kept.layers])
    return after


def write_shapes(config: PreTrainedConfig, spec: ModelSpec, after: ModelSpec) -> None:
    """Make `config`, of a model of `spec`, say the shapes of `after`, in place."""
    for key, value in config_changes(spec, after.shapes).items():
        if value is not None:
            setattr(config, key, value)
        elif hasattr(config, key):
            delattr(config, key)


def shrink_built(model: PreTrainedModel) -> PreTrainedModel:
    """Make a model as its class has just built it, on any device and without weights worth keeping, as small as
    its config says, in place; where the config says nothing of it, `model` as it is. Raises ModelError TT-C200,
    TT-C201."""
    if getattr(model.config, KEY, None) is None:
        return model
    spec = shape_from(model.config.to_dict(), model.config.name_or_path or type(model).__name__)
    kept = Kept.first(spec.shapes)
    for module, layer in zip(structure.layers(model, spec), kept.layers, strict=True):
        _cut_layer(module, spec, layer, built_shape(spec))
        _set_counts(module, spec, layer.number)
    return model


def class_for(made_by: Any, config: PreTrainedConfig, *, trust_remote_code: bool = False) -> Any:
    """What has the `from_pretrained` to open a folder with: `made_by` (an Auto class), or for a config of pruned
    layers the model's class with its modules made small before weights are read into them."""
    if getattr(config, KEY, None) is None:
        return made_by
    with torch.device("meta"):
        built = made_by.from_config(config, trust_remote_code=trust_remote_code)
    return _small_class(type(built))


def require_layers(model: PreTrainedModel, missing: Iterable[str], name: str) -> None:
    """Raises ModelError TT-C204 where one of the `missing` weights is of a layer."""
    spec = shape_from(model.config.to_dict(), name)
    path = f"{structure.layers_path(model, spec)}."
    if lost := [weight for weight in missing if weight.startswith(path)]:
        raise ModelError("TT-C204", name=name, weight=lost[0], count=len(lost))


def _small_class(of: type[PreTrainedModel]) -> type[PreTrainedModel]:
    """The class `of`, whose models are born with the layers their config says. Everything else that transformers'
    `from_pretrained` does (names, shards, dtypes, tied weights, strictness) stays as it is."""

    class Small(of):
        def __init__(self, config: PreTrainedConfig, *args: Any, **kwargs: Any) -> None:
            super().__init__(config, *args, **kwargs)
            shrink_built(self)
            self.__class__ = of  # what it is called when it is saved, and by everybody who asks

    Small.__name__, Small.__qualname__, Small.__module__ = of.__name__, of.__qualname__, of.__module__
    return Small


# ------------------------------------------------------------------ one layer


def _cut_layer(module: nn.Module, spec: ModelSpec, kept: KeptLayer, shape: LayerShape) -> None:
    """Cut a layer of `shape` to what is kept of it."""
    heads = _numbers(kept.groups, shape.heads_each * spec.head_dim)
    groups = _numbers(kept.groups, spec.head_dim)
    neurons = _numbers(kept.neurons, 1)
    cuts: tuple[tuple[Role, torch.Tensor | None, torch.Tensor | None], ...] = (
        ("q", heads, None),
        ("k", groups, None),
        ("v", groups, None),
        ("o", None, heads),
        ("gate", neurons, None),
        ("up", neurons, None),
        ("down", None, neurons),
    )
    for role, rows, columns in cuts:
        for name in _modules(spec, role):
            module.set_submodule(name, _cut(module.get_submodule(name), rows, columns), strict=True)


def _modules(spec: ModelSpec, role: Role) -> Iterable[str]:
    return (linear.module for linear in spec.linears if linear.role == role)


def _numbers(units: tuple[int, ...], width: int) -> torch.Tensor:
    """The numbers that belong to `units` of `width` numbers each, int64, on the CPU."""
    firsts = torch.tensor(units, dtype=torch.int64, device="cpu")[:, None] * width
    return (firsts + torch.arange(width, device="cpu")).flatten()


def _cut(linear: nn.Module, rows: torch.Tensor | None, columns: torch.Tensor | None) -> nn.Linear:
    """`linear` with those outputs and inputs alone; None = all."""
    assert isinstance(linear, nn.Linear)
    weight, bias = linear.weight, linear.bias
    if rows is not None:
        weight = _taken(weight, 0, rows)
        bias = None if bias is None else _taken(bias, 0, rows)
    if columns is not None:
        weight = _taken(weight, 1, columns)
    outputs, inputs = weight.shape
    made = nn.Linear(inputs, outputs, bias is not None, device="meta").train(linear.training)
    made.weight = weight
    if bias is not None:
        made.bias = bias
    return made


def _taken(parameter: torch.Tensor, dimension: int, numbers: torch.Tensor) -> nn.Parameter:
    if len(numbers) == parameter.shape[dimension]:
        assert isinstance(parameter, nn.Parameter)
        return parameter
    taken = parameter.detach().index_select(dimension, numbers.to(parameter.device))
    return nn.Parameter(taken, requires_grad=parameter.requires_grad)


def _set_counts(module: nn.Module, after: ModelSpec, number: int) -> None:
    """Sizes that modules of layer `number` hold beside their matrices, and the number itself."""
    shape = after.shapes.layers[number]
    sizes = {"heads": shape.heads, "width": shape.heads * after.head_dim, "neurons": shape.neurons}
    for count in _COUNTS[after.family]:
        setattr(module.get_submodule(count.module), count.attribute, sizes[count.of])
    for inner in module.modules():
        if isinstance(getattr(inner, "layer_idx", None), int):
            inner.layer_idx = number  # type: ignore[assignment]  # its place in a cache


def _drop_in_config(config: PreTrainedConfig, numbers: list[int]) -> None:
    """What a config lists layer by layer, for the layers with those numbers: which kind of attention each has."""
    kinds = getattr(config, "layer_types", None)
    if kinds:
        config.layer_types = [kinds[number] for number in numbers]


def _require_plain(model: PreTrainedModel, spec: ModelSpec) -> None:
    path = structure.layers_path(model, spec)
    for number in range(spec.layers):
        for linear in spec.linears:
            name = f"{path}.{number}.{linear.module}"
            found = model.get_submodule(name)
            if type(found) not in (nn.Linear, QuickLinear):
                raise ModelError("TT-C203", name=spec.name, module=name, kind=type(found).__name__)
