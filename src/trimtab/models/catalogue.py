"""The shapes of well-known models, from catalogue.csv: plans without weights and without a network.

Leaves out weights, tokenizers and anything newer than the file; `read.py` reads a real model.
"""

import csv
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import cast

from trimtab.errors import ModelError
from trimtab.models.spec import Kind, ModelSpec, Norm, Position


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One row: the shape, and what was published about it. `published_parameters` may be rounded."""

    spec: ModelSpec
    aliases: tuple[str, ...]
    published_parameters: int
    licence: str
    note: str

    @property
    def names(self) -> tuple[str, ...]:
        return (self.spec.name, self.spec.hub_id, *self.aliases)


@cache
def entries() -> tuple[Entry, ...]:
    """All rows, in the order of the file."""
    file = resources.files("trimtab.models") / "catalogue.csv"
    return tuple(_entry(row) for row in csv.DictReader(file.read_text(encoding="utf-8").splitlines()))


def catalogue() -> tuple[ModelSpec, ...]:
    """All shapes of the catalogue."""
    return tuple(entry.spec for entry in entries())


def shape_named(name: str) -> ModelSpec:
    """The shape of that name: key ("qwen2.5-7b"), hub id ("Qwen/Qwen2.5-7B") or alias, in any case.

    Raises ModelError TT-M001 with the nearest names.
    """
    known = _by_name()
    if name.lower() not in known:
        nearest = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.0)
        raise ModelError("TT-M001", name=name, suggestions=", ".join(nearest), count=len(entries()))
    return known[name.lower()].spec


def is_catalogued(name: str) -> bool:
    return name.lower() in _by_name()


# The public configs of these families say 0.1 for both dropouts; shapes alone do not.
_WITH_DROPOUT = frozenset({"bert", "roberta", "xlm-roberta", "distilbert", "electra", "deberta", "gpt2"})
_DROPOUT = 0.1


@cache
def _by_name() -> Mapping[str, Entry]:
    return {name.lower(): entry for entry in entries() for name in entry.names}


def _entry(row: Mapping[str, str]) -> Entry:
    return Entry(
        spec=_spec(row),
        aliases=tuple(row["aliases"].split()),
        published_parameters=int(row["params"]),
        licence=row["licence"],
        note=row["note"],
    )


def _spec(row: Mapping[str, str]) -> ModelSpec:
    def count(column: str) -> int:
        return int(row[column] or 0)

    def flag(column: str) -> bool:
        return row[column] == "yes"

    return ModelSpec(
        name=row["model_key"],
        hub_id=row["hub_id"],
        family=row["family"],
        kind=cast(Kind, row["kind"]),
        layers=count("layers"),
        hidden=count("hidden"),
        heads=count("heads"),
        kv_heads=count("kv_heads"),
        head_dim=count("head_dim"),
        ffn=count("ffn"),
        gated_ffn=flag("gated_ffn"),
        vocab=count("vocab"),
        max_positions=count("max_positions"),
        type_vocab=count("type_vocab"),
        embedding_size=count("embedding_size"),
        tied_embeddings=flag("tied_embeddings"),
        qkv_bias=flag("qkv_bias"),
        o_bias=flag("o_bias"),
        ffn_bias=flag("ffn_bias"),
        norm=cast(Norm, row["norm"]),
        norms_per_layer=count("norms_per_layer"),
        qk_norm=flag("qk_norm"),
        position=cast(Position, row["position"]),
        pooler=flag("pooler"),
        head_bias=flag("head_bias"),
        decoder_layers=count("decoder_layers"),
        experts=count("n_experts"),
        experts_per_token=count("experts_per_token"),
        attention_dropout=_DROPOUT if row["family"] in _WITH_DROPOUT else 0.0,
        hidden_dropout=_DROPOUT if row["family"] in _WITH_DROPOUT else 0.0,
        first_position=2 if row["family"] in ("roberta", "xlm-roberta") else 0,
        dropouts_per_layer=1 if row["family"] == "distilbert" else 2,
        weights_dtype="bf16" if row["norm"] == "rms" else "fp32",
        source=f"catalogue ({row['source']}, {row['confidence']})",
    )
