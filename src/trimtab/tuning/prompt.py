"""The torch half of `methods.Prompt`: embeddings that start as those of tokens. Its folder is PEFT's prompt
tuning."""

import math

import torch
from peft import PromptTuningConfig, PromptTuningInit
from torch import nn
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from trimtab.errors import UsageError
from trimtab.methods import Prompt, Strategy
from trimtab.methods.virtual_tokens import token_width
from trimtab.models.spec import ModelSpec
from trimtab.tuning.adapter import peft_config
from trimtab.tuning.virtual_tokens import Embeddings, made, virtual_tokens


@made.register
def _(part: Prompt, table: nn.Module) -> Embeddings:
    weight = table.get_parameter("weight")
    ids = torch.randint(len(weight), (part.tokens,)).to(weight.device)
    with torch.no_grad():
        return Embeddings(table(ids).clone())


def start_from_text(strategy: Strategy, model: PreTrainedModel, tokenizer: Tokenizer) -> None:
    """Let a prompt for which the strategy has a text start as its tokens, cut or repeated to as many, in place.
    Raises UsageError TT-P083 where the tokenizer makes none of it."""
    for part in strategy.parts:
        if isinstance(part, Prompt) and part.init_text:
            found = tokenizer(part.init_text, add_special_tokens=False)["input_ids"]
            if not found:
                raise UsageError("TT-P083", text=part.init_text)
            table = model.get_input_embeddings()
            assert isinstance(table, nn.Module)
            ids = (found * math.ceil(part.tokens / len(found)))[: part.tokens]
            with torch.no_grad():
                embedded = table(torch.tensor(ids, device=table.get_parameter("weight").device))
                virtual_tokens(model).get_parameter("embeddings").copy_(embedded)


@peft_config.register
def _(part: Prompt, model: PreTrainedModel, spec: ModelSpec) -> PromptTuningConfig:
    return PromptTuningConfig(
        num_virtual_tokens=part.tokens,
        token_dim=token_width(spec),
        num_layers=spec.layers,
        num_attention_heads=spec.heads,
        num_transformer_submodules=1,
        prompt_tuning_init=PromptTuningInit.SAMPLE_VOCAB,
    )
