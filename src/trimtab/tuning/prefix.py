"""The torch half of `methods.Prefix`: keys and values that every layer finds in its cache. Its folder is PEFT's
prefix tuning.

PEFT fills a cache for each call; so does this, before the backbone. The cache of a training keeps nothing of what
it is given, so that a layer which is computed again finds it as it was, and recompute works. `generate` brings a
cache of its own, which gets the prefix first.
"""

from typing import Any

import torch
from peft import PrefixTuningConfig
from torch import nn
from transformers import Cache, PreTrainedModel
from transformers.cache_utils import DynamicLayer
from transformers.modeling_layers import GradientCheckpointingLayer

from trimtab.errors import ModelError
from trimtab.methods import Prefix, Strategy
from trimtab.models.spec import ModelSpec
from trimtab.tuning import structure
from trimtab.tuning.adapter import parameters_by_key, peft_config, tensors_by_key
from trimtab.tuning.attach import attach
from trimtab.tuning.virtual_tokens import KEY, NAME, Embeddings, Inputs, all_else, by_name, lengthen, reads_bare

_SPREAD = 0.02


class _GivenLayer(DynamicLayer):
    """Keys and values of one layer that are there before a text, and do not grow by it."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values = keys, values

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.cat((self.keys, key_states), dim=-2), torch.cat((self.values, value_states), dim=-2)


@attach.register
def _(part: Prefix, model: PreTrainedModel, spec: ModelSpec) -> None:
    layers = structure.layers(model, spec)
    shape = (part.tokens, spec.layers * 2 * spec.kv_heads * spec.head_dim)
    like = model.get_input_embeddings().get_parameter("weight")
    layers[0].add_module(NAME, Embeddings(_SPREAD * torch.randn(*shape).to(like)))
    for layer in layers:
        layer._can_checkpoint_with_cache = True  # type: ignore[assignment]  # they read it and no more
    backbone = structure.backbone(model)

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: Inputs) -> tuple[tuple[()], Inputs]:
        inputs = by_name(module, args, kwargs)
        return (), inputs if reads_bare(module) else _behind(inputs, layers[0].get_submodule(NAME)(), spec)

    backbone.register_forward_pre_hook(hook, with_kwargs=True)


def require_recompute(strategy: Strategy) -> None:
    """Raises ModelError TT-T093 where transformers would drop a prefix as it computes activations again."""
    keeps = hasattr(GradientCheckpointingLayer, "_can_checkpoint_with_cache")
    if not keeps and any(isinstance(part, Prefix) for part in strategy.parts):
        raise ModelError("TT-T093")


def _behind(inputs: Inputs, prefix: torch.Tensor, spec: ModelSpec) -> Inputs:
    """The inputs of the backbone with `prefix` in the cache: (tokens, layers x 2 x width of the keys), or that of
    each row, (rows, tokens, …)."""
    count, longer = prefix.shape[-2], dict(inputs)
    lengthen(longer, "attention_mask", lambda mask: mask.new_ones(len(mask), count))
    if longer.get("position_ids") is not None:
        longer["position_ids"] = longer["position_ids"] + count
    cache = longer.get("past_key_values")
    if cache is not None and cache.get_seq_length() > 0:
        return longer
    read = "input_ids" if longer.get("inputs_embeds") is None else "inputs_embeds"
    pairs = _pairs(prefix, len(longer[read]), spec)
    if cache is None:
        longer["past_key_values"] = Cache(layers=[_GivenLayer(keys, values) for keys, values in pairs])
    else:
        for layer, (keys, values) in enumerate(pairs):
            cache.update(keys, values, layer)
    return longer


def _pairs(prefix: torch.Tensor, rows: int, spec: ModelSpec) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Keys and values of each layer, (rows, heads, tokens, head size); the order of numbers is PEFT's."""
    split = prefix.unflatten(-1, (spec.layers, 2, spec.kv_heads, spec.head_dim)).expand(rows, -1, -1, -1, -1, -1)
    return [(pair[0], pair[1]) for pair in split.permute(2, 3, 0, 4, 1, 5).unbind(0)]


def prefix_pairs(model: PreTrainedModel, spec: ModelSpec) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Keys and values that a model to which a prefix was attached begins with, by layer, each (1, heads, tokens,
    head size)."""
    return _pairs(_prefix(model)(), 1, spec)


def _prefix(model: PreTrainedModel) -> Embeddings:
    (found,) = (x for name, x in model.named_modules() if name.endswith(f".{NAME}") and isinstance(x, Embeddings))
    return found


@tensors_by_key.register
def _(part: Prefix, model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return dict(parameters_by_key(part, model))


@parameters_by_key.register
def _(part: Prefix, model: PreTrainedModel) -> dict[str, nn.Parameter]:
    prefix = _prefix(model)
    return {KEY: prefix.embeddings} | all_else(model, prefix)


@peft_config.register
def _(part: Prefix, model: PreTrainedModel, spec: ModelSpec) -> PrefixTuningConfig:
    width = spec.kv_heads * spec.head_dim
    return PrefixTuningConfig(
        num_virtual_tokens=part.tokens,
        token_dim=width,
        encoder_hidden_size=width,
        num_layers=spec.layers,
        num_attention_heads=spec.kv_heads,
        num_transformer_submodules=1,
    )
