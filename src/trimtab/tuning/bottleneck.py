"""The torch half of `methods.Bottleneck`: a PEFT tuner of our own, since PEFT has none.

A folder saved here loads with `PeftModel.from_pretrained` once `trimtab.tuning` has been imported.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from peft import PeftConfig
from torch import nn
from transformers import PreTrainedModel

from trimtab.methods import Bottleneck
from trimtab.models.spec import ModelSpec
from trimtab.tuning.adapter import peft_config, target_names
from trimtab.tuning.own_tuner import OwnLayer, OwnPeftType, OwnTuner, register

_NOT_MERGEABLE = "a bottleneck adapter has a non-linearity between its two matrices: no matrix of the base is it"


@dataclass
class BottleneckConfig(PeftConfig):
    """As adapter_config.json holds it. `width`: numbers in the middle. `target_modules`: after which matrices."""

    width: int = 64
    target_modules: list[str] | str | None = None
    exclude_modules: list[str] | str | None = None
    modules_to_save: list[str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = OwnPeftType.BOTTLENECK


class BottleneckLayer(OwnLayer):
    """A matrix and what stands after it: y + up(relu(down(y)))."""

    adapter_layer_names = ("bneck_down", "bneck_up")

    def __init__(self, base_layer: nn.Module, adapter_name: str) -> None:
        super().__init__(base_layer, adapter_name)
        self.bneck_down = nn.ModuleDict()
        self.bneck_up = nn.ModuleDict()

    def make(self, adapter_name: str, config: BottleneckConfig) -> None:
        base: Any = self.get_base_layer()
        outputs = base.out_features if hasattr(base, "out_features") else base.nf  # transformers' Conv1D
        down, up = nn.Linear(outputs, config.width), nn.Linear(config.width, outputs)
        for tensor in (down.bias, up.weight, up.bias):
            nn.init.zeros_(tensor)
        self.bneck_down[adapter_name], self.bneck_up[adapter_name] = down, up

    def through(self, adapters: Sequence[str], x: torch.Tensor) -> torch.Tensor:
        y = self.base_layer(x)
        for name in adapters:
            down, up = self.bneck_down[name], self.bneck_up[name]
            added = up(torch.relu(down(y.to(down.weight.dtype))))
            y = y + added.to(y.dtype)
        return y

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> NoReturn:
        raise ValueError(_NOT_MERGEABLE)


class BottleneckModel(OwnTuner):
    prefix = "bneck_"
    tuner_layer_cls = BottleneckLayer

    def _check_merge_allowed(self) -> NoReturn:
        raise ValueError(_NOT_MERGEABLE)


register(OwnPeftType.BOTTLENECK, BottleneckConfig, BottleneckModel)


@peft_config.register
def _(part: Bottleneck, model: PreTrainedModel, spec: ModelSpec) -> BottleneckConfig:
    names = target_names(part, (linear.module for linear in part.matrices(spec)), model, spec)
    return BottleneckConfig(width=part.width, target_modules=sorted(set(names.values())))
