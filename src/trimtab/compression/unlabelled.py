"""Texts without labels: rows that a student learns from its teacher alone, read from a file or made."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from trimtab.compression.augment import Joined, Noise, NoisyCopies
from trimtab.data import Corpus, Example, Rows, content_hash, read_texts, with_further
from trimtab.data.spec import Task
from trimtab.errors import UsageError

_TASKS: tuple[Task, ...] = ("classify", "pair", "multilabel", "regress")  # whose rows may have no label


class UnlabelledTexts:
    """Rows: the texts of a file, as `data.read_texts` reads it, without labels; empty ones left out. Final."""

    def __init__(self, file: Path, columns: tuple[str, ...]) -> None:
        self.file, self._columns = file, columns

    @cached_property
    def _count(self) -> int:
        return sum(1 for _ in self)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Example]:
        for texts in read_texts(str(self.file), self._columns):
            if all(text.strip() for text in texts):
                yield Example(texts, None)


def with_unlabelled(
    corpus: Corpus, *, file: Path | None = None, noise: Noise | None = None, mask: str | None = None
) -> Corpus:
    """`corpus` with the texts of `file` to learn from, and noisy copies of its own training texts; dev and test
    stay as they are. `mask`: see `NoisyCopies`. It is described (`data.describe`) after this.

    Raises UsageError TT-C109 for a task whose rows cannot do without a label, DataError as `data.read_texts`.
    """
    parts: list[Rows] = []
    keys = []
    if file is not None:
        parts.append(UnlabelledTexts(file, corpus.columns))
        keys.append(content_hash([file]))
    if noise is not None:
        parts.append(NoisyCopies(corpus.train, noise, mask))
        keys.append(f"{noise.key} {mask}")
    if not parts:
        return corpus
    if corpus.task not in _TASKS:
        raise UsageError("TT-C109", task=corpus.task, known=", ".join(_TASKS))
    return with_further(corpus, Joined(parts), "\0".join(keys))
