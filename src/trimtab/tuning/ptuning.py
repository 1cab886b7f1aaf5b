"""The torch half of `methods.PTuning`: a network that makes the embeddings, as PEFT's P-tuning has it.

A folder holds what the network gives, as PEFT's does; one that is opened has that alone.
"""

import torch
from peft import PromptEncoderConfig
from torch import nn
from transformers import PreTrainedModel

from trimtab.methods import PTuning
from trimtab.methods.virtual_tokens import token_width
from trimtab.models.spec import ModelSpec
from trimtab.tuning.adapter import opened, peft_config
from trimtab.tuning.virtual_tokens import NAME, Embeddings, made, virtual_tokens

_SPREAD = 1.0  # of the vectors that the network is given


class PromptNetwork(nn.Module):
    """Vectors (tokens, width), and a network that makes as many embeddings of them."""

    def __init__(self, tokens: int, width: int, like: torch.Tensor) -> None:
        super().__init__()
        self.vectors = nn.Parameter(_SPREAD * torch.randn(tokens, width).to(like))
        layers = [nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)]
        self.network = nn.Sequential(*layers).to(like)

    def forward(self) -> torch.Tensor:
        return self.network(self.vectors)


@made.register
def _(part: PTuning, table: nn.Module) -> PromptNetwork:
    weight = table.get_parameter("weight")
    return PromptNetwork(part.tokens, weight.shape[1], weight)


@opened.register
def _(part: PTuning, model: PreTrainedModel) -> None:
    table = model.get_input_embeddings()
    assert isinstance(table, nn.Module)
    vectors = virtual_tokens(model).get_parameter("vectors")
    table.set_submodule(NAME, Embeddings(torch.zeros_like(vectors)), strict=True)


@peft_config.register
def _(part: PTuning, model: PreTrainedModel, spec: ModelSpec) -> PromptEncoderConfig:
    width = token_width(spec)
    return PromptEncoderConfig(
        num_virtual_tokens=part.tokens,
        token_dim=width,
        encoder_hidden_size=width,
        num_layers=spec.layers,
        num_attention_heads=spec.heads,
        num_transformer_submodules=1,
    )
