"""Rows with any number of labels: how a table holds them. One column with a list, or with names between
separators, or a column of 0 and 1 for each label.

A list is known by itself, in csv as JSON or Python writes it; the other two are read where the task is asked for.
An empty list, an empty text and a row of zeros have none of the labels; null is a row that nobody has labelled.
"""

import ast
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial
from itertools import islice
from typing import ClassVar

from trimtab.data.columns import ID_NAMES, LABEL_NAMES, choose_text_columns
from trimtab.data.corpus import RowKind
from trimtab.data.formed import RowKeys, Unfit
from trimtab.data.labels import label_name, sorted_labels
from trimtab.data.name_book import NameBook
from trimtab.data.spec import Example, Problem, Task
from trimtab.data.table import Table
from trimtab.data.texts import cell_text, text_key
from trimtab.errors import DataError

_SAMPLE_ROWS = 100
_SEPARATORS = ("|｜", ";；", "、", ",，")
"""Marks of one family separate alike. The first family that occurs is the one."""
_MOST_LIST_CHARACTERS = 100_000
# A list of plain literals. Stricter than Python, which takes 'a' 'b', as NumPy writes two names, for one.
_ESCAPED = r"\\[\\'\"nrtabfvxuUN0-7]"
_LITERAL = rf"(?:'(?:[^'\\\n]|{_ESCAPED})*'|\"(?:[^\"\\\n]|{_ESCAPED})*\"|[+-]?[\d.]+|None|True|False)"
_PYTHON_LIST = re.compile(rf"\[\s*(?:{_LITERAL}\s*(?:,\s*{_LITERAL}\s*)*(?:,\s*)?)?\]")
_YES, _NO = ("1", "true"), ("0", "false", "")
Read = Callable[[Mapping[str, object]], list[str] | None]


class Defect(IntEnum):
    """Why a row is left out. NONE: it is not."""

    NONE = 0
    EMPTY = 1
    UNLABELLED = 2


class Remark(IntEnum):
    """What is told of a row that is used."""

    NO_LABEL = 1


@dataclass(frozen=True, slots=True)
class SeveralForm:
    """One table's text columns and how its labels are written. `read` gives the labels of a row, None where nobody
    has given it any, and raises TypeError for a cell of another kind. `book` is filled as rows are read."""

    task: ClassVar[Task] = "multilabel"
    kind: ClassVar[RowKind] = "labelled"
    left_out: ClassVar[Mapping[int, str]] = {Defect.EMPTY: "TT-D060", Defect.UNLABELLED: "TT-D134"}
    remarked: ClassVar[Mapping[int, str]] = {Remark.NO_LABEL: "TT-D135"}
    broken: ClassVar[str] = "TT-D136"

    name: str
    text_columns: tuple[str, ...]
    label_column: str
    read: Read
    book: NameBook = field(default_factory=NameBook, compare=False)

    def keys(self, values: Mapping[str, object]) -> RowKeys:
        """Of the texts, and of the labels in any order. Raises Unfit and TypeError."""
        texts, labels = self._texts(values), self._labels(values)
        if not all(text.strip() for text in texts):
            raise Unfit(Defect.EMPTY)
        self.book.enter(labels)
        return RowKeys(text_key(texts), text_key(sorted(labels)), 0 if labels else Remark.NO_LABEL)

    def example(self, values: Mapping[str, object], target: int | float) -> Example:
        return Example(self._texts(values), self.book.numbers(self._labels(values)))

    def settle(self, known: tuple[str, ...]) -> tuple[str, ...]:
        """The labels by number. Raises DataError TT-D133 for one that is not among `known`, TT-D137 where no row
        has any."""
        labels = self.book.settle(known, lambda names: sorted_labels(tuple(names)))
        if not labels:
            raise DataError("TT-D137", column=self.label_column)
        return labels

    def problems(self) -> list[Problem]:
        return []

    def _texts(self, values: Mapping[str, object]) -> tuple[str, ...]:
        return tuple(cell_text(values.get(name)) for name in self.text_columns)

    def _labels(self, values: Mapping[str, object]) -> list[str]:
        """Each once, in the order of the row."""
        found = self.read(values)
        if found is None:
            raise Unfit(Defect.UNLABELLED)
        return list(dict.fromkeys(found))


def several_form(table: Table, task: Task | None, text: tuple[str, ...], label: str | None) -> SeveralForm | None:
    """How `table` holds rows of several labels, where that is asked for, or where nothing is and the label column
    holds lists. Raises DataError TT-D138 where no column of labels is to be found."""
    if task not in (None, "multilabel"):
        return None
    names = {name.lower(): name for name in reversed(table.columns) if name not in text}
    column = label or next((names[name] for name in LABEL_NAMES if name in names), None)
    if column in table.columns and _holds_lists(table, str(column)):
        return _form("list", table, text, (str(column),), partial(_members, str(column)))
    if task is None:
        return None
    return _separated(table, text, column) or _flagged(table, text, label) or _none_found(table)


def _form(name: str, table: Table, text: tuple[str, ...], labels: tuple[str, ...], read: Read) -> SeveralForm:
    texts = choose_text_columns(table, text, not_these=labels)
    return SeveralForm(name, texts, ",".join(labels), read)


def _separated(table: Table, text: tuple[str, ...], column: str | None) -> SeveralForm | None:
    if column is None or column not in table.columns:
        return None
    marks = _separator(table, column)
    return _form(marks[0], table, text, (column,), partial(_between, column, re.compile(f"[{marks}]")))


def _separator(table: Table, column: str) -> str:
    """The first family of marks in any row: the whole file is read, since most rows may have one label."""
    best = len(_SEPARATORS)
    for _, values in table.rows():
        cell = values.get(column)
        if isinstance(cell, str) and not _begins_list(cell):
            found = (at for at in range(best) if any(mark in cell for mark in _SEPARATORS[at]))
            best = next(found, best)
        if not best:
            break
    return _SEPARATORS[best % len(_SEPARATORS)]


def _flagged(table: Table, text: tuple[str, ...], label: str | None) -> SeveralForm | None:
    """Columns of 0 and 1: those named, with commas between, else all that hold nothing else."""
    if label is not None:
        named = tuple(part.strip() for part in label.split(","))
        flags = named if set(named) <= set(table.columns) else ()
    else:
        others = [name for name in table.columns if name not in text and name.lower() not in ID_NAMES]
        flags = tuple(name for name in others if all(map(_is_flag, _sample(table, name))))
    return _form("columns", table, text, flags, partial(_marked, flags)) if len(flags) > 1 else None


def _none_found(table: Table) -> SeveralForm | None:
    raise DataError("TT-D138", path=table.place(1, "").file, columns=", ".join(table.columns))


def _holds_lists(table: Table, column: str) -> bool:
    """Whether the first rows hold lists of names, or lists as JSON or Python writes them, and nothing else."""
    cells = [cell for cell in _sample(table, column) if cell not in (None, "")]
    try:
        return bool(cells) and all(_listed(cell) is not None for cell in cells)
    except TypeError:
        return False


def _sample(table: Table, column: str) -> list[object]:
    return [values.get(column) for _, values in islice(table.rows(), _SAMPLE_ROWS)]


def _is_flag(cell: object) -> bool:
    return not isinstance(cell, list | dict | tuple) and cell_text(cell).strip().lower() in (*_YES, *_NO)


# --- from cells to names; None = nobody has labelled the row


def _members(column: str, values: Mapping[str, object]) -> list[str] | None:
    cell = values.get(column)
    if cell is None:
        return None
    found = _listed(cell)
    if found is None:
        raise TypeError
    return found


def _between(column: str, marks: re.Pattern[str], values: Mapping[str, object]) -> list[str] | None:
    cell = values.get(column)
    if cell is None:
        return None
    text = cell_text(cell)
    return _members(column, values) if _begins_list(text) else _named(marks.split(text))


def _marked(columns: tuple[str, ...], values: Mapping[str, object]) -> list[str] | None:
    cells = {name: cell_text(values.get(name)).strip().lower() for name in columns}
    if not set(cells.values()) <= {*_YES, *_NO}:
        raise TypeError
    return None if not any(cells.values()) else [name for name, cell in cells.items() if cell in _YES]


def _listed(cell: object) -> list[str] | None:
    """The names in a list, or in one that is written in JSON or in Python; None where it is none of them. Raises
    TypeError for a list of other things."""
    if isinstance(cell, str):
        if not cell.strip():
            return []
        cell = _written(cell.strip()) if _begins_list(cell) else None
    return _named(cell) if isinstance(cell, list | tuple) else None


def _begins_list(cell: str) -> bool:
    return cell.lstrip().startswith("[")


def _written(cell: str) -> object:
    """What JSON, else Python, reads in `cell`; None where neither does."""
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        pass
    if len(cell) > _MOST_LIST_CHARACTERS or _PYTHON_LIST.fullmatch(cell) is None:
        return None
    try:
        return ast.literal_eval(cell)
    except (ValueError, SyntaxError):
        return None


def _named(cells: Sequence[object]) -> list[str]:
    return [name for name in map(label_name, cells) if name is not None]
