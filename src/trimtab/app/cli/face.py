"""Face: what one call of the command line knows about its terminal: language, consoles, JSON or words.

Leaves out what is said: the sentences are in errors/messages/view.toml.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from trimtab.errors import LANGUAGES, Message, UsageError, message

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")

# A pipe has no width: lines stay whole, so that grep and awk see one row a line.
_PIPE_WIDTH = 10_000


@dataclass(frozen=True)
class Face:
    """`arguments` are the words typed, without the global flags; `asked_language` is what followed --lang."""

    arguments: tuple[str, ...]
    language: str
    asked_language: str | None = None
    json: bool = False
    debug: bool = False

    @classmethod
    def of(cls, argv: Sequence[str], environment: Mapping[str, str]) -> "Face":
        """Read the global flags, which may stand anywhere before a bare `--`, and the environment."""
        end = list(argv).index("--") if "--" in argv else len(argv)
        flags, rest = list(argv[:end]), tuple(argv[end:])
        asked, flags = _take_language(flags)
        debug = "--debug" in flags or environment.get("TRIMTAB_DEBUG", "") not in ("", "0")
        return cls(
            arguments=(*(flag for flag in flags if flag != "--debug"), *rest),
            language=asked if asked in LANGUAGES else language_of(environment),
            asked_language=asked,
            json="--json" in flags,
            debug=debug,
        )

    def check(self) -> None:
        """Raises UsageError TT-V901 for a language we do not speak."""
        if self.asked_language is not None and self.asked_language not in LANGUAGES:
            raise UsageError("TT-V901", asked=self.asked_language, known=", ".join(LANGUAGES))

    def say(self, code: str, **facts: object) -> str:
        """A sentence or a word of the catalogue, in this face's language."""
        return message(code, **facts).text(self.language)

    def tell(self, told: Message) -> str:
        return told.text(self.language)

    @cached_property
    def out(self) -> "Console":
        """stdout: facts, and nothing else."""
        return _console(sys.stdout)

    @cached_property
    def err(self) -> "Console":
        """stderr: progress, notices, errors."""
        return _console(sys.stderr)

    def print_json(self, value: object, *, indent: int | None = 2) -> None:
        """One JSON value on stdout. NaN and infinity, which JSON does not have, must not come here."""
        sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False) + "\n")

    def show(self, found: T, view: "Callable[[Face, T], None]") -> None:
        """What a verb has found: as JSON where that was asked for, else as `view` shows it."""
        from trimtab.study.jsonable import jsonable

        if self.json:
            self.print_json(jsonable(found, self.language))
        else:
            view(self, found)


def language_of(environment: Mapping[str, str]) -> str:
    """TRIMTAB_LANG, else the locale: LC_ALL over LC_MESSAGES over LANG, as POSIX has it."""
    if environment.get("TRIMTAB_LANG") in LANGUAGES:
        return environment["TRIMTAB_LANG"]
    locale = next((environment[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environment.get(name)), "")
    return "zh" if locale.lower().startswith("zh") else "en"


def _take_language(flags: list[str]) -> tuple[str | None, list[str]]:
    """The value of --lang, and the other flags. A --lang at the very end has no value: "" is asked for."""
    asked, rest, waiting = None, [], False
    for flag in flags:
        if waiting:
            asked, waiting = flag, False
        elif flag == "--lang":
            asked, waiting = "", True
        elif flag.startswith("--lang="):
            asked = flag.removeprefix("--lang=")
        else:
            rest.append(flag)
    return asked, rest


def _console(stream: object) -> "Console":
    from rich.console import Console

    console = Console(file=stream, highlight=False, markup=False, emoji=False)  # type: ignore[arg-type]
    if not console.is_terminal and not os.environ.get("COLUMNS"):
        console.width = _PIPE_WIDTH
    return console
