"""What is kept beside its base, in PEFT's format: attach, save, load and merge, the same for every such part.

A part's own file says which PEFT configuration it is (`peft_config`); all else follows from that. PEFT's layers
are put into the model without its wrapper, so that a part combines with any other. The folder written here is what
`PeftModel.from_pretrained` reads (a test does). Leaves out: several such parts in one folder, which PEFT has no
format for.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import singledispatch
from pathlib import Path

import torch
from peft import PeftConfig, TaskType, inject_adapter_in_model
from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import safe_open
from safetensors.torch import load, save_file
from transformers import PreTrainedModel

from trimtab.artifacts import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from trimtab.errors import ArtifactError, ModelError
from trimtab.methods import Adapter, Strategy, refuse_unmergeable
from trimtab.models.spec import ModelSpec
from trimtab.models.weights_header import read_header, weight_files
from trimtab.tuning import structure
from trimtab.tuning.attach import attach, trained_names
from trimtab.tuning.quantised import unpack

_ADAPTER = "default"
_PREFIX = "base_model.model."
_LENGTHS = "lora_magnitude_vector"
_SMALL_BYTES = 64 << 20


@singledispatch
def peft_config(part: Adapter, model: PreTrainedModel, spec: ModelSpec) -> PeftConfig:
    """The PEFT configuration that is `part` on `model`."""
    raise AssertionError(f"{type(part).__name__} has no PEFT configuration; add one in tuning/")


@attach.register
def _(part: Adapter, model: PreTrainedModel, spec: ModelSpec) -> None:
    config = peft_config(part, model, spec)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    inject_adapter_in_model(config, model, adapter_name=_ADAPTER)
    # PEFT opens and closes gradients as it sees fit; what is trained is ours to say, part by part.
    trained += own_parameters(model, config).values()
    for parameter in trained:
        parameter.requires_grad_(True)


def own_parameters(model: PreTrainedModel, config: PeftConfig) -> dict[str, torch.nn.Parameter]:
    """Name -> parameter of what the adapter has added to `model`."""
    prefix = PEFT_TYPE_TO_PREFIX_MAPPING[config.peft_type]
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if any(piece.startswith(prefix) for piece in name.split("."))
    }


def merge(strategy: Strategy, model: PreTrainedModel, spec: ModelSpec) -> PreTrainedModel:
    """Fold what was added into the base's own weights, in place, and put the plain modules back. A base in few
    bits is unpacked first: rounded once more, it would lose what has been learnt. Sums are made in fp32, a matrix
    at a time, and rounded once.

    Raises ModelError TT-T071, with the model as it was, where that cannot be done.
    """
    refuse_unmergeable(strategy)
    if strategy.base_precision != "same":
        _unpack_below(strategy, model, spec)
    for name, module in _tuner_layers(model):
        base = module.get_base_layer()
        dtype = next(base.parameters()).dtype
        module.float()
        module.merge(safe_merge=True)
        model.set_submodule(name, base.to(dtype), strict=True)
    return model


def _unpack_below(strategy: Strategy, model: PreTrainedModel, spec: ModelSpec) -> None:
    """The same adapter on the same base, unpacked: PEFT's layers for packed matrices merge by rounding again."""
    part = adapter_of(strategy)
    learnt = own_parameters(model, peft_config(part, model, spec))
    for name, module in _tuner_layers(model):
        model.set_submodule(name, module.get_base_layer(), strict=True)
    unpack(model)
    del model.peft_config  # which PEFT has left there, and would take for a second adapter
    attach(part, model, spec)
    with torch.no_grad():
        for name, parameter in own_parameters(model, peft_config(part, model, spec)).items():
            parameter.copy_(learnt[name])


def _tuner_layers(model: PreTrainedModel) -> list[tuple[str, BaseTunerLayer]]:
    return [(name, module) for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]


def adapter_of(strategy: Strategy) -> Adapter:
    """The strategy's part that is kept beside the base."""
    (part,) = (part for part in strategy.parts if isinstance(part, Adapter))
    return part


def save_adapter(strategy: Strategy, model: PreTrainedModel, spec: ModelSpec, folder: Path, base: str) -> None:
    """Write adapter_config.json and adapter_model.safetensors (adapter and head) into `folder`."""
    config = peft_config(adapter_of(strategy), model, spec)
    config.base_model_name_or_path = base
    config.inference_mode = True
    config.task_type = _task_type(strategy, model)
    config.modules_to_save = sorted({name.rpartition(".")[2] for name in _trained_heads(model)}) or None
    config.save_pretrained(str(folder))
    _in_order(folder / ADAPTER_CONFIG)
    found = tensors_by_key(adapter_of(strategy), model)
    tensors = {name: x.detach().cpu().contiguous() for name, x in found.items()}
    save_file(tensors, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})


def _task_type(strategy: Strategy, model: PreTrainedModel) -> TaskType:
    """By which PEFT wraps the model that it loads the adapter onto."""
    if structure.backbone(model) is model:
        return TaskType.FEATURE_EXTRACTION
    if strategy.token_head is not None:
        return TaskType.TOKEN_CLS
    return TaskType.SEQ_CLS if model.get_output_embeddings() is None else TaskType.CAUSAL_LM


def _trained_heads(model: PreTrainedModel) -> tuple[str, ...]:
    """Names of what stands above the backbone and is trained: saved whole, beside the adapter."""
    heads = structure.head(model).items()
    return tuple(name for name, module in heads if any(p.requires_grad for p in module.parameters()))


@singledispatch
def opened(part: Adapter, model: PreTrainedModel) -> None:
    """Put `part` into the form in which a folder keeps it, in place; most are in it."""


@singledispatch
def parameters_by_key(part: Adapter, model: PreTrainedModel) -> dict[str, torch.nn.Parameter]:
    """Which parameter each tensor of a folder goes into, of a model that has been `opened`: what is trained, and
    what of an adapter stages leave as it is made, since PEFT warns of what is missing."""
    return {
        _key(name): parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad or _ADAPTER in name.split(".")
    }


@singledispatch
def tensors_by_key(part: Adapter, model: PreTrainedModel) -> Mapping[str, torch.Tensor]:
    """The tensors that a folder holds of a trained model."""
    return parameters_by_key(part, model)


def require_finite(folder: Path) -> None:
    """Read the adapter's file once, tensor by tensor. Raises ArtifactError TT-A006 where a value is not finite."""
    for name, tensor in _tensors(folder / ADAPTER_WEIGHTS):
        if not torch.isfinite(tensor).all():
            raise ArtifactError("TT-A006", name=name, folder=str(folder))


def require_finite_model(folder: Path) -> None:
    """Read the safetensors files of a whole model once, tensor by tensor; nothing where it has none. Raises
    ArtifactError TT-A006."""
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  it is no dict
                tensor = file.get_tensor(name)
                if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                    raise ArtifactError("TT-A006", name=name, folder=str(folder))


def load_adapter(strategy: Strategy, model: PreTrainedModel, folder: Path) -> None:
    """Fill a model on which `strategy` was attached, from a file that has been found to fit
    (`artifacts.require_fit`)."""
    opened(adapter_of(strategy), model)
    parameters = dict(parameters_by_key(adapter_of(strategy), model))
    with torch.no_grad():
        for name, tensor in _tensors(folder / ADAPTER_WEIGHTS):
            if name in parameters:
                parameters.pop(name).copy_(tensor)
    assert not parameters, f"found to fit, and without {sorted(parameters)}"


def _tensors(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and tensors of a file. A small one is read whole: safetensors 0.8 loses some 30 bytes with every
    tensor that `safe_open` gives, which a server that loads adapters all day would feel."""
    if path.stat().st_size <= _SMALL_BYTES:
        yield from load(path.read_bytes()).items()
        return
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118  it is no dict
            yield name, file.get_tensor(name)


def load_head(model: PreTrainedModel, folder: Path) -> None:
    """Fill what is trained of a model from the folder of a whole one that has been found to fit. Raises
    ArtifactError TT-A006 where a value is not finite."""
    places = {tensor.name: path for path in weight_files(folder) for tensor in read_header(path)}
    parameters = dict(model.named_parameters())
    for name in trained_names(model):
        with safe_open(places[name], framework="pt") as file, torch.no_grad():
            tensor = file.get_tensor(name)
            if not torch.isfinite(tensor).all():
                raise ArtifactError("TT-A006", name=name, folder=str(folder))
            parameters[name].copy_(tensor)


def target_names(
    part: Adapter, inside: Iterable[str], model: PreTrainedModel, spec: ModelSpec
) -> Mapping[str, str]:
    """By which name PEFT is asked for each module of `inside`, named as within a layer: the shortest by which it
    finds exactly the wanted ones ("query"), else full names in all layers, which stand for themselves.

    Raises ModelError TT-T006 where the model has no module of a name.
    """
    path, inside = structure.layers_path(model, spec), tuple(inside)
    numbers = range(part.lowest_layer(spec), spec.layers)
    wanted = {f"{path}.{number}.{name}" for number in numbers for name in inside}
    every = {name.replace(".base_layer", "") for name, _ in model.named_modules()}
    if missing := wanted - every:
        raise ModelError("TT-T006", family=spec.family, name=min(missing))
    for short in ({name: name.rpartition(".")[2] for name in inside}, {name: name for name in inside}):
        asked = tuple(f".{name}" for name in short.values())
        if {full for full in every if full.endswith(asked)} == wanted:
            return short
    return {full: full for full in wanted}


def _key(name: str) -> str:
    """The name of a parameter in the file: PEFT leaves the adapter's name out, and calls DoRA's lengths by the
    name of the module that holds them."""
    key = ".".join(piece for piece in name.split(".") if piece != _ADAPTER)
    return _PREFIX + key.replace(f"{_LENGTHS}.weight", _LENGTHS)


def _in_order(file: Path) -> None:
    """PEFT writes its sets in the order of the day; the same training shall give the same bytes."""
    plain = json.loads(file.read_text(encoding="utf-8"))
    for name in ("target_modules", "feedforward_modules", "modules_to_save"):
        if isinstance(plain.get(name), list):
            plain[name].sort()
    file.write_text(json.dumps(plain, indent=2, sort_keys=True) + "\n", encoding="utf-8")
