"""Which encoding a text file is in, decided over the whole file by streaming decode checks.

UTF-8 is taken wherever it decodes. Otherwise the file is read once more and judged as damaged UTF-8, as
gb18030 or as cp1252 (what Chinese and Western spreadsheets write). Other legacy encodings (Big5, Shift-JIS,
KOI8) are not told apart: the encoding used is always reported, so that a wrong guess is seen.
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_CHUNK_BYTES = 1 << 20
_ASCII = re.compile(r"[\x00-\x7f]+")


@dataclass(frozen=True, slots=True)
class Encoding:
    """A Python codec, and how many byte sequences of the file it cannot read (they become U+FFFD)."""

    codec: str
    replaced: int = 0

    @property
    def name(self) -> str:
        return "utf-8" if self.codec == "utf-8-sig" else self.codec

    @property
    def errors(self) -> str:
        """The `errors` argument of `open`."""
        return "replace" if self.replaced else "strict"


UTF8 = Encoding("utf-8-sig")


def detect_encoding(path: Path) -> Encoding:
    """The encoding of a text file. Reads it once, or twice where it is not UTF-8. Raises OSError."""
    with path.open("rb") as file:
        start = file.read(2)
    if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return Encoding("utf-16", _replacements(path, "utf-16"))
    try:
        for _ in _decoded(path, "utf-8-sig", "strict"):
            pass
    except UnicodeDecodeError:
        return _legacy_encoding(path)
    return UTF8


def _legacy_encoding(path: Path) -> Encoding:
    """Judge by what the bytes become in each encoding.

    Damaged UTF-8 still holds more good multi-byte characters than bad ones. In Chinese gb18030 nearly every
    character lies in the small GB 2312 set (two high bytes); an accented letter of cp1252 stands beside
    ASCII, which as gb18030 gives an error or a rare character outside that set.
    """
    good = bad = 0
    for text in _decoded(path, "utf-8-sig", "replace"):
        broken = text.count("\ufffd")
        bad += broken
        good += len(_ASCII.sub("", text)) - broken
    if good > bad:
        return Encoding("utf-8-sig", bad)

    foreign = common = replaced = 0
    for text in _decoded(path, "gb18030", "replace"):
        letters = _ASCII.sub("", text)
        foreign += len(letters)
        common += len(letters.encode("gb2312", "ignore")) // 2
        replaced += letters.count("\ufffd")
    if common * 2 > foreign:
        return Encoding("gb18030", replaced)
    return Encoding("cp1252", _replacements(path, "cp1252"))


def _replacements(path: Path, codec: str) -> int:
    return sum(text.count("\ufffd") for text in _decoded(path, codec, "replace"))


def _decoded(path: Path, codec: str, errors: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(codec)(errors)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield decoder.decode(chunk)
    yield decoder.decode(b"", final=True)
