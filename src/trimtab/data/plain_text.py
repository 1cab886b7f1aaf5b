"""Plain text for continued pre-training: one document a row, of a table's text column or of a .txt file.

A .txt file holds documents between blank lines, or, where it has few or none, one document a line (readers.py);
check.py says which. Leaves out: how documents become blocks of tokens (`evaluation.plain_text`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from trimtab.data.columns import choose_text_columns
from trimtab.data.corpus import RowKind
from trimtab.data.formed import RowKeys, Unfit
from trimtab.data.spec import Example, Prefixes, Task
from trimtab.data.table import Table
from trimtab.data.texts import cell_text, text_key
from trimtab.errors import UsageError

_USUAL = ("text", "content", "raw_content", "document", "正文", "内容", "文本")


class Defect(IntEnum):
    """Why a row teaches nothing. NONE: it does."""

    NONE = 0
    EMPTY = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class PlainForm:
    """One column of documents. The same document stands on one side of a cut."""

    task: ClassVar[Task] = "text"
    kind: ClassVar[RowKind] = "plain"
    left_out: ClassVar[Mapping[int, str]] = {Defect.EMPTY: "TT-D153"}
    remarked: ClassVar[Mapping[int, str]] = {}
    broken: ClassVar[str] = "TT-D035"
    name: ClassVar[str] = "documents"
    label_column: ClassVar[str] = ""

    column: str

    @property
    def text_columns(self) -> tuple[str, ...]:
        return (self.column,)

    def keys(self, values: Mapping[str, object]) -> RowKeys:
        text = cell_text(values.get(self.column))
        if not text.strip():
            raise Unfit(Defect.EMPTY)
        return RowKeys(text_key((text,)))

    def example(self, values: Mapping[str, object], target: int | float) -> Example:
        return Example((cell_text(values.get(self.column)),), None)


def plain_form(
    table: Table, task: Task | None, text: tuple[str, ...], label: str | None, prefixes: Prefixes
) -> PlainForm | None:
    """How `table` holds documents, where the task is text. Raises UsageError TT-D154 where more than one column is
    named, or a label; DataError for a column that is not there."""
    if task != "text":
        return None
    if len(text) > 1 or label is not None:
        raise UsageError("TT-D154", columns=", ".join((*text, label) if label else text))
    usual = next((name for name in _USUAL if name in table.columns), None)
    return PlainForm(column=usual if usual and not text else choose_text_columns(table, text)[0])


def plain_for_model(
    table: Table, columns: tuple[str, ...], label_column: str, prefixes: Prefixes
) -> PlainForm | None:
    """The column that a model was trained on, else the usual one."""
    known = columns if set(columns) <= set(table.columns) else ()
    return plain_form(table, "text", known, None, prefixes)
