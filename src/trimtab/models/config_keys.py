"""Which keys a family's config.json uses, and what holds for the family without being written there.

One row of data a `model_type`; defaults are those of the configuration classes of transformers 5.23, which a
test compares. Families are listed here when their config can be read; more can be counted (layouts.py), and
fewer trained (`TRAINED_FAMILIES`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from trimtab.models.spec import Kind, Norm, Position

Bias = bool | str  # always so, or the config key that says (absent = no)

_KEYS: Mapping[str, str] = {
    "layers": "num_hidden_layers",
    "hidden": "hidden_size",
    "heads": "num_attention_heads",
    "ffn": "intermediate_size",
    "vocab": "vocab_size",
    "max_positions": "max_position_embeddings",
}
_LLAMA_KEYS = {**_KEYS, "kv_heads": "num_key_value_heads", "head_dim": "head_dim"}


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfigTable:
    """One family. `keys` names the config key of each size its class reads (BERT's ignores a "head_dim");
    `defaults` the sizes that may be absent.

    `kv_heads_default` "heads": as many as query heads where absent. `head_dim_default` None: hidden / heads.
    `ffn_multiple` > 0: that many times hidden where absent. `only`: keys that may have no other value,
    because another one changes the layout. Dropouts are (config key, default); key "" = the family has none.
    """

    kind: Kind
    norm: Norm
    position: Position
    gated_ffn: bool
    tied_embeddings: bool
    keys: Mapping[str, str]
    defaults: Mapping[str, int] = field(default_factory=dict)
    kv_heads_default: Literal["heads", "required"] = "required"
    head_dim_default: int | None = None
    ffn_multiple: int = 0
    qkv_bias: Bias = False
    o_bias: Bias = False
    ffn_bias: Bias = False
    norms_per_layer: int = 2
    qk_norm: bool = False
    head_bias: bool = False
    hidden_dropout: tuple[str, float] = ("", 0.0)
    dropouts_per_layer: int = 2
    attention_dropout: tuple[str, float] = ("attention_dropout", 0.0)
    pad_token_id: int | None = None
    positions_after_padding: bool = False  # the first position is the padding id plus one
    only: tuple[tuple[str, object], ...] = ()

    @property
    def required(self) -> tuple[str, ...]:
        """The config keys without which there is no shape."""
        optional = {"head_dim", *self.defaults}
        if self.kv_heads_default == "heads":
            optional.add("kv_heads")
        if self.ffn_multiple:
            optional.add("ffn")
        return tuple(key for size, key in self.keys.items() if size not in optional)


_BERT = ConfigTable(
    kind="encoder",
    norm="layer",
    position="learned",
    gated_ffn=False,
    tied_embeddings=True,
    keys={**_KEYS, "type_vocab": "type_vocab_size"},
    defaults={"type_vocab": 2},
    qkv_bias=True,
    o_bias=True,
    ffn_bias=True,
    hidden_dropout=("hidden_dropout_prob", 0.1),
    attention_dropout=("attention_probs_dropout_prob", 0.1),
    pad_token_id=0,
    only=(("add_cross_attention", False),),
)
_ROBERTA = replace(_BERT, pad_token_id=1, positions_after_padding=True)
_DISTILBERT = replace(
    _BERT,
    keys={**_KEYS, "layers": "n_layers", "hidden": "dim", "heads": "n_heads", "ffn": "hidden_dim"},
    defaults={},
    hidden_dropout=("dropout", 0.1),
    dropouts_per_layer=1,
    attention_dropout=("attention_dropout", 0.1),
)
_ELECTRA = replace(
    _BERT,
    keys={**_KEYS, "type_vocab": "type_vocab_size", "embedding_size": "embedding_size"},
    defaults={"type_vocab": 2, "embedding_size": 128},
)
_ALBERT = replace(
    _ELECTRA,
    hidden_dropout=("hidden_dropout_prob", 0.0),
    attention_dropout=("attention_probs_dropout_prob", 0.0),
    only=(("num_hidden_groups", 1), ("inner_group_num", 1)),
)

_LLAMA = ConfigTable(
    kind="decoder",
    norm="rms",
    position="rope",
    gated_ffn=True,
    tied_embeddings=False,
    keys=_LLAMA_KEYS,
    kv_heads_default="heads",
    qkv_bias="attention_bias",
    o_bias="attention_bias",
    ffn_bias="mlp_bias",
)
_MISTRAL = replace(_LLAMA, kv_heads_default="required", qkv_bias=False, o_bias=False, ffn_bias=False)
_QWEN2 = replace(_MISTRAL, qkv_bias=True)
_QWEN3 = replace(_MISTRAL, qkv_bias="attention_bias", o_bias="attention_bias", qk_norm=True, head_dim_default=128)
_GEMMA = replace(
    _MISTRAL,
    qkv_bias="attention_bias",
    o_bias="attention_bias",
    tied_embeddings=True,
    head_dim_default=256,
    pad_token_id=0,
)
_GEMMA2 = replace(_GEMMA, norms_per_layer=4)
_GEMMA3 = replace(_GEMMA2, qk_norm=True)
_PHI3 = replace(_MISTRAL, kv_heads_default="heads", hidden_dropout=("resid_pdrop", 0.0), pad_token_id=32000)
_EXPERT_KEYS = {**_LLAMA_KEYS, "experts": "num_local_experts", "experts_per_token": "num_experts_per_tok"}
_MIXTRAL = replace(_MISTRAL, keys=_EXPERT_KEYS)
_GRANITE_MOE = replace(_LLAMA, ffn_bias=False, keys=_EXPERT_KEYS)

_GPT2 = ConfigTable(
    kind="decoder",
    norm="layer",
    position="learned",
    gated_ffn=False,
    tied_embeddings=True,
    keys={
        "layers": "n_layer",
        "hidden": "n_embd",
        "heads": "n_head",
        "ffn": "n_inner",
        "vocab": "vocab_size",
        "max_positions": "n_positions",
    },
    ffn_multiple=4,
    qkv_bias=True,
    o_bias=True,
    ffn_bias=True,
    hidden_dropout=("resid_pdrop", 0.1),
    attention_dropout=("attn_pdrop", 0.1),
    only=(("add_cross_attention", False),),
)

_GPT_NEOX = ConfigTable(
    kind="decoder",
    norm="layer",
    position="rope",
    gated_ffn=False,
    tied_embeddings=False,
    keys=_KEYS,
    qkv_bias=True,
    o_bias=True,
    ffn_bias=True,
    hidden_dropout=("hidden_dropout", 0.0),
    only=(("attention_bias", True),),
)
_PHI = ConfigTable(
    kind="decoder",
    norm="layer",
    position="rope",
    gated_ffn=False,
    tied_embeddings=False,
    keys={**_KEYS, "kv_heads": "num_key_value_heads"},
    kv_heads_default="heads",
    qkv_bias=True,
    o_bias=True,
    ffn_bias=True,
    norms_per_layer=1,
    head_bias=True,
    hidden_dropout=("resid_pdrop", 0.0),
    only=(("qk_layernorm", False), ("embd_pdrop", 0.0)),
)

CONFIG_TABLES: Mapping[str, ConfigTable] = MappingProxyType(
    {
        "albert": _ALBERT,
        "bert": _BERT,
        "camembert": _ROBERTA,
        "distilbert": _DISTILBERT,
        "electra": _ELECTRA,
        "gemma": _GEMMA,
        "gemma2": _GEMMA2,
        "gemma3_text": _GEMMA3,
        "gpt2": _GPT2,
        "gpt_neox": _GPT_NEOX,
        "granite": _LLAMA,
        "granitemoe": _GRANITE_MOE,
        "llama": _LLAMA,
        "mistral": _MISTRAL,
        "mixtral": _MIXTRAL,
        "phi": _PHI,
        "phi3": _PHI3,
        "qwen2": _QWEN2,
        "qwen3": _QWEN3,
        "roberta": _ROBERTA,
        "xlm-roberta": _ROBERTA,
    }
)

# ALBERT's layers share one set of weights; of Granite transformers 5.23 has no sequence-classification class.
_READ_BUT_NOT_TRAINED = frozenset({"albert", "granite", "granitemoe"})

TRAINED_FAMILIES = tuple(sorted(set(CONFIG_TABLES) - _READ_BUT_NOT_TRAINED))
"""The families that a training can run; a test attaches every method to each."""
