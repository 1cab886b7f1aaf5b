"""Leave a real model some of its tokens, in place: their rows of the table of tokens, and of the matrix that gives
a score for each where there is one. Everything else of the model, positions too, stays as it is.

Leaves out: choosing the tokens, and the tokenizer (compression.vocabulary).
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn
from transformers import PreTrainedModel

from trimtab.errors import ModelError
from trimtab.models.spec import ModelSpec
from trimtab.tuning.products import QuickLinear


def keep_tokens(model: PreTrainedModel, spec: ModelSpec, kept: tuple[int, ...]) -> ModelSpec:
    """Leave of `model`, of `spec`, the rows `kept`, ascending: each has its place there as its new id. Its config
    then says so. Returns the spec of the smaller model. Tables that are cut are new tensors: an optimiser made
    before does not know them.

    Raises, before anything is changed, ModelError TT-C305 where the table of tokens is no ordinary one,
    TT-C307 where a token has no row in it.
    """
    table, head = model.get_input_embeddings(), model.get_output_embeddings()
    _require_plain(table, head, spec)
    if kept[-1] >= spec.vocab:
        raise ModelError("TT-C307", name=spec.name, number=kept[-1], rows=spec.vocab)
    assert isinstance(table, nn.Embedding)
    rows, number_of = torch.tensor(kept, dtype=torch.int64), {old: new for new, old in enumerate(kept)}
    tied = head is not None and head.weight is table.weight
    table.weight = _rows(table.weight, rows)
    table.num_embeddings = len(kept)
    table.padding_idx = None if table.padding_idx is None else number_of.get(table.padding_idx)
    if isinstance(head, nn.Linear):
        head.weight = table.weight if tied else _rows(head.weight, rows)
        head.bias = None if head.bias is None else _rows(head.bias, rows)
        head.out_features = len(kept)
    _renumber(model.config, number_of)
    model.config.vocab_size = len(kept)
    if getattr(model, "generation_config", None) is not None:
        _renumber(model.generation_config, number_of)
    padding = spec.pad_token_id
    return replace(
        spec,
        vocab=len(kept),
        pad_token_id=None if padding is None else number_of.get(padding),
        stored_bytes=0,
        fingerprint="",
    )


def _require_plain(table: nn.Module, head: nn.Module | None, spec: ModelSpec) -> None:
    if not isinstance(table, nn.Embedding) or table.num_embeddings != spec.vocab:
        raise ModelError("TT-C305", name=spec.name, kind=type(table).__name__, tokens=spec.vocab)
    if head is not None and (type(head) not in (nn.Linear, QuickLinear) or head.out_features != spec.vocab):
        raise ModelError("TT-C305", name=spec.name, kind=type(head).__name__, tokens=spec.vocab)


def _rows(parameter: torch.Tensor, rows: torch.Tensor) -> nn.Parameter:
    taken = parameter.detach().index_select(0, rows.to(parameter.device))
    return nn.Parameter(taken, requires_grad=parameter.requires_grad)


def _renumber(config: object, number_of: Mapping[int, int]) -> None:
    """An id of no token that stays is none."""
    for key, value in vars(config).items():
        if not key.endswith("_token_id") or value is None:
            continue
        if isinstance(value, list):
            setattr(config, key, [number_of[one] for one in value if one in number_of])
        else:
            setattr(config, key, number_of.get(value))
