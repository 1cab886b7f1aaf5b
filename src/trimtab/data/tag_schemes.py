"""What tags of words say: where entities begin and end, and by which scheme a data set writes that.

    BIO      B-person begins an entity, I-person goes on with it, O stands outside (IOB2)
    IOB1     B- only where an entity follows another of its type; else I- begins one too
    BIOES    as BIO, and E- ends an entity, S- is one of a single word; BILOU, BMES: the same in other letters
    plain    no prefixes (parts of speech): every word that is not O is an entity of its own

Entities are read as conlleval reads them (Tjong Kim Sang and Buchholz 2000), and seqeval in its default mode: what
goes on where nothing has begun, or with another type, begins there. Leaves out nested entities.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

Scheme = Literal["BIO", "IOB1", "BIOES", "plain"]
OUTSIDE = "O"
_PREFIXED = re.compile(r"([BIESLUMO])(?:-(.+))?", re.DOTALL)
_SAME = {"L": "E", "U": "S", "M": "I"}
_EDGE = ""  # before the first word of a sentence and after the last; no tag is empty
_UNNAMED = "_"  # the type of a bare "B", as seqeval has it


@dataclass(frozen=True, slots=True)
class Spans:
    """Entities in flat tags: `begins` and `ends` (exclusive) are indexes of words, `types` indexes into
    `TagSet.types`; int64 (entities) each, in order."""

    begins: np.ndarray
    ends: np.ndarray
    types: np.ndarray


@dataclass(frozen=True)
class TagSet:
    """The tags of a data set or a model. A tag is its index here; -1, and any that is beyond, stands for O."""

    names: tuple[str, ...]

    @cached_property
    def parts(self) -> tuple[tuple[str, str], ...]:
        """Prefix (B, I, E, S or O) and type of each tag."""
        return tuple(map(_parts if self.is_prefixed else _alone, self.names))

    @cached_property
    def types(self) -> tuple[str, ...]:
        """Types of entities, in order of code points."""
        return tuple(sorted({kind for prefix, kind in self.parts if prefix != OUTSIDE}))

    @property
    def outside(self) -> int:
        """The index of O, -1 where it is no tag of the set."""
        return self.names.index(OUTSIDE) if OUTSIDE in self.names else -1

    @property
    def is_prefixed(self) -> bool:
        """Whether tags say where an entity begins; else each word stands for itself."""
        return bool(self.names) and not self.strangers

    @cached_property
    def strangers(self) -> tuple[str, ...]:
        """Tags that are written by no scheme: a word without a prefix."""
        return tuple(name for name in self.names if not _PREFIXED.fullmatch(name))

    @property
    def is_mixed(self) -> bool:
        """Some tags have a prefix and a type, and others are written by no scheme: what is meant is anybody's
        guess."""
        return bool(self.strangers) and any("-" in name and _PREFIXED.fullmatch(name) for name in self.names)

    @cached_property
    def type_of(self) -> np.ndarray:
        """Index into `types` of every tag, int64 (tags + 1); -1 for O, which the last entry is."""
        index = {kind: number for number, kind in enumerate(self.types)}
        return np.array([-1 if p == OUTSIDE else index[kind] for p, kind in self.parts] + [-1], np.int64)

    @cached_property
    def begin(self) -> np.ndarray:
        """Whether an entity begins at a tag (second index) after another (first index); bool (tags + 1, tags + 1),
        O last."""
        parts = (*self.parts, (OUTSIDE, ""))
        return np.array([[_begins(before, here) for here in parts] for before in parts], np.bool_)

    def spans(self, tags: np.ndarray, starts: np.ndarray) -> Spans:
        """The entities of sentences laid end to end: tags int (words), starts int64 (sentences + 1)."""
        outside = len(self.names)
        here = np.where((tags < 0) | (tags >= outside), outside, tags)
        before = np.concatenate([np.full(1, outside), here[:-1]])[: len(here)]
        before[starts[:-1][starts[:-1] < len(here)]] = outside
        begins = self.begin[before, here]
        stops = np.append(np.flatnonzero(begins | (self.type_of[here] < 0)), len(here))
        at = np.flatnonzero(begins)
        return Spans(at, stops[np.searchsorted(stops, at, side="right")], self.type_of[here[at]])


def sorted_tags(names: Iterable[str]) -> tuple[str, ...]:
    """O first, then by type and prefix."""
    return tuple(sorted(names, key=lambda name: (name != OUTSIDE, *reversed(_parts(name)))))


class TagCounter:
    """How often each tag stands, and after which: all that tells the scheme. Final; filled by the scan."""

    def __init__(self) -> None:
        self._pairs: Counter[tuple[str, str]] = Counter()

    def add(self, tags: Sequence[str]) -> None:
        self._pairs.update(zip((_EDGE, *tags), (*tags, _EDGE), strict=True))

    @property
    def names(self) -> tuple[str, ...]:
        """All tags that have been met."""
        return tuple({name for pair in self._pairs for name in pair} - {_EDGE})

    def scheme(self) -> Scheme:
        """By prefixes, and by what stands before a B-."""
        if not TagSet(self.names).is_prefixed:
            return "plain"
        prefixes = {_parts(name)[0] for name in self.names}
        if prefixes & {"E", "S"}:
            return "BIOES"
        again = all(_goes_on(before, "I" + here[1:]) for before, here in self._pairs if here[:1] == "B")
        return "IOB1" if again and self._without_beginning() else "BIO"

    def strays(self) -> int:
        """Words that go on with, or end, an entity that has not begun; 0 where the scheme lets them begin it."""
        return self._without_beginning() if self.scheme() in ("BIO", "BIOES") else 0

    def _without_beginning(self) -> int:
        return sum(
            count
            for (before, here), count in self._pairs.items()
            if _parts(here)[0] in ("I", "E") and not _goes_on(before, here)
        )


def _parts(name: str) -> tuple[str, str]:
    found = _PREFIXED.fullmatch(name)
    if name in (OUTSIDE, _EDGE) or found is None or found[1] == OUTSIDE:
        return _alone(name)
    return _SAME.get(found[1], found[1]), found[2] or _UNNAMED


def _alone(name: str) -> tuple[str, str]:
    return (OUTSIDE, "") if name in (OUTSIDE, _EDGE) else ("S", name)


def _begins(before: tuple[str, str], here: tuple[str, str]) -> bool:
    if here[0] == OUTSIDE:
        return False
    return before[0] in (OUTSIDE, "E", "S") or here[0] in ("B", "S") or before[1] != here[1]


def _goes_on(before: str, here: str) -> bool:
    """Whether `here` can be a further word of the entity in which `before` stands."""
    return _parts(before)[0] in ("B", "I") and _parts(before)[1] == _parts(here)[1]
