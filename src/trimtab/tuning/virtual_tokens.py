"""The torch half of `methods.VirtualTokens`: vectors put before those of every text, by hooks of the backbone.

PEFT does this in the forward of a wrapper. Here two hooks do the same, so that the model stays the class it was
and whatever runs it (loss, dry run, evaluation, `generate`) runs it as before:

    before the backbone    ids become embeddings with the trained ones before them; mask and token types grow with
                           them, and so do positions, where the caller names them
    after the backbone     what came of the virtual tokens is cut off again, so that places count from the text

A classifier of an encoder pools what stands first, which is the first virtual token, as in PEFT; there nothing is
cut off. Further calls of `generate` find the virtual tokens in the cache and lengthen mask and positions alone.
Leaves out: hidden states of single layers, masks that are not (rows, tokens).
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import singledispatch
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from trimtab.methods import VirtualTokens
from trimtab.models.spec import ModelSpec
from trimtab.tuning import structure
from trimtab.tuning.adapter import parameters_by_key, tensors_by_key
from trimtab.tuning.attach import attach, trained_names

NAME = "virtual_tokens"
KEY = "prompt_embeddings"  # PEFT's, as is the prefix of the head's
_PREFIX = "base_model."
_BARE = "_reads_bare"
Inputs = dict[str, Any]


class Embeddings(nn.Module):
    """The vectors themselves: (tokens, width)."""

    def __init__(self, embeddings: torch.Tensor) -> None:
        super().__init__()
        self.embeddings = nn.Parameter(embeddings)

    def forward(self) -> torch.Tensor:
        return self.embeddings


@attach.register
def _(part: VirtualTokens, model: PreTrainedModel, spec: ModelSpec) -> None:
    table = model.get_input_embeddings()
    assert isinstance(table, nn.Module)
    table.add_module(NAME, made(part, table))
    backbone = structure.backbone(model)
    backbone.register_forward_pre_hook(_put_before(table), with_kwargs=True)
    if not _pools_the_first(model, spec):
        backbone.register_forward_hook(_cut_off(part.tokens), with_kwargs=True)


@singledispatch
def made(part: VirtualTokens, table: nn.Module) -> nn.Module:
    """What gives the vectors: called, it returns (tokens, width). `table` is the base's token embedding."""
    raise AssertionError(f"{type(part).__name__} makes no virtual tokens; add it in tuning/")


def virtual_tokens(model: PreTrainedModel) -> nn.Module:
    """What gives the vectors of a model they have been attached to."""
    return model.get_input_embeddings().get_submodule(NAME)


@contextmanager
def bare(model: PreTrainedModel) -> Iterator[None]:
    """Within, `model` reads texts with nothing before them, as its base does."""
    backbone = structure.backbone(model)
    setattr(backbone, _BARE, True)
    try:
        yield
    finally:
        delattr(backbone, _BARE)


def reads_bare(backbone: nn.Module) -> bool:
    return hasattr(backbone, _BARE)


def _put_before(table: nn.Module) -> Callable[..., tuple[tuple[()], Inputs]]:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: Inputs) -> tuple[tuple[()], Inputs]:
        inputs = by_name(module, args, kwargs)
        return (), inputs if reads_bare(module) else _longer(inputs, table.get_submodule(NAME)(), table)

    return hook


def by_name(backbone: nn.Module, args: tuple[Any, ...], kwargs: Inputs) -> Inputs:
    """The arguments of a call of `backbone`, all by name."""
    names = tuple(inspect.signature(backbone.forward).parameters) if args else ()
    return {**dict(zip(names, args, strict=False)), **kwargs}


def _longer(inputs: Inputs, vectors: torch.Tensor, table: nn.Module) -> Inputs:
    """The inputs of the backbone with `vectors` before them: (tokens, width), or those of each row, (rows, tokens,
    width)."""
    count, cache = vectors.shape[-2], inputs.get("past_key_values")
    longer = dict(inputs)
    lengthen(longer, "attention_mask", lambda mask: mask.new_ones(len(mask), count))
    positions = inputs.get("position_ids")
    if positions is not None:
        longer["position_ids"] = positions + count
    if cache is not None and cache.get_seq_length() > 0:
        return longer  # they are in the cache
    given = inputs.get("inputs_embeds")
    embedded = table(inputs["input_ids"]) if given is None else given
    before = vectors.to(embedded.dtype).expand(len(embedded), -1, -1)
    longer["input_ids"], longer["inputs_embeds"] = None, torch.cat((before, embedded), dim=1)
    lengthen(longer, "token_type_ids", lambda types: types.new_zeros(len(types), count))
    if positions is not None:
        first = torch.arange(count, device=positions.device).expand(len(positions), -1)
        longer["position_ids"] = torch.cat((first, longer["position_ids"]), dim=1)
    return longer


def lengthen(inputs: Inputs, name: str, before: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Put something before an input of (rows, tokens), where there is one."""
    given = inputs.get(name)
    if given is None:
        return
    assert given.ndim == 2, f"{name} has {given.ndim} dimensions"
    inputs[name] = torch.cat((before(given), given), dim=1)


def _cut_off(count: int) -> Callable[..., Any]:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: Inputs, output: Any) -> Any:
        if kwargs.get("inputs_embeds") is not None and not reads_bare(module):  # else nothing was put before these
            output.last_hidden_state = output.last_hidden_state[:, count:]
        return output

    return hook


def _pools_the_first(model: PreTrainedModel, spec: ModelSpec) -> bool:
    return spec.kind == "encoder" and type(model).__name__.endswith("ForSequenceClassification")


# -------------------------------------------------------------------- what is kept


@tensors_by_key.register
def _(part: VirtualTokens, model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {KEY: virtual_tokens(model)()} | all_else(model, virtual_tokens(model))


@parameters_by_key.register
def _(part: VirtualTokens, model: PreTrainedModel) -> dict[str, nn.Parameter]:
    tokens = virtual_tokens(model)
    return {KEY: tokens.get_parameter("embeddings")} | all_else(model, tokens)


def all_else(model: PreTrainedModel, tokens: nn.Module) -> dict[str, nn.Parameter]:
    """What is trained beside `tokens`, by PEFT's names."""
    own = {id(parameter) for parameter in tokens.parameters()}
    wanted = set(trained_names(model))
    return {
        f"{_PREFIX}{name}": parameter
        for name, parameter in model.named_parameters()
        if name in wanted and id(parameter) not in own
    }
