"""Metadata of a GGUF file as bytes: a key, the number of a type, a value. The counterpart of `gguf_header`, which
reads them. Leaves out integers of other widths than 32 bits, and arrays of arrays."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

_UINT32, _INT32, _FLOAT32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9


@dataclass(frozen=True, slots=True)
class Entry:
    """One key with its value, `content` as the file has it: the number of its type and its bytes."""

    key: str
    content: bytes

    @property
    def encoded(self) -> bytes:
        return string(self.key) + self.content


def string(value: str) -> bytes:
    """Length in bytes, 8 bytes wide, and UTF-8."""
    raw = value.encode("utf-8")
    return struct.pack("<Q", len(raw)) + raw


def number(key: str, value: int) -> Entry:
    return Entry(key, struct.pack("<II", _UINT32, value))


def real(key: str, value: float) -> Entry:
    return Entry(key, struct.pack("<If", _FLOAT32, value))


def flag(key: str, value: bool) -> Entry:
    return Entry(key, struct.pack("<I?", _BOOL, value))


def text(key: str, value: str) -> Entry:
    return Entry(key, struct.pack("<I", _STRING) + string(value))


def texts(key: str, values: Sequence[str]) -> Entry:
    return Entry(key, _array(_STRING, len(values)) + b"".join(map(string, values)))


def numbers(key: str, values: Sequence[int]) -> Entry:
    return Entry(key, _array(_INT32, len(values)) + struct.pack(f"<{len(values)}i", *values))


def reals(key: str, values: Sequence[float]) -> Entry:
    return Entry(key, _array(_FLOAT32, len(values)) + struct.pack(f"<{len(values)}f", *values))


def _array(kind: int, length: int) -> bytes:
    return struct.pack("<IIQ", _ARRAY, kind, length)
