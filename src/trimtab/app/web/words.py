"""The words of the page, from words.toml; those that the command line has too come from the catalogue of messages,
by way of Face."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from trimtab.app.cli.face import Face
from trimtab.errors import Message

TAGS = {"en": "en", "zh": "zh-CN"}  # what a browser calls them


@cache
def words() -> Mapping[str, Mapping[str, str]]:
    """key -> {"en", "zh"}; a key is "section.word"."""
    text = (resources.files("trimtab.app.web") / "words.toml").read_text(encoding="utf-8")
    return {
        f"{section}.{word}": entry
        for section, entries in tomllib.loads(text).items()
        for word, entry in entries.items()
    }


@dataclass(frozen=True)
class Voice:
    """One language."""

    language: str

    def __call__(self, key: str, **facts: object) -> str:
        """A word or sentence of the page."""
        return words()[key][self.language].format(**facts)

    @property
    def face(self) -> Face:
        """For what the command line has words for: shapes of models, data and machines."""
        return Face(arguments=(), language=self.language)

    def code(self, code: str, **facts: object) -> str:
        """A word of the catalogue."""
        return self.face.say(code, **facts)

    def tell(self, told: Message) -> str:
        return told.text(self.language)

    def advise(self, told: Message) -> str:
        return told.next_step(self.language)
