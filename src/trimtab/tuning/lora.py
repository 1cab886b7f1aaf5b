"""The torch half of `methods.Lora`: PEFT's LoRA layers."""

from peft import LoraConfig
from transformers import PreTrainedModel

from trimtab.methods import Lora
from trimtab.models.spec import ModelSpec
from trimtab.tuning.adapter import peft_config, target_names


@peft_config.register
def _(part: Lora, model: PreTrainedModel, spec: ModelSpec) -> LoraConfig:
    names = target_names(part, (linear.module for linear in part.matrices(spec)), model, spec)
    return LoraConfig(
        r=part.rank,
        lora_alpha=part.alpha,
        lora_dropout=part.dropout,
        use_dora=part.variant == "dora",
        use_rslora=part.variant == "rslora",
        target_modules=sorted(set(names.values())),
    )
