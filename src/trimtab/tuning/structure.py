"""Where things are in a real transformers model: its layers, what is below them, what is above.

Found by structure, not by a table of names: the layers are the one list with as many modules as the spec has
layers; the backbone's children registered before it are below, those after it above. Leaves out: models that
share one layer's weights among all (ALBERT) and encoder-decoders.
"""

from torch import nn
from transformers import PreTrainedModel

from trimtab.errors import ModelError
from trimtab.models.families import final_norm_parameters
from trimtab.models.spec import ModelSpec


def backbone(model: PreTrainedModel) -> nn.Module:
    """The transformer without its task head: the model itself, where it has none."""
    return getattr(model, model.base_model_prefix, model)


def layers_path(model: PreTrainedModel, spec: ModelSpec) -> str:
    """Dotted name of the list of layers inside the whole model: "bert.encoder.layer", "encoder.layer",
    "model.layers".

    Raises ModelError TT-T002 where there is no such list.
    """
    base = backbone(model)
    for name, module in base.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == spec.layers:
            return f"{_prefix(model)}{name}"
    raise ModelError("TT-T002", family=spec.family, layers=spec.layers)


def layers(model: PreTrainedModel, spec: ModelSpec) -> nn.ModuleList:
    """The transformer layers, lowest first."""
    found = model.get_submodule(layers_path(model, spec))
    assert isinstance(found, nn.ModuleList)
    return found


def below_layers(model: PreTrainedModel, spec: ModelSpec) -> tuple[nn.Module, ...]:
    """Modules of the backbone that run before the first layer: the embeddings."""
    return _children(model, spec)[0]


def feeding(model: PreTrainedModel, spec: ModelSpec) -> dict[str, nn.Module]:
    """Dotted name -> module of what in the backbone makes the first layer's input and is read by no other layer:
    the embeddings, and what stands beside them, so far as it has weights."""
    base = backbone(model)
    container = layers_path(model, spec).removeprefix(_prefix(model)).split(".")[0]
    found: dict[str, nn.Module] = {}
    for name, child in base.named_children():
        if name == container:
            break
        if any(True for _ in child.parameters()):
            found[f"{_prefix(model)}{name}"] = child
    return found


def above_layers(model: PreTrainedModel, spec: ModelSpec) -> tuple[nn.Module, ...]:
    """Modules of the backbone that run after the last layer, without the pooler: the final norm."""
    pooler = getattr(backbone(model), "pooler", None)
    return tuple(module for module in _children(model, spec)[1] if module is not pooler)


def layer_numbers(model: PreTrainedModel, spec: ModelSpec) -> dict[str, int]:
    """Name of every parameter -> the layer it is in: -1 below the layers, `spec.layers` above them."""
    path = f"{layers_path(model, spec)}."
    below = {id(parameter) for module in below_layers(model, spec) for parameter in module.parameters()}
    return {
        name: int(name.removeprefix(path).partition(".")[0])
        if name.startswith(path)
        else -1
        if id(parameter) in below
        else spec.layers
        for name, parameter in model.named_parameters()
    }


def head(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Dotted name -> module of everything above the backbone, and of its pooler where there is one; nothing where
    the model is a backbone alone."""
    base = backbone(model)
    if base is model:
        return {}
    found = {name: child for name, child in model.named_children() if child is not base}
    pooler = getattr(base, "pooler", None)
    if pooler is not None:
        found[f"{_prefix(model)}pooler"] = pooler
    return {name: module for name, module in found.items() if any(True for _ in module.parameters())}


def _prefix(model: PreTrainedModel) -> str:
    """What stands before the names of the backbone's modules in those of the whole model."""
    return "" if backbone(model) is model else f"{model.base_model_prefix}."


def _children(model: PreTrainedModel, spec: ModelSpec) -> tuple[tuple[nn.Module, ...], tuple[nn.Module, ...]]:
    container = layers_path(model, spec).removeprefix(_prefix(model)).split(".")[0]
    names = [name for name, _ in backbone(model).named_children()]
    modules = [module for _, module in backbone(model).named_children()]
    at = names.index(container)
    below, above = tuple(modules[:at]), tuple(modules[at + 1 :])
    if isinstance(modules[at], nn.ModuleList):
        return below, above
    # What an encoder wrapper holds beside the list of layers is its final norm or, where the family has none, what
    # every layer reads (DeBERTa: the table of relative positions and its norm).
    beside = tuple(m for m in modules[at].children() if not isinstance(m, nn.ModuleList))
    return (below, beside + above) if final_norm_parameters(spec) else (below + beside, above)
