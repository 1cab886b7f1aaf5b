"""A corpus: a checked data set with its splits. Examples are read from the files again each time they are
asked for; only labels and one bit a row stay in memory."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, Protocol

import numpy as np

from trimtab.data.scan import Scan
from trimtab.data.source import SplitName
from trimtab.data.spec import Example, Prefixes, Problem, Task
from trimtab.data.table import Table
from trimtab.data.texts import cell_text

ExampleOf = Callable[[Mapping[str, object], "int | float"], Example]
RowKind = Literal["labelled", "conversation", "apart", "plain", "words"]
"""How the texts of a row are read: as one sequence with a target; as turns; each by itself (embed); as a piece of
one long text (text); word by word (tag)."""


class Rows(Protocol):
    """Examples that can be gone through again and again, always the same ones."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Example]: ...


@dataclass(frozen=True, eq=False)
class Split:
    """The rows of one split that are in use, in file order.

    `labels` holds their targets in the same order: int64[n] indexes into the corpus' labels, or float64[n] in
    a regression; zeros where a row's target is its own (instruct, text). `in_use` is bool over all rows of the
    tables. `example` makes an Example of a row's cells and its target; `kind`: how its texts are read.
    `further`: rows that stand in none of the tables, after all others; they may have no label. `key`: equal for
    rows, without those, that have the same texts and labels; "" where nobody knows.
    """

    name: SplitName
    columns: tuple[str, ...]
    tables: tuple[Table, ...]
    in_use: np.ndarray
    labels: np.ndarray
    example: ExampleOf
    kind: RowKind = "labelled"
    further: Rows = ()
    key: str = ""

    @property
    def file_bytes(self) -> int:
        """Of the files that its rows stand in. Raises OSError."""
        return sum(file.stat().st_size for table in self.tables for file in table.files)

    def __len__(self) -> int:
        return len(self.labels) + len(self.further)

    def __iter__(self) -> Iterator[Example]:
        """Examples, streamed from the files. Raises DataError where a file has changed since it was
        checked."""
        labels = iter(self.labels.tolist())
        rows = (row for table in self.tables for row in table.rows())
        for (_, values), used in zip(rows, self.in_use, strict=True):
            if used:
                yield self.example(values, next(labels))
        yield from self.further


def split_of(scan: Scan, example: ExampleOf | None = None, kind: RowKind = "labelled") -> Split:
    """The split a scan has come to. A row is its text columns and its target, or what `example` makes of it."""
    in_use = np.zeros(len(scan.numbers), np.bool_)
    in_use[scan.kept] = True
    texts = scan.columns.texts
    made = example or partial(_labelled_texts, texts)
    return Split(scan.name, texts, scan.tables, in_use, scan.kept_targets, made, kind)


def _labelled_texts(columns: tuple[str, ...], values: Mapping[str, object], target: int | float) -> Example:
    return Example(tuple(cell_text(values.get(name)) for name in columns), target)


@dataclass(frozen=True, kw_only=True, eq=False)
class Corpus:
    """A data set ready for use. `labels` are the label names by index, empty in a regression; `columns` the
    text columns; `encoding` names every text encoding met, joined by commas; `fingerprint` is a hash of the
    files and of every choice that decides which rows are used. `counts`: what `label_counts` is, where a row has
    several labels. `form`: how conversations are written in the files
    ("alpaca"), empty for other tasks."""

    name: str
    task: Task
    labels: tuple[str, ...]
    columns: tuple[str, ...]
    label_column: str
    train: Split
    dev: Split
    test: Split | None
    problems: tuple[Problem, ...]
    encoding: str
    files: tuple[str, ...]
    fingerprint: str
    form: str = ""
    counts: tuple[int, ...] = ()

    @property
    def label_counts(self) -> tuple[int, ...]:
        """Train rows of each label, or words; empty in a regression."""
        if self.counts or not self.labels:
            return self.counts
        return tuple(np.bincount(self.train.labels, minlength=len(self.labels)).tolist())


def keyed(corpus: Corpus, prefixes: Prefixes = Prefixes()) -> Corpus:
    """The same corpus, whose splits say by a key what they hold: files, columns, form, labels by number, what is
    put before texts (`prefixes`), and which rows are used."""
    read = (corpus.task, corpus.form, corpus.columns, corpus.label_column, corpus.labels, prefixes)

    def with_key(split: Split) -> Split:
        digest = hashlib.sha256(
            repr((corpus.fingerprint, *read, split.name, split.kind, len(split.in_use))).encode()
        )
        digest.update(np.packbits(split.in_use).tobytes())
        return replace(split, key=digest.hexdigest())

    test = corpus.test and with_key(corpus.test)
    return replace(corpus, train=with_key(corpus.train), dev=with_key(corpus.dev), test=test)


def with_further(corpus: Corpus, further: Rows, key: str) -> Corpus:
    """The same data set with more rows to train on. `key` says which they are: it becomes part of the
    fingerprint."""
    fingerprint = hashlib.sha256(f"{corpus.fingerprint}\0{key}".encode()).hexdigest()
    return replace(corpus, train=replace(corpus.train, further=further), fingerprint=fingerprint)
