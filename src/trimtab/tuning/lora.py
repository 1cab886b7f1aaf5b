"""The torch half of `methods.Lora`: PEFT's LoRA layers, on plain matrices the quicker form of them."""

from peft import LoraConfig
from torch import nn
from transformers import PreTrainedModel

from trimtab.methods import Lora
from trimtab.models.spec import ModelSpec
from trimtab.tuning.adapter import peft_config, target_names
from trimtab.tuning.quantised import is_packed
from trimtab.tuning.quick_lora import QuickLora


@peft_config.register
def _(part: Lora, model: PreTrainedModel, spec: ModelSpec) -> LoraConfig:
    names = target_names(part, (linear.module for linear in part.matrices(spec)), model, spec)
    config = LoraConfig(
        r=part.rank,
        lora_alpha=part.alpha,
        lora_dropout=part.dropout,
        use_dora=part.variant == "dora",
        use_rslora=part.variant == "rslora",
        target_modules=sorted(set(names.values())),
    )
    if not any(map(is_packed, model.modules())):  # which are linear layers too, and have PEFT classes of their own
        config._register_custom_module({nn.Linear: QuickLora})
    return config
