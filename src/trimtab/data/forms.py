"""Which form the rows of a table are read in, if any: rows of labelled texts have none.

One function a task that has forms; a new one is a line in each of the two tables below."""

from collections.abc import Callable, Mapping

from trimtab.data.chat_forms import detected_form, form_of
from trimtab.data.chats import asked_form as asked_chat
from trimtab.data.embed_forms import ranked_for_model, ranked_form
from trimtab.data.formed import RowForm
from trimtab.data.plain_text import plain_for_model, plain_form
from trimtab.data.several_forms import several_form
from trimtab.data.spec import Prefixes, Task
from trimtab.data.table import Table
from trimtab.data.tag_forms import tag_form, tag_form_for_model

_Asked = Callable[[Table, Task | None, tuple[str, ...], str | None, Prefixes], RowForm | None]
_ForModel = Callable[[Table, tuple[str, ...], str, Prefixes], RowForm | None]


def asked_form(
    table: Table, task: Task | None, text: tuple[str, ...], label: str | None, prefixes: Prefixes
) -> RowForm | None:
    """The form that is asked for, by `task` and the columns named, or that of a table whose task nobody has named
    and which cannot well be anything else. Raises DataError and UsageError as the forms do."""
    found = (asked(table, task, text, label, prefixes) for asked in _ASKED)
    return next((form for form in found if form is not None), None)


def form_for_model(
    table: Table, task: Task, columns: tuple[str, ...], label_column: str, prefixes: Prefixes
) -> RowForm | None:
    """The form of rows that a finished model is scored on; it may be another than the model was trained on, with
    more columns. Raises as `asked_form`."""
    for_model = _FOR_MODEL.get(task)
    return None if for_model is None else for_model(table, columns, label_column, prefixes)


def _chat(
    table: Table, task: Task | None, text: tuple[str, ...], label: str | None, prefixes: Prefixes
) -> RowForm | None:
    return asked_chat(table, task, text, label)


def _chat_for_model(
    table: Table, columns: tuple[str, ...], label_column: str, prefixes: Prefixes
) -> RowForm | None:
    found, known = detected_form(table), {*columns, label_column}
    if found is None and known <= set(table.columns):
        return form_of(table, columns, label_column)
    return found or form_of(table, (), None)


def _tagged(
    table: Table, task: Task | None, text: tuple[str, ...], label: str | None, prefixes: Prefixes
) -> RowForm | None:
    return tag_form(table, task, text, label)


def _tagged_for_model(
    table: Table, columns: tuple[str, ...], label_column: str, prefixes: Prefixes
) -> RowForm | None:
    return tag_form_for_model(table, columns, label_column)


def _several(
    table: Table, task: Task | None, text: tuple[str, ...], label: str | None, prefixes: Prefixes
) -> RowForm | None:
    return several_form(table, task, text, label)


def _several_for_model(
    table: Table, columns: tuple[str, ...], label_column: str, prefixes: Prefixes
) -> RowForm | None:
    return several_form(table, "multilabel", columns, label_column)


_ASKED: tuple[_Asked, ...] = (plain_form, _chat, ranked_form, _tagged, _several)
_FOR_MODEL: Mapping[Task, _ForModel] = {
    "instruct": _chat_for_model,
    "embed": ranked_for_model,
    "text": plain_for_model,
    "tag": _tagged_for_model,
    "multilabel": _several_for_model,
}
