"""Conversations: whether a table is to be read as such, and what a chat model is asked.

Leaves out: what a template makes of turns (chat_template.py), and opening a corpus of them (formed.py).
"""

from collections.abc import Iterator
from pathlib import Path

from trimtab.data.chat_forms import ChatForm, detected_form, form_of, prompt_form
from trimtab.data.formed import Unfit
from trimtab.data.spec import Task, Turn
from trimtab.data.table import Table, open_table
from trimtab.data.texts import read_texts
from trimtab.errors import DataError


def asked_form(table: Table, task: Task | None, text: tuple[str, ...], label: str | None) -> ChatForm | None:
    """How `table` holds conversations, where it is to be read as such: the task is instruct, or none was named and
    nothing else could be meant. Raises as `form_of`."""
    if task == "instruct":
        return form_of(table, text, label)
    return detected_form(table) if task is None and not text and label is None else None


def read_prompts(text: tuple[str, ...], file: str | None, columns: tuple[str, ...]) -> Iterator[tuple[Turn, ...]]:
    """What a chat model is asked, streamed: each of `text`; or of `file` each row, its last answer left out where
    it has one, or each line of a .txt file and of standard input ("-"). `columns` are the prompt columns it was
    trained on, for a file that holds nothing else. Raises DataError TT-D108 for a row that asks nothing."""
    if file is None:
        yield from ((Turn("user", words),) for words in text)
        return
    if file == "-" or file.endswith(".txt") or Path(file).is_dir() or not Path(file).expanduser().exists():
        yield from ((Turn("user", words),) for (words,) in read_texts(file))
        return
    table = open_table(Path(file).expanduser())
    form = prompt_form(table, columns)
    for number, values in table.rows():
        try:
            yield form.prompt(values)
        except (Unfit, TypeError) as error:
            place = table.place(number, form.columns[0])
            raise DataError("TT-D108", path=place.file, row=place.row, column=place.column) from error
