"""A corpus: a checked data set with its splits. Examples are read from the files again each time they are
asked for; only labels and one bit a row stay in memory."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from trimtab.data.scan import Scan
from trimtab.data.source import SplitName
from trimtab.data.spec import Example, Problem, Task
from trimtab.data.table import Table
from trimtab.data.texts import cell_text


@dataclass(frozen=True, eq=False)
class Split:
    """The rows of one split that are in use, in file order.

    `labels` holds their targets in the same order: int64[n] indexes into the corpus' labels, or float64[n] in
    a regression. `in_use` is bool over all rows of the tables.
    """

    name: SplitName
    columns: tuple[str, ...]
    tables: tuple[Table, ...]
    in_use: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[Example]:
        """Examples, streamed from the files. Raises DataError where a file has changed since it was
        checked."""
        labels = iter(self.labels.tolist())
        rows = (row for table in self.tables for row in table.rows())
        for (_, values), used in zip(rows, self.in_use, strict=True):
            if used:
                yield Example(tuple(cell_text(values.get(name)) for name in self.columns), next(labels))


def split_of(scan: Scan) -> Split:
    """The split a scan has come to."""
    in_use = np.zeros(len(scan.numbers), np.bool_)
    in_use[scan.kept] = True
    return Split(scan.name, scan.columns.texts, scan.tables, in_use, scan.kept_targets)


@dataclass(frozen=True, kw_only=True, eq=False)
class Corpus:
    """A data set ready for use. `labels` are the label names by index, empty in a regression; `columns` the
    text columns; `encoding` names every text encoding met, joined by commas; `fingerprint` is a hash of the
    files and of every choice that decides which rows are used."""

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

    @property
    def label_counts(self) -> tuple[int, ...]:
        """Train rows of each label; empty in a regression."""
        if not self.labels:
            return ()
        return tuple(np.bincount(self.train.labels, minlength=len(self.labels)).tolist())
