"""How each family of transformers is laid out: one row of data a family, read by families.py.

Module names are those inside one layer as transformers 5.23 has them; for families it does not have
(chatglm, qwen, baichuan, internlm2, minicpm) those of the publisher's own code. Leaves out whatever holds no
parameters.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from trimtab.errors import ModelError
from trimtab.models.config_keys import TRAINED_FAMILIES
from trimtab.models.spec import ModelSpec, Role

Size = Callable[[ModelSpec], tuple[int, int]]
Count = Callable[[ModelSpec], int]


@dataclass(frozen=True, slots=True)
class Slot:
    """Where one matrix stands in a layer. `size` gives (inputs, outputs); None = the usual of its role."""

    role: Role
    module: str
    size: Size | None = None


def usual_norm_widths(spec: ModelSpec) -> tuple[int, ...]:
    """Widths of the norms of one layer: of hidden ones, and with `qk_norm` of a head's queries and keys."""
    return (spec.hidden,) * spec.norms_per_layer + (spec.head_dim,) * (2 if spec.qk_norm else 0)


def usual_embedding_matrices(spec: ModelSpec) -> int:
    """Token, learned position and type tables; with a factorised embedding also the map up to `hidden`."""
    width = spec.embedding_size or spec.hidden
    learned_positions = spec.max_positions if spec.position == "learned" else 0
    tables = (spec.vocab + learned_positions + spec.type_vocab) * width
    return tables + (width * spec.hidden + spec.hidden if width != spec.hidden else 0)


def usual_embedding_width(spec: ModelSpec) -> int:
    return spec.embedding_size or spec.hidden


def _no_parameters(spec: ModelSpec) -> int:
    return 0


@dataclass(frozen=True, kw_only=True, slots=True)
class FamilyLayout:
    """One family. `gated` or `plain` is its feed-forward network, by `ModelSpec.gated_ffn`.

    `pooler`: the family's ...ForSequenceClassification runs a hidden x hidden pooler below the classifier.
    `head_dense`: its classification head has a hidden x hidden matrix of its own; `head_bias`: the last
    matrix of the head has a bias. `shared_layers`: all layers use one stored set of weights.
    `embedding_norm_width` None: no norm above the embeddings. `stepwise_activation`: its class writes
    the activation function out in steps ("gelu_new"), which keep arrays of their own. `transposed`: its class
    stores matrices the other way round than torch's Linear does.
    """

    attention: tuple[Slot, ...]
    plain: tuple[Slot, ...] = ()
    gated: tuple[Slot, ...] = ()
    final_norm: bool = True
    pooler: bool = False
    head_dense: bool = False
    head_bias: bool = False
    shared_layers: bool = False
    stepwise_activation: bool = False
    transposed: bool = False
    norm_widths: Callable[[ModelSpec], tuple[int, ...]] = usual_norm_widths
    embedding_matrices: Count = usual_embedding_matrices
    embedding_norm_width: Count | None = None
    relative_positions: Count = _no_parameters


def layout_of(family: str) -> FamilyLayout:
    """The layout of a family (transformers' `model_type`). Raises ModelError TT-M003 with those that can be
    trained."""
    if family not in LAYOUTS:
        raise ModelError("TT-M003", name=family, family=family, known=", ".join(TRAINED_FAMILIES))
    return LAYOUTS[family]


def _slots(roles: tuple[Role, ...], prefix: str, *names: str) -> tuple[Slot, ...]:
    return tuple(Slot(role, prefix + name) for role, name in zip(roles, names, strict=True))


_QKVO: tuple[Role, ...] = ("q", "k", "v", "o")
_FUSED_O: tuple[Role, ...] = ("qkv", "o")
_PLAIN: tuple[Role, ...] = ("up", "down")
_GATED: tuple[Role, ...] = ("gate", "up", "down")
_FUSED_GATED: tuple[Role, ...] = ("gate_up", "down")

# Encoders: a norm above the embeddings, none above the last layer, a head with bias.

_BERT_ATTENTION = _slots(_QKVO, "attention.", "self.query", "self.key", "self.value", "output.dense")
_BERT_FFN = _slots(_PLAIN, "", "intermediate.dense", "output.dense")


def _bert_like(
    attention: tuple[Slot, ...] = _BERT_ATTENTION,
    plain: tuple[Slot, ...] = _BERT_FFN,
    *,
    pooler: bool = False,
    head_dense: bool = False,
    shared_layers: bool = False,
) -> FamilyLayout:
    return FamilyLayout(
        attention=attention,
        plain=plain,
        final_norm=False,
        pooler=pooler,
        head_dense=head_dense,
        head_bias=True,
        shared_layers=shared_layers,
        embedding_norm_width=usual_embedding_width,
    )


_BERT = _bert_like(pooler=True)
_ROBERTA = _bert_like(head_dense=True)
_DISTILBERT = _bert_like(
    _slots(_QKVO, "attention.", "q_lin", "k_lin", "v_lin", "out_lin"),
    _slots(_PLAIN, "ffn.", "lin1", "lin2"),
    head_dense=True,
)
_ALBERT = _bert_like(
    _slots(_QKVO, "attention.", "query", "key", "value", "dense"),
    _slots(_PLAIN, "", "ffn", "ffn_output"),
    pooler=True,
    shared_layers=True,
)

_DEBERTA_RELATIVE_BUCKETS = 256  # position_buckets of every published v2 and v3 model, in both directions
_DEBERTA = FamilyLayout(
    attention=_slots(_QKVO, "attention.", "self.query_proj", "self.key_proj", "self.value_proj", "output.dense"),
    plain=_BERT_FFN,
    final_norm=False,
    pooler=True,
    head_bias=True,
    embedding_norm_width=usual_embedding_width,
    relative_positions=lambda spec: 2 * _DEBERTA_RELATIVE_BUCKETS * spec.hidden + 2 * spec.hidden,
)


# MobileBERT (Sun et al. 2020, arXiv 2004.02984): inside a layer everything runs at a bottleneck width
# (heads x head_dim) with four small feed-forward networks; a token is embedded as three narrow vectors.


def _inner(spec: ModelSpec) -> int:
    return spec.heads * spec.head_dim


def _hidden_to_inner(spec: ModelSpec) -> tuple[int, int]:
    return spec.hidden, _inner(spec)


def _inner_to_inner(spec: ModelSpec) -> tuple[int, int]:
    return _inner(spec), _inner(spec)


def _inner_to_ffn(spec: ModelSpec) -> tuple[int, int]:
    return _inner(spec), spec.ffn


def _ffn_to_inner(spec: ModelSpec) -> tuple[int, int]:
    return spec.ffn, _inner(spec)


def _inner_to_hidden(spec: ModelSpec) -> tuple[int, int]:
    return _inner(spec), spec.hidden


def _small_ffn(prefix: str) -> tuple[Slot, ...]:
    return (
        Slot("up", prefix + "intermediate.dense", _inner_to_ffn),
        Slot("down", prefix + "output.dense", _ffn_to_inner),
    )


def _mobilebert_norm_widths(spec: ModelSpec) -> tuple[int, ...]:
    # two bottlenecks in, attention, four feed-forward networks; one bottleneck out
    return (_inner(spec),) * 7 + (spec.hidden,)


def _mobilebert_embedding(spec: ModelSpec) -> int:
    tokens = spec.vocab * spec.embedding_size
    trigram_to_hidden = 3 * spec.embedding_size * spec.hidden + spec.hidden
    return tokens + trigram_to_hidden + (spec.max_positions + spec.type_vocab) * spec.hidden


_MOBILEBERT = FamilyLayout(
    attention=(
        Slot("down", "bottleneck.input.dense", _hidden_to_inner),
        Slot("down", "bottleneck.attention.dense", _hidden_to_inner),
        Slot("q", "attention.self.query", _inner_to_inner),
        Slot("k", "attention.self.key", _inner_to_inner),
        Slot("v", "attention.self.value", _hidden_to_inner),
        Slot("o", "attention.output.dense", _inner_to_inner),
    ),
    plain=(
        *_small_ffn("ffn.0."),
        *_small_ffn("ffn.1."),
        *_small_ffn("ffn.2."),
        *_small_ffn(""),
        Slot("up", "output.bottleneck.dense", _inner_to_hidden),
    ),
    final_norm=False,
    head_bias=True,
    norm_widths=_mobilebert_norm_widths,
    embedding_matrices=_mobilebert_embedding,
    embedding_norm_width=lambda spec: spec.hidden,
)

# Decoders: a norm above the last layer, a head without bias.

_LLAMA_ATTENTION = _slots(_QKVO, "self_attn.", "q_proj", "k_proj", "v_proj", "o_proj")
_LLAMA_FFN = _slots(_GATED, "mlp.", "gate_proj", "up_proj", "down_proj")
_NEOX_FFN = _slots(_PLAIN, "mlp.", "dense_h_to_4h", "dense_4h_to_h")
_GPT2_FFN = _slots(_PLAIN, "mlp.", "c_fc", "c_proj")

_LLAMA = FamilyLayout(attention=_LLAMA_ATTENTION, gated=_LLAMA_FFN)
_PHI3 = FamilyLayout(
    attention=_slots(_FUSED_O, "self_attn.", "qkv_proj", "o_proj"),
    gated=_slots(_FUSED_GATED, "mlp.", "gate_up_proj", "down_proj"),
)
_GPT_BIGCODE = FamilyLayout(attention=_slots(_FUSED_O, "attn.", "c_attn", "c_proj"), plain=_GPT2_FFN)
_GPT2 = replace(_GPT_BIGCODE, stepwise_activation=True, transposed=True)
_GPT_NEO = FamilyLayout(
    attention=_slots(_QKVO, "attn.attention.", "q_proj", "k_proj", "v_proj", "out_proj"),
    plain=_GPT2_FFN,
    stepwise_activation=True,
)
_GPT_NEOX = FamilyLayout(attention=_slots(_FUSED_O, "attention.", "query_key_value", "dense"), plain=_NEOX_FFN)
_FALCON = FamilyLayout(attention=_slots(_FUSED_O, "self_attention.", "query_key_value", "dense"), plain=_NEOX_FFN)
_PHI = FamilyLayout(
    attention=_slots(_QKVO, "self_attn.", "q_proj", "k_proj", "v_proj", "dense"),
    plain=_slots(_PLAIN, "mlp.", "fc1", "fc2"),
    stepwise_activation=True,
)
_CHATGLM = FamilyLayout(
    attention=_slots(_FUSED_O, "self_attention.", "query_key_value", "dense"),
    plain=_NEOX_FFN,
    gated=_slots(_FUSED_GATED, "mlp.", "dense_h_to_4h", "dense_4h_to_h"),
)
_QWEN = FamilyLayout(
    attention=_slots(_FUSED_O, "attn.", "c_attn", "c_proj"),
    gated=_slots(_GATED, "mlp.", "w2", "w1", "c_proj"),
)
_BAICHUAN = FamilyLayout(attention=_slots(_FUSED_O, "self_attn.", "W_pack", "o_proj"), gated=_LLAMA_FFN)
_INTERNLM2 = FamilyLayout(
    attention=_slots(_FUSED_O, "attention.", "wqkv", "wo"),
    gated=_slots(_GATED, "feed_forward.", "w1", "w3", "w2"),
)

# T5: names inside an encoder block. One table of relative biases in each of the two stacks.

_T5_RELATIVE_BUCKETS = 32
_T5 = FamilyLayout(
    attention=_slots(_QKVO, "layer.0.SelfAttention.", "q", "k", "v", "o"),
    plain=_slots(_PLAIN, "layer.1.DenseReluDense.", "wi", "wo"),
    gated=_slots(_GATED, "layer.1.DenseReluDense.", "wi_0", "wi_1", "wo"),
    head_dense=True,
    head_bias=True,
    relative_positions=lambda spec: 2 * _T5_RELATIVE_BUCKETS * spec.heads,
)

LAYOUTS: Mapping[str, FamilyLayout] = MappingProxyType(
    {
        "albert": _ALBERT,
        "baichuan": _BAICHUAN,
        "bert": _BERT,
        "camembert": _ROBERTA,
        "chatglm": _CHATGLM,
        "deberta-v2": _DEBERTA,
        "distilbert": _DISTILBERT,
        "electra": _ROBERTA,
        "falcon": _FALCON,
        "gemma": _LLAMA,
        "gemma2": _LLAMA,
        "gemma3_text": _LLAMA,
        "gpt2": _GPT2,
        "gpt_bigcode": _GPT_BIGCODE,
        "gpt_neo": _GPT_NEO,
        "gpt_neox": _GPT_NEOX,
        "granite": _LLAMA,
        "granitemoe": _LLAMA,
        "internlm2": _INTERNLM2,
        "llama": _LLAMA,
        "minicpm": _LLAMA,
        "mistral": _LLAMA,
        "mixtral": _LLAMA,
        "mobilebert": _MOBILEBERT,
        "phi": _PHI,
        "phi3": _PHI3,
        "qwen": _QWEN,
        "qwen2": _LLAMA,
        "qwen3": _LLAMA,
        "roberta": _ROBERTA,
        "t5": _T5,
        "xlm-roberta": _ROBERTA,
    }
)
