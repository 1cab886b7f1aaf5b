"""A GGUF file before it is written: its header as bytes, where every tensor comes from, and how large it will be.

From the headers of the weights, the config and the tokenizer alone; no weight is read. The size is exact where
those are at hand (`plan_gguf`), and nearly so from a shape alone (`gguf_bytes`).
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trimtab.errors import ModelError
from trimtab.models.config import load_config
from trimtab.models.gguf_entries import Entry, string
from trimtab.models.gguf_header import ALIGNMENT, BLOCKS, F16
from trimtab.models.gguf_layout import TYPES, GgufKind, PackedTensor, language_tensors, rope_factors, settings
from trimtab.models.gguf_vocabulary import vocabulary_entries
from trimtab.models.read import ModelSource, read_spec
from trimtab.models.spec import ModelSpec
from trimtab.models.weights_header import StoredTensor, WeightsHeader, read_headers

_VERSION = 3
_BYTES_PER_TOKEN = 37.0  # text, kind and merge of one token: 37.4 of SmolLM2's 49,152, 36.5 of Qwen2's 151,936
_SETTINGS_BYTES = 1500  # the other metadata, the chat template among them
_NUMBERS = ("F32", "F16", "BF16")


@dataclass(frozen=True, kw_only=True, slots=True)
class GgufPlan:
    """`header`: all bytes before the first tensor's; `nbytes`: of the whole file, exactly. `kept`: names of the
    matrices that are stored in F16 because their rows are no whole blocks."""

    kind: GgufKind
    header: bytes
    tensors: tuple[PackedTensor, ...]
    nbytes: int
    kept: tuple[str, ...]


def plan_gguf(source: ModelSource, kind: GgufKind, finer: frozenset[str] = frozenset()) -> GgufPlan:
    """The GGUF file of a model folder. `finer`: one of `gguf_layout.FINER`.

    Raises ModelError: what `read_spec` raises, TT-C400, TT-C403, TT-C408, TT-C409 and TT-C413 where llama.cpp
    could not compute the same, TT-C404 weights that are not those of the config, TT-C405 in another number format.
    """
    config = load_config(source.folder, name=source.name, trust_remote_code=source.trust_remote_code)
    spec = read_spec(source)
    name = source.hub_id.rpartition("/")[2] or source.folder.resolve().name
    said = settings(spec, config, kind, name)
    words = vocabulary_entries(source.folder, config, spec.vocab, spec.name)
    tensors = (*rope_factors(spec, config), *language_tensors(spec, kind, finer))
    require_tensors(read_headers(source.folder), tensors, spec)
    return _plan(kind, (*said, *words), tensors)


def gguf_bytes(spec: ModelSpec, kind: GgufKind, finer: frozenset[str] = frozenset()) -> int:
    """Bytes of the file of a shape, tokenizer included as published ones are: within 1 % of it. Raises ModelError
    TT-C400."""
    tensors = language_tensors(spec, kind, finer)
    header = sum(len(_placed(tensor, 0)) for tensor in tensors)
    return round(header + _SETTINGS_BYTES + _BYTES_PER_TOKEN * spec.vocab) + sum(map(_padded_bytes, tensors))


def require_tensors(header: WeightsHeader, tensors: Sequence[PackedTensor], spec: ModelSpec) -> None:
    """Raises ModelError TT-C404 where the weights are not those that the config describes, TT-C405 where one has a
    number format that is not taken."""
    stored = {tensor.name: tensor for tensor in header.tensors if not _is_computed(tensor, spec)}
    wanted = {tensor.source: tensor.shape for tensor in tensors if tensor.source}
    for name in sorted(stored.keys() | wanted.keys()):
        if name not in wanted or name not in stored or stored[name].shape != wanted[name]:
            raise ModelError("TT-C404", name=spec.name, tensor=name[:80])
        if stored[name].dtype not in _NUMBERS:
            raise ModelError("TT-C405", name=spec.name, tensor=name[:80], dtype=stored[name].dtype)


def _is_computed(tensor: StoredTensor, spec: ModelSpec) -> bool:
    """What older files hold beyond the weights: rotary frequencies, a head that is the embedding again."""
    return tensor.name.endswith(".rotary_emb.inv_freq") or (
        spec.tied_embeddings and tensor.name == "lm_head.weight"
    )


def header_bytes(entries: Sequence[Entry], tensors: Sequence[PackedTensor]) -> bytes:
    """All bytes before the first tensor's, which follow in this order, each filled up to `ALIGNMENT`."""
    start = struct.pack("<4sIQQ", b"GGUF", _VERSION, len(tensors), len(entries))
    header = b"".join([start, *(entry.encoded for entry in entries), *_places(tensors)])
    return header + bytes(-len(header) % ALIGNMENT)


def _plan(kind: GgufKind, entries: Sequence[Entry], tensors: tuple[PackedTensor, ...]) -> GgufPlan:
    header = header_bytes(entries, tensors)
    return GgufPlan(
        kind=kind,
        header=header,
        tensors=tensors,
        nbytes=len(header) + sum(map(_padded_bytes, tensors)),
        kept=tuple(one.name for one in tensors if one.type == F16 and one.shape[-1] % BLOCKS[TYPES[kind]][0]),
    )


def _places(tensors: Sequence[PackedTensor]) -> Iterator[bytes]:
    offset = 0
    for tensor in tensors:
        yield _placed(tensor, offset)
        offset += _padded_bytes(tensor)


def _placed(tensor: PackedTensor, offset: int) -> bytes:
    sizes = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape[::-1])
    return string(tensor.name) + sizes + struct.pack("<IQ", tensor.type, offset)


def _padded_bytes(tensor: PackedTensor) -> int:
    return tensor.nbytes + -tensor.nbytes % ALIGNMENT
