"""Words of a text and where they stand in it: what a tagger is asked, whose training data were cut into words.

By rule, since nobody knows how those were cut: white space separates; a Chinese, Japanese or Korean character is a
word; marks at the edges of a word stand apart ("(London)." is four words), those inside do not ("isn't", links).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_WIDE = "\u2e80-\u2fff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
_PIECE = re.compile(rf"[{_WIDE}]|[^\s{_WIDE}]+")
_CORE = re.compile(r"[#@]?\w(?:.*\w)?", re.DOTALL)  # a hashtag and a name keep their mark
_MARKS = re.compile(r"(.)\1*", re.DOTALL)  # "..." is one


@dataclass(frozen=True, slots=True)
class Sentence:
    """A text and its words: (start, end) of each in it, in characters."""

    text: str
    places: tuple[tuple[int, int], ...]

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(self.text[start:end] for start, end in self.places)


def sentence_of(text: str) -> Sentence:
    """`text` cut into words by rule."""
    return Sentence(text, tuple(_places(text)))


def joined(words: Sequence[str]) -> Sentence:
    """Words that are given, as a text: a space between them, but for two wide characters."""
    text = ""
    places = []
    for word in words:
        wide = text and word and re.fullmatch(f"[{_WIDE}]{{2}}", text[-1] + word[0])
        text += " " if text and not wide else ""
        places.append((len(text), len(text) + len(word)))
        text += word
    return Sentence(text, tuple(places))


def _places(text: str) -> Iterator[tuple[int, int]]:
    for piece in _PIECE.finditer(text):
        start, end = piece.span()
        core = _CORE.search(text, start, end)
        first, last = core.span() if core else (end, end)
        yield from (marks.span() for marks in _MARKS.finditer(text, start, first))
        if core:
            yield first, last
        yield from (marks.span() for marks in _MARKS.finditer(text, last, end))
