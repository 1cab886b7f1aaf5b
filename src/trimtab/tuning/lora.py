"""The torch half of `methods.Lora`, on PEFT's layers: attach, merge, and the adapter folder in PEFT's format.

PEFT's layers are put into the model without its wrapper, so that LoRA combines with any other part. The
folder written here is what `PeftModel.from_pretrained` reads (a test does).
"""

import json
from pathlib import Path

import torch
from peft import LoraConfig, TaskType, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel

from trimtab.errors import ArtifactError, ModelError
from trimtab.methods import Lora, Strategy
from trimtab.models.spec import ModelSpec
from trimtab.tuning import structure
from trimtab.tuning.attach import attach, trained_names

_ADAPTER = "default"
_PREFIX = "base_model.model."


@attach.register
def _(part: Lora, model: PreTrainedModel, spec: ModelSpec) -> None:
    inject_adapter_in_model(_config(part, model, spec), model, adapter_name=_ADAPTER)
    # PEFT opens and closes gradients as it sees fit; what is trained is ours to say, part by part.
    for name, parameter in model.named_parameters():
        if ".lora_A." in name or ".lora_B." in name:
            parameter.requires_grad_(True)


def merge(model: PreTrainedModel) -> PreTrainedModel:
    """Fold every LoRA product into its matrix, in place, and put the plain matrix back."""
    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge(safe_merge=True)
            model.set_submodule(name, module.get_base_layer(), strict=True)
    return model


def save_adapter(strategy: Strategy, model: PreTrainedModel, spec: ModelSpec, folder: Path, base: str) -> None:
    """Write adapter_config.json and adapter_model.safetensors (adapter and head) into `folder`."""
    part = lora_of(strategy)
    config = _config(part, model, spec)
    config.base_model_name_or_path = base
    config.inference_mode = True
    config.modules_to_save = sorted({name.rpartition(".")[2] for name in _trained_heads(model)}) or None
    config.save_pretrained(str(folder))
    _in_order(folder / "adapter_config.json")
    wanted = set(trained_names(model))
    tensors = {
        _PREFIX + name.replace(f".{_ADAPTER}.", "."): parameter.detach().cpu().contiguous()
        for name, parameter in model.named_parameters()
        if name in wanted
    }
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def load_adapter(model: PreTrainedModel, folder: Path) -> None:
    """Fill a model on which the same strategy was attached. Every trained parameter must be in the file, with
    its shape and finite. Raises ArtifactError TT-A005 and TT-A006."""
    parameters = dict(model.named_parameters())
    with safe_open(folder / "adapter_model.safetensors", framework="pt") as file:
        names = set(file.keys())
        for name in trained_names(model):
            key = _PREFIX + name.replace(f".{_ADAPTER}.", ".")
            if key not in names or list(parameters[name].shape) != file.get_slice(key).get_shape():
                raise ArtifactError("TT-A005", name=key, folder=str(folder))
            tensor = file.get_tensor(key)
            if not torch.isfinite(tensor).all():
                raise ArtifactError("TT-A006", name=key, folder=str(folder))
            with torch.no_grad():
                parameters[name].copy_(tensor)


def lora_of(strategy: Strategy) -> Lora:
    """The strategy's LoRA part."""
    return next(part for part in strategy.parts if isinstance(part, Lora))


def _config(part: Lora, model: PreTrainedModel, spec: ModelSpec) -> LoraConfig:
    return LoraConfig(
        r=part.rank,
        lora_alpha=part.alpha,
        lora_dropout=part.dropout,
        target_modules=_target_names(part, model, spec),
        task_type=TaskType.CAUSAL_LM if _writes(model) else TaskType.SEQ_CLS,
    )


def _trained_heads(model: PreTrainedModel) -> tuple[str, ...]:
    """Names of what stands above the backbone and is trained: saved whole, beside the adapter."""
    heads = structure.head(model).items()
    return tuple(name for name, module in heads if any(p.requires_grad for p in module.parameters()))


def _writes(model: PreTrainedModel) -> bool:
    """A language model, not a classifier."""
    return model.get_output_embeddings() is not None


def _target_names(part: Lora, model: PreTrainedModel, spec: ModelSpec) -> list[str]:
    """The shortest names by which PEFT finds exactly the wanted matrices ("query"), else full names. Raises
    ModelError TT-T006 where the model has no matrix of a name."""
    path = structure.layers_path(model, spec)
    numbers = range(part.lowest_layer(spec), spec.layers)
    wanted = {f"{path}.{number}.{linear.module}" for number in numbers for linear in part.matrices(spec)}
    modules = {name.replace(".base_layer", ""): module for name, module in model.named_modules()}
    if missing := wanted - modules.keys():
        raise ModelError("TT-T006", family=spec.family, name=min(missing))
    every = {name for name, module in modules.items() if isinstance(module, nn.Linear)}
    for short in (lambda module: module.rpartition(".")[2], lambda module: module):
        names = sorted({short(linear.module) for linear in part.matrices(spec)})
        if {full for full in every if any(full.endswith(f".{name}") for name in names)} == wanted:
            return names
    return sorted(wanted)


def _in_order(file: Path) -> None:
    """PEFT writes its sets in the order of the day; the same training shall give the same bytes."""
    plain = json.loads(file.read_text(encoding="utf-8"))
    for name in ("target_modules", "modules_to_save"):
        if isinstance(plain[name], list):
            plain[name].sort()
    file.write_text(json.dumps(plain, indent=2, sort_keys=True) + "\n", encoding="utf-8")
