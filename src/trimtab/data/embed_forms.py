"""The forms in which data for embeddings are published: a query with a text that answers it and others that do
not.

    columns    query or anchor; pos or positive; neg, negative or negative_1, negative_2, ... where there are such
    lists      a cell may hold several texts, as FlagEmbedding's pos and neg do

Two texts with a score are read as a regression is (opening.py); whether a column beside a pair is one is never
guessed. Leaves out: scores of positives for distillation,
instructions of a row's own.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from itertools import islice
from typing import ClassVar

from trimtab.data.columns import ID_NAMES, LABEL_NAMES, PAIR_NAMES
from trimtab.data.corpus import RowKind
from trimtab.data.formed import RowKeys, Unfit
from trimtab.data.labels import label_name, label_number
from trimtab.data.spec import Example, Prefixes, Task
from trimtab.data.table import Table
from trimtab.data.texts import cell_text, text_key
from trimtab.errors import DataError, UsageError

MOST_NEGATIVES = 7
"""Of a row; with its positive a group of eight, as FlagEmbedding trains. Each is one more text to run."""

_QUERIES = ("query", "anchor")
_POSITIVES = ("pos", "positive", "positives")
_NEGATIVE = re.compile(r"(hard_)?neg(ative)?s?(_?\d+)?")
_ID = re.compile(r"(.+[_-]|q|p|doc|pair)?id\d*")
_SAMPLE_ROWS = 100
_MOST_CLASSES = 10
_CLASS_CHARACTERS = 30
# Two columns that are a query and its answer where the task is named; else they may as well be a chat.
_PERHAPS = (
    *PAIR_NAMES, ("query", "passage"), ("query", "answer"), ("question", "answer"), ("question", "passage"),
    ("title", "body"), ("title", "abstract"), ("问题", "答案"), ("问题", "回答"),
)  # fmt: skip


class Defect(IntEnum):
    """Why a row teaches nothing. NONE: it does."""

    NONE = 0
    EMPTY = 1


class Remark(IntEnum):
    """What there is to say of a row that is used."""

    NONE = 0
    MORE = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class RankedForm:
    """A query, a positive and negatives as one table has them. Rows with the same query stay on one side of a
    cut."""

    task: ClassVar[Task] = "embed"
    kind: ClassVar[RowKind] = "apart"
    left_out: ClassVar[Mapping[int, str]] = {Defect.EMPTY: "TT-D140"}
    remarked: ClassVar[Mapping[int, str]] = {Remark.MORE: "TT-D143"}
    broken: ClassVar[str] = "TT-D141"
    name: ClassVar[str] = "ranked"
    label_column: ClassVar[str] = ""

    query: str
    positive: str
    negatives: tuple[str, ...]
    prefixes: Prefixes

    @property
    def text_columns(self) -> tuple[str, ...]:
        return (self.query, self.positive, *self.negatives)

    def keys(self, values: Mapping[str, object]) -> RowKeys:
        query, positives, negatives = self._texts(values)
        if not query.strip() or not positives:
            raise Unfit(Defect.EMPTY)
        more = len(positives) > 1 or len(negatives) > MOST_NEGATIVES
        rest = text_key((positives[0], *negatives))
        return RowKeys(text_key((query,)), rest, Remark.MORE if more else Remark.NONE)

    def example(self, values: Mapping[str, object], target: int | float) -> Example:
        """The query, its first positive, its first negatives, with their prefixes."""
        query, positives, negatives = self._texts(values)
        passages = (positives[0], *negatives[:MOST_NEGATIVES])
        return Example(self.prefixes.put(query, *passages), None)

    def _texts(self, values: Mapping[str, object]) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
        negatives = (text for column in self.negatives for text in _several(values.get(column)))
        return cell_text(values.get(self.query)), _several(values.get(self.positive)), tuple(negatives)


def ranked_form(
    table: Table, task: Task | None, text: tuple[str, ...], label: str | None, prefixes: Prefixes
) -> RankedForm | None:
    """How `table` holds queries with their positives, where it is to be read as such: the task is embed and no
    score is meant, or none was named and nothing else could be. `text` names the columns of query, positive and
    negatives. Raises DataError TT-D142 where the task is embed and the columns are none that are known, TT-D160
    where another column may be a score, TT-D032 and UsageError TT-D144 for those named."""
    if task != "embed":
        plain = task is None and not text and label is None
        return _unscored(table, _by_name(table, prefixes)) if plain else None
    if label is not None:
        return None
    if text:
        return _named(table, text, prefixes)
    return _unscored(table, _by_name(table, prefixes) or _pair(table, prefixes))


def ranked_for_model(
    table: Table, columns: tuple[str, ...], label_column: str, prefixes: Prefixes
) -> RankedForm | None:
    """The form of rows that a finished model is scored on: by name, else by the columns it was trained on. None
    where they hold scores."""
    if label_column and {*columns, label_column} <= set(table.columns):
        return None
    found, asked = _by_name(table, prefixes), not label_column and set(columns[:2]) <= set(table.columns)
    if asked:
        found = found or _named(table, tuple(name for name in columns if name in table.columns), prefixes)
    if asked and set(columns) <= set(table.columns):
        return found  # whatever stands beside them was no score in training
    return _unscored(table, found or _pair(table, prefixes))


def _by_name(table: Table, prefixes: Prefixes) -> RankedForm | None:
    names = {name.lower(): name for name in table.columns}
    query = next((names[name] for name in _QUERIES if name in names), None)
    positive = next((names[name] for name in _POSITIVES if name in names), None)
    if query is None or positive is None:
        return None
    negatives = tuple(name for lower, name in names.items() if _NEGATIVE.fullmatch(lower))
    return RankedForm(query=query, positive=positive, negatives=negatives, prefixes=prefixes)


def _named(table: Table, text: tuple[str, ...], prefixes: Prefixes) -> RankedForm:
    if len(text) < 2 or len(set(text)) < len(text):
        raise UsageError("TT-D144", columns=", ".join(text))
    for name in text:
        if name not in table.columns:
            file = table.place(1, "").file
            raise DataError("TT-D032", path=file, column=name, columns=", ".join(table.columns))
    return RankedForm(query=text[0], positive=text[1], negatives=text[2:], prefixes=prefixes)


def _pair(table: Table, prefixes: Prefixes) -> RankedForm:
    """Two columns that may be a query and its answer."""
    names = {name.lower(): name for name in table.columns}
    pair = next((pair for pair in _PERHAPS if pair[0] in names and pair[1] in names), None)
    if pair is None:
        raise DataError("TT-D142", path=table.place(1, "").file, columns=", ".join(table.columns))
    query, positive = (names[name] for name in pair)
    return RankedForm(query=query, positive=positive, negatives=(), prefixes=prefixes)


def _unscored(table: Table, form: RankedForm | None) -> RankedForm | None:
    """`form`; None where a column beside query and positive is a score or a label by its name: not every row need
    be a positive then. Raises TT-D160 where one may be. A row with negatives says itself what is which."""
    if form is None or form.negatives:
        return form
    others = [name for name in table.columns if name not in form.text_columns and not _is_id(name)]
    if any(name.lower() in LABEL_NAMES for name in others):
        return None
    rows = [values for _, values in islice(table.rows(), _SAMPLE_ROWS)]
    # Columns called query and positive say what they are: words beside them (a source, a language) are no labels.
    words = form.query.lower() not in _QUERIES
    for name in others:
        if _may_be_score([row.get(name) for row in rows], words):
            file = table.place(1, "").file
            raise DataError("TT-D160", path=file, column=name, query=form.query, positive=form.positive)
    return form


def _is_id(name: str) -> bool:
    return name.lower() in ID_NAMES or _ID.fullmatch(name.lower()) is not None


def _may_be_score(cells: list[object], words: bool) -> bool:
    """All numbers, or yes and no; with `words` also a few short names that come again and again."""
    try:
        names = [name for name in map(label_name, cells) if name is not None]
    except TypeError:
        return False  # lists: scores of each positive
    kinds = {name.lower() for name in names}
    if kinds and (kinds <= {"true", "false"} or all(label_number(name) == label_number(name) for name in names)):
        return True
    few = 1 < len(kinds) <= min(_MOST_CLASSES, len(names) // 2)
    return words and few and max(map(len, kinds)) <= _CLASS_CHARACTERS


def _several(value: object) -> tuple[str, ...]:
    """The texts of a cell, without empty ones: one, or a list, also one that a csv file holds as JSON. Raises
    TypeError for anything else."""
    if isinstance(value, str) and value.startswith("["):
        try:
            parsed = json.loads(value)
        except (ValueError, RecursionError):
            parsed = value  # a text that begins with a bracket
        value = parsed
    entries = value if isinstance(value, list | tuple) else [value]
    return tuple(text for text in map(cell_text, entries) if text.strip())
