"""Adapters of a tiny chat model, each alone and all on one Writer: for the tests of what writes."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel

from tiny_artifacts import moved_artifact
from tiny_chat import chat_model
from tiny_models import WORDS
from trimtab.data.spec import Turn
from trimtab.evaluation import AdapterSet, Artifact
from trimtab.evaluation.generate import answer
from trimtab.models import ModelSource
from trimtab.serving.facts import Limits, Piece, WriteRequest
from trimtab.serving.forks import BASE, Forked, roads_of
from trimtab.serving.writing import Ticket, Writer, ticket

MOST = 14


@dataclass(frozen=True, slots=True)
class Chats:
    """`alone`: artifacts by name, the base too; `forked`: all of them on one base."""

    source: ModelSource
    adapters: AdapterSet
    alone: dict[str, Artifact]
    forked: Forked

    @property
    def model(self) -> PreTrainedModel:
        return self.forked.model

    def writer(self, **limits: int) -> Writer:
        prefix_bytes = limits.pop("prefix_bytes", 0)
        return Writer(self.forked, Limits(**limits), prefix_bytes=prefix_bytes)  # type: ignore[arg-type]

    def add(self, name: str, folder: Path) -> Artifact:
        """Put an artifact beside the others."""
        self.adapters.load(name, folder)
        self.alone[name] = one = self.adapters.artifact(name)
        self.forked.add(name, roads_of(one.model, self.adapters.bare(name)))
        return one

    def ticket(self, name: str, request: WriteRequest) -> Ticket:
        return ticket(name, request, self.alone[name].tokenizer)

    def said_alone(self, name: str, request: WriteRequest) -> str:
        one = self.alone[name]
        return answer(one.model, one.tokenizer, request.turns, most_tokens=request.most_tokens).text


def chats(
    folder: Path, family: str = "llama", adapters: Sequence[str] = ("a", "b", "c"), **shape: object
) -> Chats:
    """A base and LoRA adapters of ranks 4, 4, ..."""
    source = chat_model(folder / "base", family, **shape)
    on_base = AdapterSet(str(source.folder))
    base = on_base.own()
    some = Chats(source, on_base, {BASE: base}, Forked(base.model, base.spec))
    for seed, name in enumerate(adapters):
        some.add(name, moved_artifact(folder / name, source, task="instruct", seed=seed))
    return some


def question(draw: random.Random, words: int | None = None, **changed: object) -> WriteRequest:
    text = " ".join(draw.choices(WORDS, k=words or draw.randint(1, 15)))
    return WriteRequest(turns=(Turn("user", text),), **({"most_tokens": MOST} | changed))  # type: ignore[arg-type]


def written(writer: Writer, steps: int = 1000) -> Iterable[tuple[Ticket, Piece]]:
    """All pieces until nothing is left."""
    for _ in range(steps):
        if writer.idle:
            return
        yield from writer.step()
    raise AssertionError(f"not idle after {steps} steps")


def texts(pieces: Iterable[tuple[Ticket, Piece]]) -> dict[Ticket, str]:
    found: dict[Ticket, str] = {}
    for one, piece in pieces:
        found[one] = found.get(one, "") + piece.text
    return found


def last_pieces(pieces: Iterable[tuple[Ticket, Piece]]) -> dict[Ticket, Piece]:
    return {one: piece for one, piece in pieces if piece.finish}
