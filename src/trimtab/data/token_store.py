"""The token store: what a tokenizer makes of the rows of a split, made once, kept in flat files that are mapped.

    FOLDER/KEY/ids.bin      all tokens, one text after the other, nothing cut or padded
               starts.bin   where each text begins; further arrays where a task has them (see `Tokens`)
               facts.json   which arrays there are, how long, and a sum of each; written last

KEY is made of what decides the numbers: the whole tokenizer, the chat template, the bytes of the data files and
every choice that says which rows are used and how they are read. So nothing found under it can be stale. A folder
is written beside, flushed to the disk and renamed when it is whole; what is found is held to its sums.

Leaves out how rows become tokens (`token_rows`) and how tokens are cut and become batches (`evaluation.stored`).
"""

import contextlib
import json
import mmap
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from io import FileIO
from pathlib import Path

import numpy as np

from trimtab.data.corpus import Split
from trimtab.home import folder_atomically, make_room
from trimtab.units import GIB, MIB

_FACTS = "facts.json"
_FORMAT = 1
_PIECE_BYTES = MIB
_PIECE_ROWS = 1 << 16
_KEPT_BYTES = 16 * GIB
_KEPT_SECONDS = 90 * 24 * 3600
_STORED_BYTES = MIB  # of a split's files, from which on its tokens are kept


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokens:
    """Tokens of rows, nothing cut. A row is one text (of a pair both in one), or several, each by itself (embed).

    ids     whole numbers (tokens)
    starts  int64 (texts + 1): the first token of each text
    rows    int64 (rows + 1): the first text of each row; None = one text a row
    keys    int64 (texts), with `rows` only: equal for equal tokens
    seconds int32 (rows): where the second text of a pair begins; None = no pairs
    learned bool (tokens): of conversations, those of answers
    labels  int64 (labels): those of rows that have several, row after row, or of the words of sentences
    firsts  int64 (rows + 1): the first label of each row
    places  int64 (labels), of sentences only: which of all tokens a word begins with, -1 where it is none
    """

    ids: np.ndarray
    starts: np.ndarray
    rows: np.ndarray | None = None
    keys: np.ndarray | None = None
    seconds: np.ndarray | None = None
    learned: np.ndarray | None = None
    labels: np.ndarray | None = None
    firsts: np.ndarray | None = None
    places: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.starts if self.rows is None else self.rows) - 1

    def arrays(self) -> Iterator[tuple[str, np.ndarray]]:
        """Those that are there, by name."""
        for one in fields(self):
            if (array := getattr(self, one.name)) is not None:
                yield one.name, array

    def part(self, first: int, end: int) -> "Tokens":
        """Rows from `first` up to `end`, as views; places and starts count from the first of them."""
        texts = slice(first, end) if self.rows is None else slice(int(self.rows[first]), int(self.rows[end]))
        tokens = slice(int(self.starts[texts.start]), int(self.starts[texts.stop]))
        labels = slice(0, 0) if self.firsts is None else slice(int(self.firsts[first]), int(self.firsts[end]))
        return Tokens(
            ids=self.ids[tokens],
            starts=self.starts[texts.start : texts.stop + 1] - tokens.start,
            rows=None if self.rows is None else self.rows[first : end + 1] - texts.start,
            keys=None if self.keys is None else self.keys[texts],
            seconds=None if self.seconds is None else self.seconds[first:end],
            learned=None if self.learned is None else self.learned[tokens],
            labels=None if self.labels is None else self.labels[labels],
            firsts=None if self.firsts is None else self.firsts[first : end + 1] - labels.start,
            places=None if self.places is None else moved(self.places[labels], -tokens.start),
        )

    def parts(self) -> Iterator["Tokens"]:
        """All rows, some ten thousand at a time; of mapped arrays no more than that stays in memory."""
        for first in range(0, len(self), _PIECE_ROWS):
            yield self.part(first, min(first + _PIECE_ROWS, len(self)))
            for _, array in self.arrays():
                let_go(array)


def moved(places: np.ndarray, by: int | np.ndarray) -> np.ndarray:
    """Places of words among tokens of which `by` more stand before; what has no place still has none."""
    return np.where(places < 0, -1, places + by)


def let_go(array: np.ndarray) -> None:
    """Give back the memory of what has been read of a mapped array: it counts as the process's own, and is on the
    disk. Nothing where an array is in memory, or the system has no such call."""
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)


@dataclass(frozen=True, slots=True)
class TokenStore:
    """Tokens kept in `folder`; of splits whose files have less than `least_bytes` nothing is kept, since they are
    tokenised in a moment. `builds`: whether what is not there is made, or only looked for."""

    folder: Path
    builds: bool = True
    least_bytes: int = _STORED_BYTES

    def takes(self, split: Split) -> bool:
        """Whether tokens of these rows are kept: they come from files alone, which are not small."""
        return bool(split.key) and split.further == () and split.file_bytes >= self.least_bytes

    def find(self, key: str) -> Tokens | None:
        """What is kept under `key`, mapped; None where there is nothing, or it is damaged, and then deleted."""
        entry = self.folder / key
        if not entry.is_dir():
            return None
        try:
            found = _opened(entry)
        except (OSError, ValueError, KeyError, TypeError):
            shutil.rmtree(entry, ignore_errors=True)
            return None
        with contextlib.suppress(OSError):  # of another user, or a disk that is only read
            os.utime(entry)  # what was used last is deleted last
        return found

    def build(self, key: str, blocks: Iterable[Tokens], largest_id: int, expected_bytes: int) -> Tokens:
        """Keep `blocks`, rows in order, under `key`; ids in the smallest whole numbers that hold `largest_id`.
        Raises OSError where they cannot be kept, and whatever making a block raises; nothing is left then."""
        make_room(self.folder, expected_bytes, facts=_FACTS, most_bytes=_KEPT_BYTES, most_seconds=_KEPT_SECONDS)
        try:
            with folder_atomically(self.folder / key) as beside:
                writer = _Writer(beside, np.min_scalar_type(largest_id))
                for block in blocks:
                    writer.add(block)
                writer.finish()
        except OSError:
            if not (self.folder / key / _FACTS).is_file():  # it is there where another process was quicker
                raise
        _flush(self.folder)
        found = self.find(key)
        if found is None:
            raise OSError(f"{self.folder / key}: what was written is not what is read")
        return found


@dataclass(slots=True)
class _File:
    """One array on its way to the disk. Mutable."""

    file: FileIO
    dtype: np.dtype
    length: int = 0
    sum: int = 0

    def add(self, numbers: np.ndarray) -> None:
        if not len(numbers):
            return
        left = np.ascontiguousarray(numbers, self.dtype).data.cast("B")
        self.length, self.sum = self.length + len(numbers), zlib.crc32(left, self.sum)
        while left:
            left = left[self.file.write(left) :]


@dataclass(slots=True)
class _Writer:
    """Puts blocks one after the other: what counts from the first token, text or label of a block goes on from
    the last of the block before. Mutable."""

    folder: Path
    ids: np.dtype
    _files: dict[str, _File] = field(default_factory=dict)

    def add(self, block: Tokens) -> None:
        before = {"starts": self._length("ids"), "rows": self._texts(), "firsts": self._length("labels")}
        tokens = before["starts"]
        for name, array in block.arrays():
            file = self._file(name, array.dtype)
            if name in before:  # the first stands there already, as the end of the block before
                file.add(array[1 if file.length else 0 :] + before[name])
            else:
                file.add(moved(array, tokens) if name == "places" else array)

    def finish(self) -> None:
        """All rows are there. Raises OSError."""
        if not self._files:
            self.add(Tokens(ids=np.zeros(0, self.ids), starts=np.zeros(1, np.int64)))
        for one in self._files.values():
            one.file.flush()
            os.fsync(one.file.fileno())
            one.file.close()
        arrays = {name: [one.dtype.str, one.length, one.sum] for name, one in self._files.items()}
        with (self.folder / _FACTS).open("w", encoding="utf-8") as file:
            json.dump({"format": _FORMAT, "arrays": arrays}, file)
            file.flush()
            os.fsync(file.fileno())
        _flush(self.folder)

    def _file(self, name: str, dtype: np.dtype) -> _File:
        if name not in self._files:
            kept = self.ids if name == "ids" else dtype
            self._files[name] = _File((self.folder / f"{name}.bin").open("wb", buffering=0), kept)
        return self._files[name]

    def _length(self, name: str) -> int:
        return self._files[name].length if name in self._files else 0

    def _texts(self) -> int:
        return max(0, self._length("starts") - 1)


def _opened(entry: Path) -> Tokens:
    """Raises OSError, and ValueError, KeyError, TypeError where it is not what was written."""
    facts = json.loads((entry / _FACTS).read_text(encoding="utf-8"))
    if facts["format"] != _FORMAT:
        raise ValueError(facts["format"])
    return Tokens(**{name: _mapped(entry / f"{name}.bin", *said) for name, said in facts["arrays"].items()})


def _mapped(path: Path, dtype: str, length: int, kept_sum: int) -> np.ndarray:
    """The sum is of plain reads: pages that were mapped would count as memory of the process."""
    kind, found, size = np.dtype(dtype), 0, 0
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_PIECE_BYTES):
            found, size = zlib.crc32(piece, found), size + len(piece)
    if (size, found) != (length * kind.itemsize, kept_sum):
        raise ValueError(path)
    return np.memmap(path, kind, "r").view(np.ndarray) if length else np.zeros(0, kind)


def _flush(folder: Path) -> None:
    """Have the names in a folder on the disk, where the system lets one."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
