"""Answers that a teacher wrote to the prompts of a training, as rows to learn from: sequence-level distillation
(Kim & Rush 2016, arXiv 1606.07947).

What is learned are texts, so that the student may have another tokenizer. An answer that did not end, or is empty,
is no example: a student that learned it would not learn to end. Leaves out the writing (`writing`), and answers of
earlier turns, which stay the data's.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, repeat
from pathlib import Path

from trimtab.compression.augment import Joined
from trimtab.data import Conversation, Corpus, Example, Rows, Turn, read_prompts, with_further
from trimtab.evaluation.generate import Answer


class Prompts:
    """What a teacher is asked: what stands before the last answer of each of `rows`, then the questions of `file`,
    as `data.read_prompts` reads it with `columns`. Can be gone through again. Final."""

    def __init__(self, rows: Rows, file: Path | None = None, columns: tuple[str, ...] = ()) -> None:
        self._rows, self._file, self._columns = rows, file, columns

    def __iter__(self) -> Iterator[tuple[Turn, ...]]:
        yield from (talk.prompt for talk in _talks(self._rows))
        yield from self._questions()

    def _questions(self) -> Iterator[tuple[Turn, ...]]:
        if self._file is not None:
            yield from read_prompts((), str(self._file), self._columns)

    def guessed(self) -> Iterator[Conversation]:
        """With the data's own answers, and questions of the file with those of the first rows: the best guess of
        how long the teacher's will be."""
        yield from _talks(self._rows)
        again = chain.from_iterable(_talks(rows) for rows in repeat(self._rows))
        for question, other in zip(self._questions(), again, strict=False):
            yield Conversation((*question, other.turns[-1]))


def _talks(rows: Rows) -> Iterator[Conversation]:
    return (example.conversation for example in rows if example.conversation is not None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """Of the prompts that were asked: those whose answer did not end, and those whose answer is empty."""

    prompts: int = 0
    unfinished: int = 0
    empty: int = 0

    @property
    def kept(self) -> int:
        """Answers to learn from."""
        return self.prompts - self.unfinished - self.empty


def counted(file: Path) -> Counts:
    """What a finished file of answers holds."""
    prompts = unfinished = empty = 0
    for answer in read_answers(file):
        prompts, unfinished = prompts + 1, unfinished + (not answer.ended)
        empty += answer.ended and not answer.text
    return Counts(prompts=prompts, unfinished=unfinished, empty=empty)


class Answered:
    """Rows: prompts with the answers of a finished file to learn from. Final."""

    def __init__(self, prompts: Prompts, file: Path) -> None:
        self._prompts, self._file = prompts, file

    @cached_property
    def counts(self) -> Counts:
        return counted(self._file)

    def __len__(self) -> int:
        return self.counts.kept

    def __iter__(self) -> Iterator[Example]:
        for turns, answer in zip(self._prompts, read_answers(self._file), strict=True):
            if answer.ended and answer.text:
                yield Example((), None, Conversation((*turns, Turn("assistant", answer.text))))


class Guessed:
    """Rows: prompts with answers as long as the teacher's may be, before it has written any; for a plan. Final."""

    def __init__(self, prompts: Prompts) -> None:
        self._prompts = prompts

    @cached_property
    def _count(self) -> int:
        return sum(1 for _ in self._prompts)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Example]:
        return (Example((), None, talk) for talk in self._prompts.guessed())


def with_answers(corpus: Corpus, rows: Rows, key: str, *, beside: bool) -> Corpus:
    """`corpus` with `rows` to learn from in place of its own, or `beside` them; dev and test stay as they are.
    `key`: whose answers they are."""
    train = corpus.train
    if beside:
        return with_further(corpus, Joined((train.further, rows)), f"both {key}")
    alone = replace(train, tables=(), in_use=train.in_use[:0], labels=train.labels[:0])
    return with_further(replace(corpus, train=alone), rows, key)


def read_answers(file: Path) -> Iterator[Answer]:
    """The answers of a finished file, in the order of their prompts, streamed."""
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            plain = json.loads(line)
            yield Answer(text=plain["text"], tokens=plain["tokens"], ended=plain["ended"])
