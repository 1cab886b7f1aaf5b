"""Chat templates: conversations as the one text a model reads, and where in it the answers stand. No torch.

A template is Jinja, published with the tokenizer. Here it is rendered above the torch line as transformers renders
it below (a test holds the two together), in the same sandbox; models without one get `DEFAULT_TEMPLATE`.

An answer begins where the template, asked for the next turn of the assistant, leaves off, and ends with the token
that ends a turn; that token is part of it, or no model would learn to stop. A token that holds the last character
before an answer and its first is learned whole. Leaves out tools and documents.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.data.spec import Conversation, Turn
from trimtab.errors import ModelError

if TYPE_CHECKING:
    from jinja2 import Template

DEFAULT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + eos_token + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
"""For models that publish none: ChatML in layout, with the end of text for the end of a turn, since a tokenizer
that knows no chat has no other token to stop at. The roles are words to it, not tokens of their own."""

_ASSUMED_TOKENS = (("eos_token", "</s>"),)  # where only the tokenizer's own file is at hand
_MARK = "TRIMTAB"  # an answer that no template changes
Render = Callable[[Sequence[Turn], bool], str]
"""Turns, and whether the beginning of an answer follows them, to text. Raises ModelError TT-M040."""


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """A template and the special tokens it may name ("bos_token": "<s>")."""

    source: str
    tokens: tuple[tuple[str, str], ...] = ()

    def render(self, turns: Sequence[Turn], answer_follows: bool = False) -> str:
        """Raises ModelError TT-M040 where the template breaks or refuses the turns."""
        messages = [{"role": turn.role, "content": turn.text} for turn in turns]
        try:
            compiled = _compiled(self.source)
            return compiled.render(
                messages=messages,
                add_generation_prompt=answer_follows,
                tools=None,
                documents=None,
                **dict(self.tokens),
            )
        except Exception as error:  # a template can raise anything
            raise ModelError("TT-M040", why=first_line(error)) from error

    @property
    def end_of_text(self) -> str:
        return dict(self.tokens).get("eos_token", "")


@dataclass(frozen=True, slots=True)
class Marked:
    """The text of a conversation and its answers in it: (start, end) in characters, the ends of turns included."""

    text: str
    answers: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """The token that ends a turn of the assistant. `added`: the template writes none, so it is put at the end."""

    token: str
    added: bool = False


def template_of(folder: Path) -> ChatTemplate:
    """The chat template of a model folder, else the default one. Raises ModelError TT-M040 where the files that
    hold it are damaged."""
    config = _config(folder)
    names = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")
    tokens = tuple((name, _token(config[name])) for name in names if config.get(name)) or _ASSUMED_TOKENS
    file = folder / "chat_template.jinja"
    try:
        source = file.read_text(encoding="utf-8") if file.is_file() else _named(config.get("chat_template"))
    except (OSError, ValueError) as error:
        raise ModelError("TT-M040", why=first_line(error)) from error
    return ChatTemplate(source or DEFAULT_TEMPLATE, tokens)


def turn_end(render: Render, special: Iterable[str], end_of_text: str) -> TurnEnd:
    """What ends a turn: the first of the tokenizer's `special` tokens that the template writes after an answer,
    else the end of text. Raises as `render`, and ModelError TT-M041 where there is neither."""
    whole = render((Turn("user", "?"), Turn("assistant", _MARK)), False)
    tail = whole.rpartition(_MARK)[2]
    found = [(tail.index(token), -len(token), token) for token in special if token and token in tail]
    if not found and not end_of_text:
        raise ModelError("TT-M041")
    return TurnEnd(min(found)[2]) if found else TurnEnd(end_of_text, added=True)


def marked(talk: Conversation, render: Render, end: TurnEnd) -> Marked:
    """The text of `talk` with its answers marked. An answer of an earlier turn that the template leaves out or
    rewrites once it is no longer the last one (hidden reasoning) is not marked. Raises as `render`."""
    turns = talk.turns
    text = render(turns, False) + (end.token if end.added else "")
    answers = []
    for at, turn in enumerate(turns):
        if turn.role != "assistant":
            continue
        start = _start(text, render, turns[:at])
        if start is None:
            continue
        last = at == len(turns) - 1
        found = text.rfind(end.token, start) if last or end.added else text.find(end.token, start)
        if end.added and not last:
            stop = _shared(text, render(turns[: at + 1], False))
        else:
            stop = found + len(end.token) if found >= 0 else len(text)
        answers.append((start, stop))
    return Marked(text, tuple(answers))


def learned(starts: np.ndarray, ends: np.ndarray, answers: Sequence[tuple[int, int]]) -> np.ndarray:
    """Which tokens belong to an answer, bool[n]: those that reach into it. `starts` and `ends` are where each
    token stands in the text, in characters, int[n]; of white space a tokenizer may give the end alone."""
    found = np.zeros(len(starts), np.bool_)
    for start, end in answers:
        found |= (ends > start) & (starts < end)
    return found


def _start(text: str, render: Render, before: Sequence[Turn]) -> int | None:
    """Where the answer after `before` begins: as far as the text goes with what asks for it. A template may ask
    with more than it later writes (the beginning of reasoning)."""
    asked = render(before, True)
    if text.startswith(asked):
        return len(asked)
    shared = _shared(text, asked)
    return shared if shared > _shared(asked, render(before, False)) else None


def _shared(left: str, right: str) -> int:
    """Characters from the beginning that are the same in both."""
    return next(
        (at for at, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right))
    )


@cache
def _compiled(source: str) -> "Template":
    """As transformers compiles it: same sandbox, same extensions, filters and functions."""
    from jinja2 import nodes
    from jinja2.exceptions import TemplateError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """{% generation %} marks answers for others; here they are found without it."""

        tags = {"generation"}  # noqa: RUF012  as Jinja declares it

        def parse(self, parser: Any) -> list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def refuse(why: str) -> str:
        raise TemplateError(why)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {"raise_exception": refuse, "strftime_now": _now}
    return environment.from_string(source)


def _to_json(value: object, ensure_ascii: bool = False, **how: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **how)


def _now(how: str) -> str:
    from datetime import datetime

    return datetime.now().strftime(how)


def _config(folder: Path) -> Mapping[str, Any]:
    file = folder / "tokenizer_config.json"
    try:
        found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (OSError, ValueError) as error:
        raise ModelError("TT-M040", why=first_line(error)) from error
    return found if isinstance(found, dict) else {}


def _token(value: Any) -> str:
    return str(value.get("content", "")) if isinstance(value, dict) else str(value)


def _named(template: Any) -> str:
    """The template itself, or the default one of a list of named ones."""
    if isinstance(template, list):
        named = {str(entry.get("name")): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default") or next(iter(named.values()), None)
    return template if isinstance(template, str) else ""


def first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300] or type(error).__name__
