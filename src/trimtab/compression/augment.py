"""Noisy copies of training texts, for a teacher to answer: words masked, or replaced by others of the same data.

As in Tang et al. 2019 (arXiv 1903.12136: masking at 0.1) and TinyBERT (arXiv 1909.10351), with words drawn by how
often they occur in place of a language model's guesses. A copy has no label: who knows whether it still holds.
Pure: a seed decides every word, and a second reading gives the same texts. Leaves out n-gram sampling and words by
part of speech.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from trimtab.data import Example, Rows
from trimtab.data.words import sentence_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    """`copies` of every text, each word masked with probability `mask_share`, else replaced with probability
    `replace_share`."""

    copies: int = 4
    mask_share: float = 0.1
    replace_share: float = 0.1
    seed: int = 0

    @property
    def key(self) -> str:
        """Equal for equal noise: for fingerprints."""
        return json.dumps(asdict(self), sort_keys=True)


class NoisyCopies:
    """Rows: copies of `rows`, all of the first, then all of the second, without labels. `mask`: the word that
    stands for none, of the teacher's tokenizer; None = nothing is masked. `rows` is gone through once to count
    its words, of which each different one is held, and once more at every reading. Final."""

    def __init__(self, rows: Rows, noise: Noise, mask: str | None) -> None:
        self._rows, self._noise, self._mask = rows, noise, mask
        self._words: tuple[str, ...] = ()
        self._up_to = np.zeros(0)  # share of all words, of each and those before it

    def __len__(self) -> int:
        return self._noise.copies * len(self._rows)

    def __iter__(self) -> Iterator[Example]:
        self._count()
        for number, example in enumerate(self._rows):
            for copy in range(self._noise.copies):
                draw = np.random.default_rng([self._noise.seed, number, copy])
                texts = tuple(self._noisy(text, draw) for text in example.texts)
                yield replace(example, texts=texts, label=None)

    def _count(self) -> None:
        if self._words:
            return
        counted = Counter(
            word for example in self._rows for text in example.texts for word in sentence_of(text).words
        )
        self._words = tuple(counted)
        self._up_to = np.cumsum(np.fromiter(counted.values(), np.float64)) / max(1, counted.total())

    def _noisy(self, text: str, draw: np.random.Generator) -> str:
        places = sentence_of(text).places
        chances = draw.random(len(places))
        found = np.searchsorted(self._up_to, draw.random(len(places)), side="right")
        others = np.minimum(found, len(self._words) - 1)  # the shares add up to 1 but for rounding
        pieces, at = [], 0
        for (start, end), chance, other in zip(places, chances, others, strict=True):
            pieces += [text[at:start], self._put(text[start:end], chance, self._words[other])]
            at = end
        return "".join([*pieces, text[at:]])

    def _put(self, word: str, chance: float, other: str) -> str:
        if chance < self._noise.mask_share:
            return word if self._mask is None else self._mask
        return other if chance < self._noise.mask_share + self._noise.replace_share else word


class Joined:
    """Rows: those of several, one after the other. Final."""

    def __init__(self, parts: Sequence[Rows]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __iter__(self) -> Iterator[Example]:
        for part in self._parts:
            yield from part
