"""The torch half of `methods.Ia3`: PEFT's (IA)^3 layers."""

from peft import IA3Config
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from trimtab.methods import Ia3
from trimtab.models.spec import ModelSpec
from trimtab.tuning.adapter import peft_config, target_names


@peft_config.register
def _(part: Ia3, model: PreTrainedModel, spec: ModelSpec) -> IA3Config:
    inner = tuple(linear.module for linear in part.scaled_inputs(spec))
    names = target_names(part, (*(linear.module for linear in part.scaled_outputs(spec)), *inner), model, spec)
    return IA3Config(
        target_modules=sorted(set(names.values())),
        feedforward_modules=sorted({asked for name, asked in names.items() if name.endswith(inner)})
        if inner
        else [],
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),  # GPT-2 stores its so
    )
