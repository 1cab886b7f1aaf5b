"""An adapter as a PEFT folder for another server: its config with what is needed to compute, its weights.

Leaves out the tokenizer and the chat template, which a server takes from the base (`Launch.template`), and
everything that says where and how it was trained.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from trimtab import tuning
from trimtab.artifacts import ADAPTER_CONFIG, ADAPTER_WEIGHTS, adapter_tensors
from trimtab.models.spec import Linear
from trimtab.serving.handover.facts import Handed, Served

_PREFIX = "base_model.model."


def write_peft(served: Served, handed: Handed, folder: Path) -> None:
    """The adapter as it was trained. Raises ArtifactError TT-A006 where a weight is not finite."""
    said = json.loads((handed.folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))["target_modules"]
    _write(served, handed, folder, _tensors(handed.folder), said)


def write_peft_in_all_layers(served: Served, handed: Handed, folder: Path) -> None:
    """The same with pairs of zeros in layers below the lowest that was trained, which add nothing: for a server
    that leaves a kind of matrix out altogether where one layer has none. Raises as `write_peft`."""
    tensors = _tensors(handed.folder)
    part = handed.lora
    assert part is not None, "a server loads LoRA alone"
    dtype = next(iter(tensors.values())).dtype
    path = _layers_path(tensors)
    for layer in range(part.lowest_layer(served.spec)):
        for linear in part.matrices(served.spec):
            tensors |= _zeros(f"{path}.{layer}.{linear.module}", linear, part.rank, dtype)
    _write(served, handed, folder, tensors, {linear.module for linear in part.matrices(served.spec)})


def _write(
    served: Served, handed: Handed, folder: Path, tensors: Mapping[str, torch.Tensor], targets: Iterable[str]
) -> None:
    tuning.require_finite(handed.folder)
    folder.mkdir(parents=True)
    config = json.dumps(_config(served, handed, targets), indent=2, sort_keys=True)
    (folder / ADAPTER_CONFIG).write_text(config + "\n", encoding="utf-8")
    save_file(dict(tensors), folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})


def _config(served: Served, handed: Handed, targets: Iterable[str]) -> dict[str, object]:
    """What decides what is computed."""
    part = handed.lora
    assert part is not None, "a server loads LoRA alone"
    return {
        "base_model_name_or_path": served.called,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "lora_alpha": part.alpha,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": part.rank,
        "revision": (served.source.revision or None) if served.hub_id else None,
        "target_modules": sorted(targets),
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": part.variant == "rslora",
    }


def _tensors(folder: Path) -> dict[str, torch.Tensor]:
    with safe_open(folder / ADAPTER_WEIGHTS, framework="pt") as file:
        return {tensor.name: file.get_tensor(tensor.name) for tensor in adapter_tensors(folder)}


def _layers_path(names: Mapping[str, torch.Tensor]) -> str:
    """What stands before the number of a layer: "model.layers"."""
    pieces = next(iter(names)).removeprefix(_PREFIX).split(".")
    return ".".join(pieces[: next(at for at, piece in enumerate(pieces) if piece.isdecimal())])


def _zeros(module: str, linear: Linear, rank: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {
        f"{_PREFIX}{module}.lora_A.weight": torch.zeros(rank, linear.inputs, dtype=dtype),
        f"{_PREFIX}{module}.lora_B.weight": torch.zeros(linear.outputs, rank, dtype=dtype),
    }
