"""The header of a GGUF file: metadata, and names, shapes and types of all tensors, without reading a weight.

Format (github.com/ggml-org/ggml, docs/gguf.md), little-endian: "GGUF", version, count of tensors, count of
metadata; each of these a key, a type and a value; each tensor a name, its sizes from the innermost out, a type and
where its data begin, counted from the end of the header. A header comes from somebody else: every count is limited
and every offset is held against the size of the file. Leaves out: what stands in arrays (their lengths are kept),
version 1 and big-endian files.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from trimtab.errors import ModelError

_MOST_HEADER_BYTES = 200 * 10**6  # a vocabulary of a million long words with its merges
_MOST_ENTRIES = 10**6
_MOST_DIMENSIONS = 4
_VERSIONS = (2, 3)
_STRING, _ARRAY, _BOOL = 8, 9, 7
_FORMATS: Mapping[int, str] = MappingProxyType(
    {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
)
# Numbers in a block and its bytes, by the number of the type in ggml.h.
BLOCKS: Mapping[int, tuple[int, int]] = MappingProxyType(
    {
        0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40),
        10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
        16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82),
        23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2),
        34: (256, 54), 35: (256, 66), 39: (32, 17),
    }
)  # fmt: skip
F32, F16 = 0, 1
ALIGNMENT = 32  # of data, where a header does not say another

Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One tensor: its name, number of its type, shape, the outermost size first as torch has it, and where in the
    file its data begin, in bytes."""

    name: str
    type: int
    shape: tuple[int, ...]
    begin: int = 0

    @property
    def numbers(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        numbers, nbytes = BLOCKS[self.type]
        return self.numbers // numbers * nbytes


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """`values`: the metadata that are no arrays; `array_lengths`: how long those are that are."""

    values: Mapping[str, Value]
    array_lengths: Mapping[str, int]
    tensors: tuple[GgufTensor, ...]


def read_gguf_header(path: Path) -> GgufHeader:
    """Raises ModelError TT-M070 where the file is not what the format says, with where in it."""
    with path.open("rb") as file:
        reader = _Reader(path, file, min(path.stat().st_size, _MOST_HEADER_BYTES))
        try:
            return _header(reader)
        except (struct.error, UnicodeDecodeError, KeyError) as error:
            raise reader.damaged() from error


def _header(reader: "_Reader") -> GgufHeader:
    if reader.take(4) != b"GGUF" or reader.number("<I") not in _VERSIONS:
        raise reader.damaged()
    tensor_count, value_count = reader.count(), reader.count()
    values: dict[str, Value] = {}
    lengths: dict[str, int] = {}
    for _ in range(value_count):
        key, kind = reader.string(), int(reader.number("<I"))
        if kind == _ARRAY:
            lengths[key] = reader.skip_array()
        else:
            values[key] = reader.value(kind)
    tensors = [reader.tensor() for _ in range(tensor_count)]
    return GgufHeader(values, lengths, _placed(reader, tensors, values.get("general.alignment", ALIGNMENT)))


def _placed(reader: "_Reader", tensors: list[GgufTensor], alignment: Value) -> tuple[GgufTensor, ...]:
    """The same tensors, their beginnings counted from that of the file: all data lie within it."""
    if not isinstance(alignment, int) or not 0 < alignment <= 2**20:
        raise reader.damaged()
    begin, size = -(-reader.at // alignment) * alignment, reader.path.stat().st_size
    for tensor in tensors:
        if tensor.numbers % BLOCKS[tensor.type][0] or begin + tensor.begin + tensor.nbytes > size:
            raise reader.damaged()
    return tuple(replace(tensor, begin=begin + tensor.begin) for tensor in tensors)


@dataclass(slots=True)
class _Reader:
    """Takes values from the beginning of a file, never more than `limit` bytes."""

    path: Path
    file: BinaryIO
    limit: int
    at: int = 0

    def take(self, length: int) -> bytes:
        if length > self.limit - self.at:
            raise self.damaged()
        taken = self.file.read(length)
        self.at += length
        return taken

    def number(self, form: str) -> int | float | bool:
        (value,) = struct.unpack(form, self.take(struct.calcsize(form)))
        assert isinstance(value, int | float)
        return value

    def count(self) -> int:
        count = int(self.number("<Q"))
        if count > _MOST_ENTRIES:
            raise self.damaged()
        return count

    def string(self) -> str:
        return self.take(int(self.number("<Q"))).decode("utf-8")

    def value(self, kind: int) -> Value:
        return self.string() if kind == _STRING else self.number(_FORMATS[kind])

    def skip_array(self) -> int:
        kind, length = int(self.number("<I")), self.count()
        if kind == _STRING:
            for _ in range(length):
                self.take(int(self.number("<Q")))
        else:
            self.take(length * struct.calcsize(_FORMATS[kind]))  # arrays of arrays are not in use: KeyError
        return length

    def tensor(self) -> GgufTensor:
        """Its beginning counted from that of all data."""
        name, dimensions = self.string(), int(self.number("<I"))
        if not 0 < dimensions <= _MOST_DIMENSIONS:
            raise self.damaged()
        inside_out = tuple(int(self.number("<Q")) for _ in range(dimensions))
        kind, offset = int(self.number("<I")), int(self.number("<Q"))
        if kind not in BLOCKS or 0 in inside_out:
            raise self.damaged()
        return GgufTensor(name, kind, inside_out[::-1], offset)

    def damaged(self) -> ModelError:
        return ModelError("TT-M070", path=str(self.path), at=self.at)
