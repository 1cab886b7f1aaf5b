"""Sentences of tagged words: how a table holds them, and what a tagger is asked.

Two columns, of words and of tags, each a list as long as the other; in csv files the lists are JSON, or their
members stand between spaces. Leaves out what tags say (tag_schemes.py).
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import chain, islice
from pathlib import Path
from typing import ClassVar

from trimtab.data.columns import choose_text_columns
from trimtab.data.corpus import RowKind
from trimtab.data.formed import RowKeys, Unfit
from trimtab.data.labels import label_name
from trimtab.data.name_book import NameBook
from trimtab.data.spec import Example, Problem, Task
from trimtab.data.table import Table, open_table
from trimtab.data.tag_schemes import TagCounter, TagSet, sorted_tags
from trimtab.data.texts import cell_text, read_texts, text_key
from trimtab.data.words import Sentence, joined, sentence_of
from trimtab.errors import DataError, UsageError, message

_WORDS = ("tokens", "words", "token", "word", "字", "词")
_TAGS = ("tags", "ner_tags", "ner", "labels", "pos_tags", "tag", "label", "标签")
_SAMPLE_ROWS = 100


class Defect(IntEnum):
    """Why a row is no tagged sentence. NONE: it is one."""

    NONE = 0
    NO_WORDS = 1
    NO_TAGS = 2
    LENGTHS = 3


@dataclass(frozen=True, slots=True)
class TagForm:
    """One table's columns of words and of tags. `book` and `counter` are filled as rows are read."""

    task: ClassVar[Task] = "tag"
    kind: ClassVar[RowKind] = "words"
    left_out: ClassVar[Mapping[int, str]] = {
        Defect.NO_WORDS: "TT-D121",
        Defect.NO_TAGS: "TT-D122",
        Defect.LENGTHS: "TT-D123",
    }
    remarked: ClassVar[Mapping[int, str]] = {}
    broken: ClassVar[str] = "TT-D120"

    words: str
    tags: str
    book: NameBook = field(default_factory=NameBook, compare=False)
    counter: TagCounter = field(default_factory=TagCounter, compare=False)

    @property
    def name(self) -> str:
        """The scheme of the tags, once all rows have been read."""
        return self.counter.scheme()

    @property
    def text_columns(self) -> tuple[str, ...]:
        return (self.words,)

    @property
    def label_column(self) -> str:
        return self.tags

    def keys(self, values: Mapping[str, object]) -> RowKeys:
        """Of the words, and of the tags. Raises Unfit, and TypeError for a cell that is no list."""
        words, tags = self._row(values)
        self.book.enter(tags)
        self.counter.add(tags)
        return RowKeys(text_key(words), text_key(tags))

    def example(self, values: Mapping[str, object], target: int | float) -> Example:
        words, tags = self._row(values)
        return Example(tuple(words), self.book.numbers(tags))

    def settle(self, known: tuple[str, ...]) -> tuple[str, ...]:
        """The tags by number. Raises DataError TT-D124 where some are written by a scheme and some are not,
        TT-D125 where all words have the same, TT-D133 for one that is not among `known`."""
        met = TagSet(sorted_tags(self.counter.names))
        if met.is_mixed:
            raise DataError("TT-D124", column=self.tags, tags=", ".join(met.strangers[:10]))
        if not known and len(met.names) == 1:
            raise DataError("TT-D125", column=self.tags, tag=met.names[0])
        return self.book.settle(known, sorted_tags)

    def problems(self) -> list[Problem]:
        """What there is to say of the tags of all rows."""
        found = []
        if self.name == "plain":
            found.append(Problem(message("TT-D127", column=self.tags), "reported", 0))
        if strays := self.counter.strays():
            note = message("TT-D129", count=strays, scheme=self.name)
            found.append(Problem(note, "reported", strays))
        return found

    def _row(self, values: Mapping[str, object]) -> tuple[list[str], list[str]]:
        words = [cell_text(word) for word in _list(values.get(self.words))]
        if not words:
            raise Unfit(Defect.NO_WORDS)
        tags = [label_name(tag) for tag in _list(values.get(self.tags))]
        if not tags or None in tags:
            raise Unfit(Defect.NO_TAGS)
        if len(tags) != len(words):
            raise Unfit(Defect.LENGTHS)
        return words, [tag for tag in tags if tag is not None]


def tag_form(table: Table, task: Task | None, text: tuple[str, ...], label: str | None) -> TagForm | None:
    """How `table` holds tagged sentences: its columns as named, else by name; None where another task is asked
    for, or none and the columns do not hold lists of the same length. Raises DataError TT-D132 where there are no
    such columns, UsageError TT-D033 where two text columns are named."""
    if task not in (None, "tag"):
        return None
    if task == "tag" and len(text) > 1:
        raise UsageError("TT-D033", columns=", ".join(text))
    by_name = {name.lower(): name for name in reversed(table.columns)}
    words = text[0] if len(text) == 1 else next((by_name[name] for name in _WORDS if name in by_name), None)
    tags = label or next((by_name[name] for name in _TAGS if name in by_name and by_name[name] != words), None)
    if words not in table.columns or tags not in table.columns:
        if task is None:
            return None
        raise DataError("TT-D132", path=table.place(1, "").file, columns=", ".join(table.columns))
    assert words is not None and tags is not None, "they are columns"
    return TagForm(words, tags) if task == "tag" or _are_lists(table, words, tags) else None


def tag_form_for_model(table: Table, columns: tuple[str, ...], label_column: str) -> TagForm | None:
    """As the model was trained, else as the columns are named. Raises as `tag_form`."""
    known = {*columns, label_column} <= set(table.columns)
    return TagForm(columns[0], label_column) if known else tag_form(table, "tag", (), None)


def read_sentences(text: tuple[str, ...], file: str | None, columns: tuple[str, ...]) -> Iterator[Sentence]:
    """What a tagger is asked, streamed: each of `text`; or of `file` each row, whose words are taken as they are
    where the column of words is there, or each line of a .txt file and of standard input ("-"). Raises
    DataError."""
    if file is None:
        yield from map(sentence_of, text)
        return
    if file == "-" or file.endswith(".txt") or not Path(file).expanduser().is_file():
        yield from (sentence_of(line) for (line,) in read_texts(file))
        return
    table = open_table(Path(file).expanduser())
    words = next((name for name in (*columns, *_WORDS) if name in table.columns), None)
    name = words or choose_text_columns(table, ())[0]
    for number, values in table.rows():
        cell = values.get(name)
        try:
            yield joined([cell_text(word) for word in _list(cell)]) if words else sentence_of(cell_text(cell))
        except TypeError as error:
            raise DataError("TT-D120", path=table.path.name, row=number, column=name) from error


def _are_lists(table: Table, words: str, tags: str) -> bool:
    """Both columns hold lists, of the same length, in all of the first rows but empty ones."""
    rows = [(values.get(words), values.get(tags)) for _, values in islice(table.rows(), _SAMPLE_ROWS)]
    pairs = [(left, right) for left, right in rows if left is not None and right is not None]
    if any(map(_is_plain, chain.from_iterable(pairs))):
        return False
    try:
        return bool(pairs) and all(len(_list(left)) == len(_list(right)) for left, right in pairs)
    except TypeError:
        return False


def _is_plain(cell: object) -> bool:
    """A text that is no list in JSON."""
    return isinstance(cell, str) and not cell.lstrip().startswith("[")


def _list(cell: object) -> list[object]:
    """Members of a cell: a list, one in JSON, or what stands between spaces. Raises TypeError for others."""
    if cell is None:
        return []
    if isinstance(cell, str):
        if _is_plain(cell):
            return list(cell.split())
        try:
            cell = json.loads(cell)
        except (ValueError, RecursionError) as error:
            raise TypeError from error
    if not isinstance(cell, list | tuple):
        raise TypeError
    return list(cell)
