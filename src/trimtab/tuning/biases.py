"""The torch half of `methods.Biases`: a PEFT tuner of our own; PEFT has none that keeps the base's biases.

A trained copy stands in for the bias of each module while that computes. A folder saved here holds the biases and
the head, and loads with `PeftModel.from_pretrained` once `trimtab.tuning` has been imported.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftConfig
from peft.tuners.tuners_utils import check_adapters_to_merge
from torch import nn
from torch.func import functional_call
from transformers import PreTrainedModel

from trimtab.methods import Biases
from trimtab.models.spec import ModelSpec
from trimtab.tuning import structure
from trimtab.tuning.adapter import peft_config, target_names
from trimtab.tuning.own_tuner import OwnLayer, OwnPeftType, OwnTuner, register


@dataclass
class BiasesConfig(PeftConfig):
    """As adapter_config.json holds it. `target_modules`: whose biases."""

    target_modules: list[str] | str | None = None
    exclude_modules: list[str] | str | None = None
    modules_to_save: list[str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = OwnPeftType.BITFIT


class BiasesLayer(OwnLayer):
    """A module with a bias, and other biases for it. Of several active adapters the last one's counts."""

    adapter_layer_names = ("bitfit_bias",)

    def __init__(self, base_layer: nn.Module, adapter_name: str) -> None:
        super().__init__(base_layer, adapter_name)
        self.bitfit_bias = nn.ParameterDict()

    def make(self, adapter_name: str, config: PeftConfig) -> None:
        base: Any = self.get_base_layer()
        self.bitfit_bias[adapter_name] = nn.Parameter(base.bias.detach().clone())

    def through(self, adapters: Sequence[str], x: torch.Tensor) -> torch.Tensor:
        if not adapters:
            return self.base_layer(x)
        base: Any = self.get_base_layer()
        bias = self.bitfit_bias[adapters[-1]].to(base.bias.dtype)
        return functional_call(base, {"bias": bias}, (x,))

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        base: Any = self.get_base_layer()
        for name in check_adapters_to_merge(self, adapter_names)[-1:]:
            trained = self.bitfit_bias[name].detach().to(base.bias.dtype)
            if safe_merge and not torch.isfinite(trained).all():
                raise ValueError(f"the biases of adapter {name} are not finite")
            self._before, base.bias.data = base.bias.data, trained.clone()
            self.merged_adapters.append(name)

    def unmerge(self) -> None:
        base: Any = self.get_base_layer()
        if self.merged_adapters:
            base.bias.data = self._before
            self.merged_adapters.clear()


class BiasesModel(OwnTuner):
    prefix = "bitfit_"
    tuner_layer_cls = BiasesLayer


register(OwnPeftType.BITFIT, BiasesConfig, BiasesModel)


@peft_config.register
def _(part: Biases, model: PreTrainedModel, spec: ModelSpec) -> BiasesConfig:
    layer = structure.layers(model, spec)[part.lowest_layer(spec)]
    inside = [name.replace(".base_layer", "") for name, module in layer.named_modules() if _has_bias(module)]
    names = target_names(part, inside, model, spec)
    return BiasesConfig(target_modules=sorted(set(names.values())))


def _has_bias(module: nn.Module) -> bool:
    return module._parameters.get("bias") is not None
