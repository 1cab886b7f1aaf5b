"""One pass over the rows of a split: what the checks and the splitting need to know of each, in 45 bytes a
row."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from trimtab.data.columns import Columns
from trimtab.data.labels import MISSING, OVERFLOW, LabelBook
from trimtab.data.source import SplitName
from trimtab.data.spec import Place
from trimtab.data.table import Table
from trimtab.data.texts import cell_text, stripped_key
from trimtab.errors import DataError


@dataclass(frozen=True, kw_only=True, eq=False)
class Scan:
    """Facts of all rows of one split, in file order, and which of them are kept.

    numbers: row numbers in their files, int64[n]; starts: index of each table's first row; keys: hash of the
    texts, uint64[n]; codes: label codes of the LabelBook, int32[n]; values: labels as numbers or NaN,
    float64[n]; empty: a text is empty, bool[n]; kept: indexes of the rows in use, int64[k], ascending;
    targets: what the model learns, int64[n] or float64[n], known once the task is.
    """

    name: SplitName
    tables: tuple[Table, ...]
    columns: Columns
    numbers: np.ndarray
    starts: np.ndarray
    keys: np.ndarray
    codes: np.ndarray
    values: np.ndarray
    empty: np.ndarray
    kept: np.ndarray
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.kept)

    @property
    def kept_keys(self) -> np.ndarray:
        return self.keys[self.kept]

    @property
    def kept_targets(self) -> np.ndarray:
        return self.targets[self.kept]

    @property
    def overflowed(self) -> bool:
        """A label came after as many as are remembered by name."""
        return bool((self.codes == OVERFLOW).any())

    def keep(self, mask: np.ndarray) -> "Scan":
        """The same rows with fewer of them in use; `mask` is bool[k] over the kept rows."""
        return replace(self, kept=self.kept[mask])

    def without_empty_texts(self) -> "Scan":
        return self.keep(~self.empty[self.kept])

    def with_targets(self, labels: Sequence[str], book: LabelBook) -> "Scan":
        """The same rows with their targets: indexes into `labels` (MISSING for a label not among them and
        for a code without a name), or, without labels, the numbers themselves."""
        if not labels:
            return replace(self, targets=self.values)
        index = {label: i for i, label in enumerate(labels)}
        # The last entry is for all codes below zero, which would otherwise count from the end.
        by_code = np.array([*(index.get(name, MISSING) for name in book.names), MISSING], np.int64)
        return replace(self, targets=by_code[np.maximum(self.codes, -1)])

    def place(self, index: int, column: str) -> Place:
        """Where row `index` (of all rows) stands."""
        table = int(np.searchsorted(self.starts, index, side="right")) - 1
        return self.tables[table].place(int(self.numbers[index]), column)


def scan(name: SplitName, tables: Sequence[Table], columns: Columns, book: LabelBook) -> Scan:
    """Read a split once. Labels are entered in `book`. Raises DataError with the row where a cell holds a
    list or the file cannot be read."""
    numbers, keys, codes, values, empty = array("q"), array("Q"), array("i"), array("d"), array("b")
    starts = []
    for table in tables:
        starts.append(len(numbers))
        for number, row in table.rows():
            try:
                texts = [cell_text(row.get(column)).strip() for column in columns.texts]
            except TypeError as error:
                raise _not_one_value("TT-D035", table, number, ", ".join(columns.texts)) from error
            try:
                code, value = book.enter(row.get(columns.label))
            except TypeError as error:
                raise _not_one_value("TT-D036", table, number, columns.label) from error
            numbers.append(number)
            keys.append(stripped_key(texts))
            codes.append(code)
            values.append(value)
            empty.append("" in texts)
    return Scan(
        name=name,
        tables=tuple(tables),
        columns=columns,
        numbers=np.array(numbers, np.int64),
        starts=np.array(starts, np.int64),
        keys=np.array(keys, np.uint64),
        codes=np.array(codes, np.int32),
        values=np.array(values, np.float64),
        empty=np.array(empty, np.bool_),
        kept=np.arange(len(numbers)),
        targets=np.full(len(numbers), MISSING),
    )


def _not_one_value(code: str, table: Table, number: int, column: str) -> DataError:
    place = table.place(number, column)
    return DataError(code, path=place.file, row=place.row, column=column)
