"""The transformers configuration of a ModelSpec: what a dry run is built from, without files and without weights.

Shapes go in by the names of transformers' own configuration classes. Families that transformers has no class for
are built from the class of the same shape. Leaves out initialisation, tokenizers and generation settings.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import transformers

from trimtab.models.layer_shapes import KEY
from trimtab.models.spec import ModelSpec

Keys = dict[str, object]  # the arguments of a transformers configuration class


def _bert(spec: ModelSpec) -> Keys:
    keys: Keys = {
        "hidden_size": spec.hidden,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "intermediate_size": spec.ffn,
        "vocab_size": spec.vocab,
        "max_position_embeddings": spec.max_positions,
        "type_vocab_size": spec.type_vocab,
        "pad_token_id": 0,
    }
    return keys | ({"embedding_size": spec.embedding_size} if spec.embedding_size else {})


def _electra(spec: ModelSpec) -> Keys:
    return _bert(spec) | {"embedding_size": spec.embedding_size or spec.hidden}


def _distilbert(spec: ModelSpec) -> Keys:
    return {
        "dim": spec.hidden,
        "n_layers": spec.layers,
        "n_heads": spec.heads,
        "hidden_dim": spec.ffn,
        "vocab_size": spec.vocab,
        "max_position_embeddings": spec.max_positions,
    }


def _mobilebert(spec: ModelSpec) -> Keys:
    inner = spec.heads * spec.head_dim
    bottleneck = {
        "intra_bottleneck_size": inner,
        "num_feedforward_networks": 4,
        "classifier_activation": False,
    }
    return _bert(spec) | {"embedding_size": spec.embedding_size} | bottleneck


def _deberta(spec: ModelSpec) -> Keys:
    # as the config.json of microsoft/deberta-v3-base has it
    return _bert(spec) | {
        "relative_attention": True,
        "position_buckets": 256,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "max_relative_positions": -1,
        "pooler_hidden_size": spec.hidden,
    }


def _llama(spec: ModelSpec) -> Keys:
    keys: Keys = {
        "hidden_size": spec.hidden,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "num_key_value_heads": spec.kv_heads,
        "head_dim": spec.head_dim,
        "intermediate_size": spec.ffn,
        "vocab_size": spec.vocab,
        "max_position_embeddings": spec.max_positions,
        "tie_word_embeddings": spec.tied_embeddings,
        "pad_token_id": 0,
    }
    experts = {"num_local_experts": spec.experts, "num_experts_per_tok": spec.experts_per_token}
    return keys | (experts if spec.experts else {})


def _phi(spec: ModelSpec) -> Keys:
    return _llama(spec) | {"embd_pdrop": 0.0}  # as in every published one; dropouts of the layers differ


def _glm(spec: ModelSpec) -> Keys:
    return _llama(spec) | {"attention_bias": spec.qkv_bias}


def _gpt2(spec: ModelSpec) -> Keys:
    return {
        "n_embd": spec.hidden,
        "n_layer": spec.layers,
        "n_head": spec.heads,
        "n_inner": spec.ffn,
        "vocab_size": spec.vocab,
        "n_positions": spec.max_positions,
        "pad_token_id": 0,
    }


def _gpt_neo(spec: ModelSpec) -> Keys:
    return {
        "hidden_size": spec.hidden,
        "num_layers": spec.layers,
        "num_heads": spec.heads,
        "intermediate_size": spec.ffn,
        "vocab_size": spec.vocab,
        "max_position_embeddings": spec.max_positions,
        "attention_types": [[["global", "local"], spec.layers // 2], [["global"], spec.layers % 2]],
    }


def _gpt_bigcode(spec: ModelSpec) -> Keys:
    return _gpt2(spec) | {"multi_query": spec.kv_heads == 1}


def _falcon(spec: ModelSpec) -> Keys:
    return {
        "hidden_size": spec.hidden,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "ffn_hidden_size": spec.ffn,
        "vocab_size": spec.vocab,
        "multi_query": True,
        "parallel_attn": True,
        "bias": False,
        "new_decoder_architecture": False,
        "pad_token_id": 0,
    }


def _t5(spec: ModelSpec) -> Keys:
    return {
        "d_model": spec.hidden,
        "num_layers": spec.layers,
        "num_decoder_layers": spec.decoder_layers,
        "num_heads": spec.heads,
        "d_kv": spec.head_dim,
        "d_ff": spec.ffn,
        "vocab_size": spec.vocab,
        "feed_forward_proj": "gated-gelu" if spec.gated_ffn else "relu",
        "tie_word_embeddings": spec.tied_embeddings,
    }


# family -> (transformers' model_type, its keys). Families that transformers 5.23 has no class for: Qwen 1 is
# Qwen 2's; Baichuan 2, InternLM 2 and MiniCPM are Llama's; ChatGLM 2 and later are Glm's (RMS norms, fused gate,
# bias on q, k and v).
_CONFIGS: Mapping[str, tuple[str, Callable[[ModelSpec], Keys]]] = {
    "albert": ("albert", _bert),
    "baichuan": ("llama", _llama),
    "bert": ("bert", _bert),
    "chatglm": ("glm", _glm),
    "deberta-v2": ("deberta-v2", _deberta),
    "distilbert": ("distilbert", _distilbert),
    "electra": ("electra", _electra),
    "falcon": ("falcon", _falcon),
    "gpt2": ("gpt2", _gpt2),
    "gpt_bigcode": ("gpt_bigcode", _gpt_bigcode),
    "gpt_neo": ("gpt_neo", _gpt_neo),
    "internlm2": ("llama", _llama),
    "minicpm": ("llama", _llama),
    "mobilebert": ("mobilebert", _mobilebert),
    "phi": ("phi", _phi),
    "qwen": ("qwen2", _llama),
    "roberta": ("roberta", _bert),
    "t5": ("t5", _t5),
    "xlm-roberta": ("xlm-roberta", _bert),
}


def config_of(spec: ModelSpec, **changed: object) -> transformers.PreTrainedConfig:
    """The configuration of `spec`, with `changed` keys of its class over it. Of pruned layers that the class
    cannot build it says so, and `shrink.shrink_built` makes them."""
    model_type, keys = _CONFIGS.get(spec.family, (spec.family, _llama))
    chosen = keys(_as_built(spec)) | _pruned_to(spec) | changed
    config = transformers.AutoConfig.for_model(model_type, **chosen)
    for name, share in _dropouts(spec).items():
        if hasattr(config, name) and name not in chosen:
            setattr(config, name, share)
    return config


def _as_built(spec: ModelSpec) -> ModelSpec:
    """The model that the class builds."""
    if spec.pruned is None:
        return spec
    built = spec.pruned.built
    return replace(spec, heads=built.heads, kv_heads=built.kv_heads, ffn=built.neurons, pruned=None)


def _pruned_to(spec: ModelSpec) -> Keys:
    return {} if spec.pruned is None else {KEY: dict(spec.pruned.left.written())}


def _dropouts(spec: ModelSpec) -> dict[str, float]:
    """Every name a configuration class may have for them."""
    hidden = ("hidden_dropout_prob", "hidden_dropout", "dropout", "resid_pdrop", "embd_pdrop")
    attention = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop")
    return dict.fromkeys(hidden, spec.hidden_dropout) | dict.fromkeys(attention, spec.attention_dropout)
