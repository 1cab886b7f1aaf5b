"""The forms in which conversations are published, one function each: from the cells of a row to a Conversation.

    alpaca      instruction, output; input, system and history where there are such columns
    sharegpt    conversations: a list of {from, value}
    messages    messages: a list of {role, content}, as OpenAI's
    prompt      two columns of plain text: prompt and completion, question and answer, ...

Leaves out: tools and their calls, images, and several candidate answers to one prompt.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from itertools import islice
from typing import ClassVar

from trimtab.data.columns import LABEL_NAMES
from trimtab.data.corpus import RowKind
from trimtab.data.formed import RowKeys, Unfit
from trimtab.data.spec import Conversation, Example, Speaker, Task, Turn
from trimtab.data.table import Table
from trimtab.data.texts import cell_text, text_key
from trimtab.errors import DataError, UsageError

_ROLES: Mapping[str, Speaker] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
}
_LISTS = ("messages", "conversations", "conversation", "dialogue")
_KEYS = {"messages": ("role", "content"), "sharegpt": ("from", "value")}
# Pairs of columns that are a prompt and its answer whatever they hold; and pairs that may as well be a text and
# its label, told apart by what they hold.
_PROMPTS = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("prompt", "answer"),
    ("instruction", "response"),
    ("query", "response"),
    ("question", "response"),
)
_PERHAPS = (("question", "answer"), ("问题", "答案"), ("问题", "回答"), ("input", "output"), ("query", "answer"))
_SAMPLE_ROWS = 100
_ANSWER_CHARACTERS = 20  # on average; labels are shorter


class Defect(IntEnum):
    """Why a row is no conversation to learn from. NONE: it is one."""

    NONE = 0
    NO_ANSWER = 1
    EMPTY = 2
    ROLES = 3


@dataclass(frozen=True, slots=True)
class ChatForm:
    """One form as one table has it. `columns` are those it reads, the column of the answer last; `turns` gives the
    turns of a row, with their roles as the file writes them, and raises TypeError for a cell of another kind.

    Two rows are the same question where all turns before the last answer are equal."""

    task: ClassVar[Task] = "instruct"
    kind: ClassVar[RowKind] = "conversation"
    left_out: ClassVar[Mapping[int, str]] = {
        Defect.NO_ANSWER: "TT-D103",
        Defect.EMPTY: "TT-D104",
        Defect.ROLES: "TT-D105",
    }
    remarked: ClassVar[Mapping[int, str]] = {}
    broken: ClassVar[str] = "TT-D102"

    name: str
    columns: tuple[str, ...]
    turns: Callable[[Mapping[str, object]], Iterable[tuple[str, str]]]

    def conversation(self, values: Mapping[str, object]) -> Conversation:
        """The turns of a row up to its last answer. Raises Unfit with what is wrong with it, TypeError where a
        cell holds something else than turns."""
        turns = _known_turns(self.turns(values))
        while turns and turns[-1].role != "assistant":
            turns.pop()
        if not turns:
            raise Unfit(Defect.NO_ANSWER)
        _check_order(turns)
        if any(not turn.text.strip() for turn in turns if turn.role != "system"):
            raise Unfit(Defect.EMPTY)
        return Conversation(tuple(turns))

    def prompt(self, values: Mapping[str, object]) -> tuple[Turn, ...]:
        """The turns of a row without its last answer, if it has one: what a model is asked. Raises as
        `conversation`."""
        turns = _known_turns(self.turns(values))
        while turns and turns[-1].role != "user":
            turns.pop()
        if not turns:
            raise Unfit(Defect.EMPTY)
        _check_order(turns)
        return tuple(turns)

    @property
    def text_columns(self) -> tuple[str, ...]:
        return self.columns[:-1] or self.columns

    @property
    def label_column(self) -> str:
        return self.columns[-1]

    def keys(self, values: Mapping[str, object]) -> RowKeys:
        """Of what comes before the last answer, and of that answer. Raises as `conversation`."""
        talk = self.conversation(values)
        asked = [f"{turn.role}\0{turn.text.strip()}" for turn in talk.prompt]
        return RowKeys(text_key(asked), text_key((talk.answer,)))

    def example(self, values: Mapping[str, object], target: int | float) -> Example:
        return Example((), None, self.conversation(values))


def form_of(table: Table, text: tuple[str, ...], label: str | None) -> ChatForm:
    """How `table` holds conversations. `text` names one or two columns of the prompt and `label` that of the
    answer, which may be those of a form; without them it is found by name and content. Raises DataError TT-D100
    where there is none, UsageError TT-D101 where only one of both is named."""
    found = detected_form(table)
    if text or label is not None:
        of_form = found is not None and set(found.columns) == {*text, label}
        return found if found is not None and of_form else _named(table, text, label)
    found = found or next(_pairs(table, _PERHAPS), None)
    if found is None:
        raise DataError("TT-D100", path=table.place(1, "").file, columns=", ".join(table.columns))
    return found


def prompt_form(table: Table, columns: tuple[str, ...]) -> ChatForm:
    """How `table` holds questions, with their answers or without. `columns`: those of the prompt that are taken
    where no form is found. Raises as `form_of`."""
    found = detected_form(table)
    if found is None and columns and set(columns) <= set(table.columns):
        return _prompt_form(columns, "")
    return found or form_of(table, (), None)


def detected_form(table: Table) -> ChatForm | None:
    """The form of a table whose task nobody has named: None unless it cannot well be anything but
    conversations."""
    listed = next(filter(None, (_listed(table, column) for column in table.columns)), None)
    if listed is not None:
        return listed
    names = _by_lower_name(table)
    if {"instruction", "output"} <= names.keys():
        optional = tuple(names[name] for name in ("system", "input", "history") if name in names)
        columns = (names["instruction"], *optional, names["output"])
        return ChatForm("alpaca", columns, partial(_alpaca, names))
    if (plain := next(_pairs(table, _PROMPTS), None)) is not None:
        return plain
    perhaps = next(_pairs(table, _PERHAPS), None)
    if perhaps is None or any(name in names for name in LABEL_NAMES):
        return None
    return perhaps if _holds_answers(table, perhaps.columns[-1]) else None


def _named(table: Table, text: tuple[str, ...], label: str | None) -> ChatForm:
    if not text or label is None:
        raise UsageError("TT-D101")
    if len({*text, label}) <= len(text) or len(text) > 2:
        raise UsageError("TT-D033", columns=", ".join((*text, label)))
    for name in (*text, label):
        if name not in table.columns:
            file = table.place(1, "").file
            raise DataError("TT-D032", path=file, column=name, columns=", ".join(table.columns))
    return _prompt_form(text, label)


def _prompt_form(prompt: tuple[str, ...], answer: str) -> ChatForm:
    return ChatForm("prompt", (*prompt, answer), partial(_prompt_and_answer, prompt, answer))


def _pairs(table: Table, known: Sequence[tuple[str, str]]) -> Iterator[ChatForm]:
    names = _by_lower_name(table)
    for prompt, answer in known:
        if prompt in names and answer in names:
            yield _prompt_form((names[prompt],), names[answer])


def _listed(table: Table, column: str) -> ChatForm | None:
    """The form of a column that holds lists of turns."""
    if column.lower() not in _LISTS:
        return None
    for _, values in islice(table.rows(), _SAMPLE_ROWS):
        turns = _list(values.get(column))
        if turns and isinstance(turns[0], Mapping):
            for name, (role, text) in _KEYS.items():
                if role in turns[0] and text in turns[0]:
                    return ChatForm(name, (column,), partial(_turns, column, role, text))
    return None


def _holds_answers(table: Table, column: str) -> bool:
    """Most are different and longer than labels are."""
    texts = [values.get(column) for _, values in islice(table.rows(), _SAMPLE_ROWS)]
    said = [text for text in texts if isinstance(text, str)]
    if not said:
        return False
    return 2 * len(set(said)) > len(said) and sum(map(len, said)) >= _ANSWER_CHARACTERS * len(said)


def _by_lower_name(table: Table) -> dict[str, str]:
    return {name.lower(): name for name in table.columns}


# --- from cells to turns, with the file's own words for roles


def _alpaca(names: Mapping[str, str], values: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    def cell(name: str) -> str:
        return cell_text(values.get(names[name])) if name in names else ""

    if cell("system").strip():
        yield "system", cell("system")
    if "history" in names:
        for pair in _list(values.get(names["history"])) or ():
            said = _list(pair) or []
            if len(said) != 2:
                raise TypeError
            yield "user", cell_text(said[0])
            yield "assistant", cell_text(said[1])
    yield "user", "\n".join(part for part in (cell("instruction"), cell("input")) if part.strip())
    yield "assistant", cell("output")


def _prompt_and_answer(
    prompt: tuple[str, ...], answer: str, values: Mapping[str, object]
) -> Iterator[tuple[str, str]]:
    parts = [cell_text(values.get(name)) for name in prompt]
    yield "user", "\n".join(part for part in parts if part.strip())
    yield "assistant", cell_text(values.get(answer))


def _turns(column: str, role: str, text: str, values: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for turn in _list(values.get(column)) or ():
        if not isinstance(turn, Mapping):
            raise TypeError
        yield str(turn.get(role)), _content(turn.get(text))


def _content(value: object) -> str:
    """The text of a turn; OpenAI's form may hold it in parts."""
    if not isinstance(value, list):
        return cell_text(value)
    if not all(isinstance(part, Mapping) and part.get("type") == "text" for part in value):
        raise TypeError
    return "".join(cell_text(part.get("text")) for part in value)


def _list(value: object) -> list[object] | None:
    """A list, also one that a csv file holds as JSON; None for an empty cell. Raises TypeError for anything
    else."""
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise TypeError from error
    if value is None or value == "":
        return None
    if not isinstance(value, list | tuple):
        raise TypeError
    return list(value)


def _known_turns(turns: Iterable[tuple[str, str]]) -> list[Turn]:
    found = []
    for role, text in turns:
        known = _ROLES.get(role.strip().lower())
        if known is None:
            raise Unfit(Defect.ROLES)
        found.append(Turn(known, text))
    return found


def _check_order(turns: Sequence[Turn]) -> None:
    """Raises Unfit: chat templates take a system turn first, then user and assistant by turns, the user first."""
    said = [turn.role for turn in turns]
    rest = said[1:] if said[0] == "system" else said
    if rest[::2] != ["user"] * len(rest[::2]) or rest[1::2] != ["assistant"] * len(rest[1::2]):
        raise Unfit(Defect.ROLES)
