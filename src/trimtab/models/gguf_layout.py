"""What a GGUF file of a language model holds besides its tokenizer: tensors by name, number format and shape, and
the settings of its architecture. Pure: a spec and a config in, names and numbers out.

Names and settings are those of llama.cpp (gguf-py/gguf/constants.py; Mistral is its "llama"). Matrices are stored
in the chosen kind, vectors in F32; in the kinds of 4 and 5 bits the matrix that makes the logits, also where it is
the embedding too, is stored in Q8_0 (llama.cpp takes Q6_K for it). Rows that are no whole blocks are stored in
F16. Leaves out: families with other arithmetic (Gemma's norms, experts), and K-quants.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

from trimtab.errors import ModelError, UsageError
from trimtab.models.config import Config
from trimtab.models.gguf_entries import Entry, number, real, text
from trimtab.models.gguf_header import BLOCKS, F16, F32
from trimtab.models.spec import ModelSpec

GgufKind = Literal["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1"]
GGUF_KINDS: tuple[GgufKind, ...] = get_args(GgufKind)
BF16 = 30
# The number of each kind in ggml.h, and of a file that is mostly of it in llama.h.
TYPES: Mapping[GgufKind, int] = MappingProxyType(
    {"f32": F32, "f16": F16, "bf16": BF16, "q8_0": 8, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7}
)
_FILE_TYPES: Mapping[GgufKind, int] = MappingProxyType(
    {"f32": 0, "f16": 1, "bf16": 32, "q8_0": 7, "q4_0": 2, "q4_1": 3, "q5_0": 8, "q5_1": 9}
)
_SHORT: Mapping[str, GgufKind] = MappingProxyType({"q8": "q8_0", "q4": "q4_0", "q5": "q5_0"})
_FEW_BITS: frozenset[GgufKind] = frozenset({"q4_0", "q4_1", "q5_0", "q5_1"})
_QUANTISATION_VERSION = 2
# Matrices of a layer by which a model changes most when they are rounded, for their size: each of these sets may
# be stored in the next finer kind (Q8_0 for the kinds of 4 and 5 bits, F16 for Q8_0). llama.cpp's mixes favour the
# same two.
FINER: tuple[frozenset[str], ...] = (frozenset(), frozenset({"attn_v"}), frozenset({"attn_v", "ffn_down"}))

# Of files in which queries and keys have their rotary halves side by side: the rows of both are reordered.
_ARCHITECTURES: Mapping[str, str] = MappingProxyType(
    {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
)
GGUF_FAMILIES = tuple(sorted(_ARCHITECTURES))
_INTERLEAVED = frozenset({"llama"})
ROPE_FACTORS = "rope_freqs.weight"
_THETA, _EPSILON, _WINDOW = 10_000.0, 1e-6, 4096  # of all these families where the config does not say
_STANDARD_YARN: Mapping[str, float] = MappingProxyType({"beta_fast": 32.0, "beta_slow": 1.0})


@dataclass(frozen=True, kw_only=True, slots=True)
class PackedTensor:
    """One tensor of the file: `name` there, `source` in the model (empty: `values` are it), the number of its
    format, its shape, outermost size first. `heads` > 0: rows are reordered head by head (`interleaved`)."""

    name: str
    source: str
    shape: tuple[int, ...]
    type: int
    heads: int = 0
    values: tuple[float, ...] = ()

    @property
    def nbytes(self) -> int:
        numbers, nbytes = BLOCKS[self.type]
        return math.prod(self.shape) // numbers * nbytes


def kind_named(word: str) -> GgufKind:
    """The kind a user means: q8, q4 and q5 are llama.cpp's q8_0, q4_0 and q5_0. Raises UsageError TT-C410."""
    lower = word.lower()
    for kind in GGUF_KINDS:
        if kind == _SHORT.get(lower, lower):
            return kind
    raise UsageError("TT-C410", kind=word[:40], known=", ".join((*_SHORT, *GGUF_KINDS)))


def architecture(spec: ModelSpec) -> str:
    """llama.cpp's word for the family. Raises ModelError TT-C400 where no file is written of it."""
    if spec.family not in _ARCHITECTURES:
        raise ModelError("TT-C400", name=spec.name, family=spec.family, known=", ".join(GGUF_FAMILIES))
    return _ARCHITECTURES[spec.family]


def language_tensors(
    spec: ModelSpec, kind: GgufKind, finer: frozenset[str] = frozenset()
) -> tuple[PackedTensor, ...]:
    """The weights of a language model in the order of the file. `finer`: one of `FINER`. Raises ModelError
    TT-C400."""
    head: GgufKind = "q8_0" if kind in _FEW_BITS else kind
    kinds = dict.fromkeys(finer, _finer(kind))
    embedding = (spec.vocab, spec.hidden)
    embedding_kind = head if spec.tied_embeddings else kind
    tensors = [_tensor("token_embd.weight", "model.embed_tokens.weight", embedding, embedding_kind)]
    for layer in range(spec.layers):
        tensors += _layer(spec, layer, kind, kinds)
    tensors.append(_tensor("output_norm.weight", "model.norm.weight", (spec.hidden,), kind))
    if not spec.tied_embeddings:
        tensors.append(_tensor("output.weight", "lm_head.weight", embedding, head))
    return tuple(tensors)


def _finer(kind: GgufKind) -> GgufKind:
    return "q8_0" if kind in _FEW_BITS else "f16" if kind == "q8_0" else kind


def _layer(spec: ModelSpec, layer: int, kind: GgufKind, kinds: Mapping[str, GgufKind]) -> Iterator[PackedTensor]:
    """`kinds`: of single matrices, where it is not `kind`."""
    interleaved = architecture(spec) in _INTERLEAVED
    queries, keys = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
    hidden, ffn = spec.hidden, spec.ffn
    shapes: list[tuple[str, str, tuple[int, ...], int]] = [
        ("attn_norm", "input_layernorm", (hidden,), 0),
        ("attn_q", "self_attn.q_proj", (queries, hidden), spec.heads),
        ("attn_k", "self_attn.k_proj", (keys, hidden), spec.kv_heads),
        ("attn_v", "self_attn.v_proj", (keys, hidden), 0),
        ("attn_output", "self_attn.o_proj", (hidden, queries), 0),
        ("ffn_norm", "post_attention_layernorm", (hidden,), 0),
        ("ffn_gate", "mlp.gate_proj", (ffn, hidden), 0),
        ("ffn_up", "mlp.up_proj", (ffn, hidden), 0),
        ("ffn_down", "mlp.down_proj", (hidden, ffn), 0),
    ]
    if spec.qk_norm:
        shapes += [
            ("attn_q_norm", "self_attn.q_norm", (spec.head_dim,), 0),
            ("attn_k_norm", "self_attn.k_norm", (spec.head_dim,), 0),
        ]
    for name, module, shape, heads in shapes:
        at, within = f"blk.{layer}.{name}", f"model.layers.{layer}.{module}"
        yield _tensor(
            f"{at}.weight", f"{within}.weight", shape, kinds.get(name, kind), heads if interleaved else 0
        )
        if spec.qkv_bias and name in ("attn_q", "attn_k", "attn_v"):
            yield _tensor(f"{at}.bias", f"{within}.bias", shape[:1], kind, heads if interleaved else 0)


def _tensor(name: str, source: str, shape: tuple[int, ...], kind: GgufKind, heads: int = 0) -> PackedTensor:
    return PackedTensor(name=name, source=source, shape=shape, type=_type(shape, kind), heads=heads)


def _type(shape: tuple[int, ...], kind: GgufKind) -> int:
    if len(shape) == 1:
        return F32
    return F16 if shape[-1] % BLOCKS[TYPES[kind]][0] else TYPES[kind]


def settings(spec: ModelSpec, config: Config, kind: GgufKind, name: str) -> tuple[Entry, ...]:
    """The metadata of the file that are not its tokenizer's. `name`: what the file calls the model.

    Raises ModelError: TT-C400 a family of which none is written, TT-C403 a config with arithmetic that the file
    cannot say.
    """
    prefix = architecture(spec)
    _refuse_other_arithmetic(spec, config)
    return (
        text("general.architecture", prefix),
        text("general.type", "model"),
        text("general.name", _harmless(name)),
        number("general.file_type", _FILE_TYPES[kind]),
        number("general.quantization_version", _QUANTISATION_VERSION),
        number(f"{prefix}.block_count", spec.layers),
        number(f"{prefix}.context_length", context_length(spec, config)),
        number(f"{prefix}.embedding_length", spec.hidden),
        number(f"{prefix}.feed_forward_length", spec.ffn),
        number(f"{prefix}.attention.head_count", spec.heads),
        number(f"{prefix}.attention.head_count_kv", spec.kv_heads),
        number(f"{prefix}.attention.key_length", spec.head_dim),
        number(f"{prefix}.attention.value_length", spec.head_dim),
        real(f"{prefix}.attention.layer_norm_rms_epsilon", _real(config, "rms_norm_eps", _EPSILON, spec.name)),
        number(f"{prefix}.vocab_size", spec.vocab),
        number(f"{prefix}.rope.dimension_count", spec.head_dim),
        real(f"{prefix}.rope.freq_base", _rope_theta(config, spec.name)),
        *_rope_scaling(config, prefix, spec.name),
    )


def context_length(spec: ModelSpec, config: Config) -> int:
    """Tokens up to which the file computes what the model does: llama.cpp lets every token look back over all."""
    windowed = spec.family == "mistral" or bool(config.get("use_sliding_window"))
    window = config.get("sliding_window", _WINDOW) if windowed else None
    return min(spec.max_positions, window) if isinstance(window, int) and window > 0 else spec.max_positions


def rope_factors(spec: ModelSpec, config: Config) -> tuple[PackedTensor, ...]:
    """What Llama 3's rotary wavelengths are multiplied by, as the one tensor that llama.cpp reads them from; none
    where the config does not scale them so. Formula: transformers' `_compute_llama3_parameters`."""
    rope = _rope(config)
    if _rope_type(rope) != "llama3":
        return ()
    said = [
        _real(rope, key, None, spec.name)
        for key in ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    ]
    factor, low, high, original = said
    theta, width = _rope_theta(config, spec.name), spec.head_dim
    waves = (2 * math.pi * theta ** (place / width) for place in range(0, width, 2))
    values = tuple(_llama3_factor(wave, factor, low, high, original) for wave in waves)
    return (PackedTensor(name=ROPE_FACTORS, source="", shape=(len(values),), type=F32, values=values),)


def _llama3_factor(wave: float, factor: float, low: float, high: float, original: float) -> float:
    if wave < original / high:
        return 1.0
    if wave > original / low:
        return factor
    smooth = (original / wave - low) / (high - low)
    return 1.0 / ((1.0 - smooth) / factor + smooth)


def _rope_scaling(config: Config, prefix: str, name: str) -> Iterator[Entry]:
    """Llama 3's scaling is a tensor (`rope_factors`) and no setting."""
    rope = _rope(config)
    kind = _rope_type(rope)
    if kind in ("linear", "yarn"):
        yield text(f"{prefix}.rope.scaling.type", kind)
        yield real(f"{prefix}.rope.scaling.factor", _real(rope, "factor", None, name))
    if kind == "yarn":
        original = _real(rope, "original_max_position_embeddings", None, name)
        yield number(f"{prefix}.rope.scaling.original_context_length", int(original))


def _refuse_other_arithmetic(spec: ModelSpec, config: Config) -> None:
    rope = _rope(config)
    wanted: dict[str, tuple[object, tuple[object, ...]]] = {
        "hidden_act": (config.get("hidden_act", "silu"), ("silu",)),
        "rope_type": (_rope_type(rope), ("default", "linear", "yarn", "llama3")),
        "partial_rotary_factor": (_either(rope, config, "partial_rotary_factor", 1.0), (1.0, None)),
        "attention_bias": (spec.qkv_bias and spec.family != "qwen2", (False,)),
        "attention_bias (output)": (spec.o_bias, (False,)),
        "mlp_bias": (spec.ffn_bias, (False,)),
    }
    if _rope_type(rope) == "yarn":  # llama.cpp takes these as given, and its own factor of attention
        wanted |= {key: (rope.get(key, value), (value, None)) for key, value in _STANDARD_YARN.items()}
        wanted |= {key: (rope.get(key), (None,)) for key in ("attention_factor", "mscale", "mscale_all_dim")}
    for key, (found, allowed) in wanted.items():
        if found not in allowed:
            raise ModelError("TT-C403", name=spec.name, key=key, value=str(found)[:80])


def _rope(config: Config) -> Config:
    """The settings of the rotary embedding, under either of the keys that transformers has had for them."""
    found = config.get("rope_parameters") or config.get("rope_scaling")
    return found if isinstance(found, Mapping) else {}


def _rope_type(rope: Config) -> str:
    return str(rope.get("rope_type") or rope.get("type") or "default")


def _rope_theta(config: Config, name: str) -> float:
    return _real(_rope(config) if "rope_theta" in _rope(config) else config, "rope_theta", _THETA, name)


def _either(first: Config, second: Config, key: str, default: object) -> object:
    return first.get(key, second.get(key, default))


def _real(config: Config, key: str, default: float | None, name: str) -> float:
    value = config.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e12:
        raise ModelError("TT-M007", name=name, key=key, value=str(value)[:80])
    return float(value)


def _harmless(name: str) -> str:
    """Of a file named just "mistral" transformers takes the architecture for one that it does not know."""
    return "Mistral" if name == "mistral" else name or "model"
