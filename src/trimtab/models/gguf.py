"""GGUF files as models: which word means one, its spec from the header, and where its unpacked weights are kept.

llama.cpp's files hold quantised weights and a tokenizer in one. To be trained they are unpacked once into an
ordinary model folder (`tuning.gguf`, below the torch line), which is kept under $TRIMTAB_HOME. Leaves out: GGUF
files on a hub, and files in several parts.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from trimtab.errors import ModelError
from trimtab.home import cache_folder
from trimtab.models.gguf_header import F16, F32, GgufHeader, read_gguf_header
from trimtab.models.read import ModelSource, read_spec, spec_from
from trimtab.models.spec import ModelSpec
from trimtab.models.weights_header import WeightsHeader, stored_tensor

UNPACKED = "unpacked.json"  # written last: the folder is whole
_HASHED_BYTES = 2**20
# Architectures of llama.cpp whose files a test unpacks -> transformers' model_type.
_FAMILIES: Mapping[str, str] = MappingProxyType({"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3"})
_KEYS: Mapping[str, str] = MappingProxyType(
    {
        "num_hidden_layers": "block_count",
        "hidden_size": "embedding_length",
        "intermediate_size": "feed_forward_length",
        "num_attention_heads": "attention.head_count",
        "num_key_value_heads": "attention.head_count_kv",
        "head_dim": "attention.key_length",
        "max_position_embeddings": "context_length",
        "vocab_size": "vocab_size",
    }
)
_COMMON = (
    r"token_embd\.weight|output\.weight|output_norm\.weight|"
    r"blk\.\d+\.(attn_norm|ffn_norm|attn_q|attn_k|attn_v|attn_output|ffn_gate|ffn_up|ffn_down)\.weight"
)
# The tensors that the class of an architecture has a place for; what else a file holds would be lost.
_TENSORS: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        "llama": re.compile(_COMMON),
        "qwen2": re.compile(_COMMON + r"|blk\.\d+\.attn_[qkv]\.bias"),
        "qwen3": re.compile(_COMMON + r"|blk\.\d+\.attn_[qk]_norm\.weight"),
    }
)
_DTYPES: Mapping[int, str] = MappingProxyType({F32: "F32", F16: "F16"})


def gguf_file(model: str) -> Path | None:
    """The GGUF file that is meant by `model`, or None."""
    path = Path(model).expanduser()
    return path if path.suffix.lower() == ".gguf" and path.is_file() else None


def gguf_spec(path: Path, name: str) -> ModelSpec:
    """The spec of the unpacked model, from its folder where there is one, else from the header of the file.

    Raises ModelError: TT-M070 not what the format says, TT-M071 an architecture that is not unpacked, TT-M074 a
    file with more in it than would be, and what `config.shape_from` refuses.
    """
    if is_unpacked(path):
        return read_spec(gguf_source(path, name))
    header = read_gguf_header(path)
    dtype = unpacked_dtype(header)
    tensors = (stored_tensor(str(path), tensor.name, dtype, tensor.shape) for tensor in header.tensors)
    return spec_from(_config(header, path), WeightsHeader.of(tensors), name, "", read_from=str(path))


def gguf_source(path: Path, name: str) -> ModelSource:
    """The unpacked folder as a model; it must be there."""
    return ModelSource(folder=unpacked_folder(path), name=name, kind="gguf")


def is_unpacked(path: Path) -> bool:
    return (unpacked_folder(path) / UNPACKED).is_file()


def unpacked_folder(path: Path) -> Path:
    """Where the unpacked weights of a file are kept: by its first megabyte, size and time of change."""
    found = path.stat()
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(_HASHED_BYTES))
    digest.update(f"{found.st_size} {found.st_mtime_ns}".encode())
    return cache_folder() / "gguf" / f"{path.stem[:40]}-{digest.hexdigest()[:16]}"


def unpacked_dtype(header: GgufHeader) -> str:
    """The dtype of the unpacked weights, as safetensors calls it: that of the file's matrices where they are
    plain F32 or F16, else BF16, which loses less than the blocks have already lost."""
    matrices = [tensor for tensor in header.tensors if len(tensor.shape) > 1]
    largest = max(matrices, key=lambda tensor: tensor.numbers, default=None)
    return "BF16" if largest is None else _DTYPES.get(largest.type, "BF16")


def _config(header: GgufHeader, path: Path) -> Mapping[str, object]:
    """What transformers' config.json would say of shapes."""
    architecture = str(header.values.get("general.architecture", "?"))
    if architecture not in _FAMILIES:
        known = ", ".join(_FAMILIES)
        raise ModelError("TT-M071", path=str(path), architecture=architecture[:40], known=known)
    _refuse_what_is_lost(header, architecture, path)
    found = {key: header.values.get(f"{architecture}.{name}") for key, name in _KEYS.items()}
    config = {key: value for key, value in found.items() if value is not None}
    config.setdefault("vocab_size", header.array_lengths.get("tokenizer.ggml.tokens", 0))
    tied = all(tensor.name != "output.weight" for tensor in header.tensors)
    return {**config, "model_type": _FAMILIES[architecture], "tie_word_embeddings": tied}


def _refuse_what_is_lost(header: GgufHeader, architecture: str, path: Path) -> None:
    """Unpacked without them the model would compute something else: rotary frequencies that are scaled, tensors
    that its class has no place for, the other files of several."""
    scaling = header.values.get(f"{architecture}.rope.scaling.type", "none")
    lost = [] if scaling == "none" else [f"rope.scaling.type = {scaling}"]
    if header.values.get("split.count", 1) not in (0, 1):
        lost.append(f"split.count = {header.values['split.count']}")
    lost += [tensor.name for tensor in header.tensors if not _TENSORS[architecture].fullmatch(tensor.name)]
    if lost:
        raise ModelError("TT-M074", path=str(path), what=lost[0][:80], count=len(lost))
