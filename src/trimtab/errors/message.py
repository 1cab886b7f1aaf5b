"""A message: a code and the facts that fill its sentence, in any language of the catalogue.

In a sentence, `{path}` is printed as it is; a conversion gives a quantity its unit:
`{need!b}` bytes ("21.4 GiB"), `{need!t}` seconds ("2 h 5 min"), `{n!n}` a count ("6,911"),
`{share!p}` a share ("12.5 %"). A fact may itself be a Message, or a tuple of them: it is printed in the same
language.
"""

import string
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from trimtab.errors.quantities import format_bytes, format_count, format_seconds, format_share

LANGUAGES = ("en", "zh")

_CONVERSIONS = {"b": format_bytes, "t": format_seconds, "n": format_count, "p": format_share}


@dataclass(frozen=True, slots=True)
class Message:
    """One sentence with its numbers. `facts` are (name, value) pairs: printable, comparable, storable."""

    code: str
    facts: tuple[tuple[str, object], ...] = ()

    def text(self, language: str = "en") -> str:
        """What happened, in `language` ("en" or "zh")."""
        return self._fill(catalogue()[self.code][language], language)

    def next_step(self, language: str = "en") -> str:
        """What to do next, or an empty string where nothing needs doing."""
        return self._fill(catalogue()[self.code].get(f"{language}_next", ""), language)

    def fact(self, name: str) -> object:
        """The value of one fact. Raises KeyError."""
        return dict(self.facts)[name]

    def _fill(self, template: str, language: str) -> str:
        return _Filler().vformat(template, (), {name: _said(value, language) for name, value in self.facts})


def message(code: str, **facts: object) -> Message:
    """A Message; an unknown code is an error of ours and fails at once."""
    assert code in catalogue(), f"no sentence for {code} in errors/messages"
    return Message(code, tuple(facts.items()))


@cache
def catalogue() -> Mapping[str, Mapping[str, str]]:
    """All sentences: code -> {"en", "en_next", "zh", "zh_next"}. A code may stand in one file only."""
    sentences: dict[str, dict[str, str]] = {}
    folder = resources.files("trimtab.errors") / "messages"
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if not file.name.endswith(".toml"):
            continue
        for code, entry in tomllib.loads(file.read_text(encoding="utf-8")).items():
            assert code not in sentences, f"{code} stands twice in errors/messages"
            sentences[code] = entry
    return sentences


def _said(value: object, language: str) -> object:
    """A nested message in words, several one after the other; any other fact as it is."""
    if isinstance(value, Message):
        return value.text(language)
    if isinstance(value, tuple) and all(isinstance(part, Message) for part in value):
        return ("" if language == "zh" else " ").join(part.text(language) for part in value)
    return _printable(value) if isinstance(value, str) else value


def _printable(text: str) -> str:
    """Names and paths come from files of strangers: what would steer a terminal is shown as a mark."""
    if text.isprintable():
        return text
    return "".join(mark if mark.isprintable() or mark in "\n\t" else "\N{REPLACEMENT CHARACTER}" for mark in text)


class _Filler(string.Formatter):
    def convert_field(self, value: object, conversion: str | None) -> object:
        if conversion in _CONVERSIONS:
            return _CONVERSIONS[conversion](value)  # type: ignore[arg-type]
        return super().convert_field(value, conversion)
