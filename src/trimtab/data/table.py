"""A table: one file of rows that can be read again and again, opened with its reasons for refusal."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Protocol

from trimtab.data.encoding import UTF8, Encoding, detect_encoding
from trimtab.data.readers import SUFFIXES, Reader, Row, reader_of
from trimtab.data.spec import Place
from trimtab.errors import DataError, system_reason

_SAMPLE_ROWS = 100

_REFUSED_SUFFIXES = {
    **dict.fromkeys((".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib", ".npy", ".npz"), "TT-D002"),
    **dict.fromkeys((".zip", ".gz", ".bz2", ".xz", ".zst", ".tar", ".tgz", ".7z", ".rar"), "TT-D003"),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "TT-D004"),
}
_BINARY_STARTS = (
    b"PK\x03\x04",
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ",
    b"\x28\xb5\x2f\xfd",
    b"\xd0\xcf\x11\xe0",
    b"PAR1",
)
_PICKLE_START = b"\x80"


class Table(Protocol):
    """Rows with places. `path` is the file, or the folder that is read as one table; `files` are the files
    behind it, `encodings` their (name, encoding)."""

    @property
    def path(self) -> Path: ...

    @property
    def files(self) -> tuple[Path, ...]: ...

    @property
    def encodings(self) -> tuple[tuple[str, Encoding], ...]: ...

    @property
    def columns(self) -> tuple[str, ...]: ...

    def rows(self) -> Iterator[Row]:
        """All rows in file order. Raises DataError with the row where the file cannot be read."""
        ...

    def place(self, number: int, column: str) -> Place: ...


@dataclass(frozen=True)
class FileTable:
    """A csv, tsv, json, jsonl or parquet file. `stamp` is its size and time of change when it was opened."""

    path: Path
    encoding: Encoding
    reader: Reader
    stamp: tuple[int, int]

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    @property
    def encodings(self) -> tuple[tuple[str, Encoding], ...]:
        return ((self.path.name, self.encoding),)

    @cached_property
    def sample(self) -> tuple[Row, ...]:
        """The first rows, to see which columns there are and what they hold."""
        return tuple(islice(self.rows(), _SAMPLE_ROWS))

    @property
    def columns(self) -> tuple[str, ...]:
        """Column names in order; for json those of the first hundred rows."""
        return tuple(dict.fromkeys(name for row in self.sample for name in row.values))

    def rows(self) -> Iterator[Row]:
        if not self.path.exists() or _stamp(self.path) != self.stamp:
            raise DataError("TT-D024", path=self.path.name)
        return self.reader(self.path, self.encoding)

    def place(self, number: int, column: str) -> Place:
        return Place(self.path.name, number, column)


def open_table(path: Path, suffixes: tuple[str, ...] = SUFFIXES) -> FileTable:
    """Open a file by its suffix, one of `suffixes`. Raises DataError: absent, unreadable, refused kind, or without
    any row."""
    suffix = path.suffix.lower()
    if suffix in _REFUSED_SUFFIXES:
        raise DataError(_REFUSED_SUFFIXES[suffix], path=path.name, suffix=suffix)
    if suffix not in suffixes:
        raise DataError("TT-D005", path=path.name, suffix=suffix or "-", known=", ".join(suffixes))
    try:
        _refuse_foreign_content(path, suffix)
        stamp = _stamp(path)
        encoding = UTF8 if suffix == ".parquet" else detect_encoding(path)
        table = FileTable(path, encoding, reader_of(path, encoding), stamp)
        empty = not table.sample
    except OSError as error:
        raise DataError("TT-D007", path=str(path), reason=system_reason(error)) from error
    if empty:
        raise DataError("TT-D006", path=path.name)
    return table


def _refuse_foreign_content(path: Path, suffix: str) -> None:
    """A renamed archive, spreadsheet or pickle is refused as what it is, not read as text."""
    with path.open("rb") as file:
        start = file.read(8)
    if not start:
        raise DataError("TT-D006", path=path.name)
    is_parquet = start.startswith(b"PAR1")
    if is_parquet and suffix == ".parquet":
        return
    if suffix == ".parquet" or start.startswith(_BINARY_STARTS):
        raise DataError("TT-D008", path=path.name, suffix=suffix)
    if start.startswith(_PICKLE_START) and start[1:2] in b"\x02\x03\x04\x05":
        raise DataError("TT-D002", path=path.name, suffix=suffix)


def _stamp(path: Path) -> tuple[int, int]:
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns
