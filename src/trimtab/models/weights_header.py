"""The headers of safetensors files: names, shapes and dtypes of all tensors, without reading a weight.

Format (github.com/huggingface/safetensors, "Format"): 8 bytes little-endian length n, n bytes of JSON
{name: {"dtype", "shape", "data_offsets": [begin, end]}}, then the data, without gaps. A header comes from
somebody else: its length is limited and every offset is held against the size of the file.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from trimtab.errors import ModelError
from trimtab.models.config import read_json_object

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

_PICKLED_WEIGHTS = re.compile(r"pytorch_model.*\.bin|.*\.(pt|pth|pkl|ckpt)")

_MOST_HEADER_BYTES = 100 * 10**6
_BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8,
    "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4, "C64": 64, "BOOL": 8,
    "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8,
}  # fmt: skip
_DTYPE_WORDS = {"F32": "fp32", "BF16": "bf16", "F16": "fp16", "F64": "fp64"}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor of a file: its name, safetensors dtype ("F32"), shape and bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int


@dataclass(frozen=True, slots=True)
class WeightsHeader:
    """All tensors of a model's weight files, sorted by name. Empty: only a config is there."""

    tensors: tuple[StoredTensor, ...] = ()

    @classmethod
    def of(cls, tensors: Iterable[StoredTensor]) -> "WeightsHeader":
        return cls(tuple(sorted(tensors, key=lambda tensor: tensor.name)))

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors; the files are larger by their headers."""
        return sum(tensor.nbytes for tensor in self.tensors)

    @property
    def dtype(self) -> str:
        """The float dtype most bytes have: "fp32", "bf16", "fp16", "fp64", or "unknown"."""
        bytes_of = dict.fromkeys(_DTYPE_WORDS, 0)
        for tensor in self.tensors:
            if tensor.dtype in bytes_of:
                bytes_of[tensor.dtype] += tensor.nbytes
        most = max(bytes_of, key=lambda dtype: bytes_of[dtype])
        return _DTYPE_WORDS[most] if bytes_of[most] else "unknown"

    @property
    def has_pooler(self) -> bool:
        return any(".pooler." in f".{tensor.name}" for tensor in self.tensors)


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The safetensors files of a model folder: the single file, else the shards of the index; () if none.

    Raises ModelError: TT-M009 weights only as pickle, TT-M015 a damaged index or a missing shard.
    """
    if (folder / SINGLE_FILE).is_file():
        return (folder / SINGLE_FILE,)
    if (folder / INDEX_FILE).is_file():
        return _shards(folder)
    refuse_pickle(str(folder), [path.name for path in folder.iterdir()])
    return ()


def refuse_pickle(name: str, files: Iterable[str]) -> None:
    """Raises ModelError TT-M009 where a list of files has weights, but none as safetensors."""
    files = sorted(files)
    if SINGLE_FILE in files or INDEX_FILE in files:
        return
    pickles = [file for file in files if _PICKLED_WEIGHTS.fullmatch(file)]
    if pickles:
        raise ModelError("TT-M009", name=name, files=", ".join(pickles[:3]))


def read_headers(folder: Path) -> WeightsHeader:
    """The header of all weight files of a folder. Raises what `weight_files` and `read_header` raise."""
    return WeightsHeader.of(tensor for path in weight_files(folder) for tensor in read_header(path))


def read_header(path: Path) -> tuple[StoredTensor, ...]:
    """The tensors of one safetensors file.

    Raises ModelError: TT-M011 shorter than its header says, TT-M012 a header over 100 MB, TT-M013 a header
    that is not what the format says, TT-M014 tensors that do not fill the data exactly (a truncated file).
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or (length <= _MOST_HEADER_BYTES and 8 + length > size):
            raise ModelError("TT-M011", path=str(path), size=size, need=8 + length)
        if length > _MOST_HEADER_BYTES:
            raise ModelError("TT-M012", path=str(path), length=length, limit=_MOST_HEADER_BYTES)
        raw = file.read(length)
    return _checked_tensors(path, _parsed(path, raw), data_bytes=size - 8 - length)


def _parsed(path: Path, raw: bytes) -> Mapping[str, object]:
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ModelError("TT-M013", path=str(path)) from error
    if not isinstance(header, dict):
        raise ModelError("TT-M013", path=str(path))
    return {name: entry for name, entry in header.items() if name != "__metadata__"}


def _checked_tensors(path: Path, header: Mapping[str, object], data_bytes: int) -> tuple[StoredTensor, ...]:
    placed = sorted((_placed(path, name, entry) for name, entry in header.items()), key=lambda at: at[:2])
    filled = 0
    for begin, end, tensor in placed:
        if begin != filled or end != begin + tensor.nbytes or end > data_bytes:
            raise ModelError("TT-M014", path=str(path), tensor=tensor.name, begin=begin, end=end, data=data_bytes)
        filled = end
    if filled != data_bytes:
        raise ModelError("TT-M014", path=str(path), tensor="-", begin=filled, end=filled, data=data_bytes)
    return tuple(tensor for _, _, tensor in placed)


def stored_tensor(path: str, name: str, dtype: str, shape: tuple[int, ...]) -> StoredTensor:
    """A tensor as a header of `path` names it. Raises ModelError TT-M013 for an unknown dtype."""
    if dtype not in _BITS:
        raise ModelError("TT-M013", path=path)
    return StoredTensor(name, dtype, shape, math.prod(shape) * _BITS[dtype] // 8)


def _placed(path: Path, name: str, entry: object) -> tuple[int, int, StoredTensor]:
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(begin), int(end)]} if all(
            type(length) is int and length >= 0 for length in shape
        ):
            return begin, end, stored_tensor(str(path), name, dtype, tuple(shape))
    raise ModelError("TT-M013", path=str(path))


def _shards(folder: Path) -> tuple[Path, ...]:
    index = read_json_object(folder / INDEX_FILE).get("weight_map")
    if not isinstance(index, Mapping) or not index:
        raise ModelError("TT-M015", path=str(folder / INDEX_FILE), file="-")
    names = sorted({str(name) for name in index.values()})
    for name in names:
        # a name that leads out of the folder is as unusable as one that is not there
        if Path(name).name != name or not (folder / name).is_file():
            raise ModelError("TT-M015", path=str(folder / INDEX_FILE), file=name[:80])
    return tuple(folder / name for name in names)
