"""Adapters of a tiny chat model, each alone and all on one Writer: for the tests of what writes."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from tiny_artifacts import moved_artifact
from tiny_chat import chat_model
from tiny_models import WORDS
from trimtab import tuning
from trimtab.data.spec import Turn
from trimtab.evaluation import Artifact, open_artifact
from trimtab.evaluation.generate import answer
from trimtab.evaluation.objectives import OBJECTIVES
from trimtab.methods import Strategy
from trimtab.models import ModelSource, read_spec
from trimtab.serving.facts import Limits, Piece, WriteRequest
from trimtab.serving.lora_rows import LoraSwitch
from trimtab.serving.row_switch import BASE
from trimtab.serving.writing import Ticket, Writer, ticket

MOST = 14


@dataclass(frozen=True, slots=True)
class Chats:
    """`alone`: artifacts by name, the base too. `model`: the base that adapters are put on."""

    source: ModelSource
    alone: dict[str, Artifact]
    model: PreTrainedModel
    switch: LoraSwitch

    def writer(self, **limits: int) -> Writer:
        prefix_bytes = limits.pop("prefix_bytes", 0)
        return Writer(self.model, self.switch, Limits(**limits), prefix_bytes=prefix_bytes)  # type: ignore[arg-type]

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
    tokenizer = OBJECTIVES["instruct"].tokenizer(source)
    alone = {BASE: base_alone(source, tokenizer)}
    for seed, name in enumerate(adapters):
        alone[name] = open_artifact(moved_artifact(folder / name, source, task="instruct", seed=seed))
    model = bare_copy(alone[BASE])
    switch = LoraSwitch(model)
    for name in adapters:
        switch.load(name, alone[name].model)
    return Chats(source, alone, model, switch)


def base_alone(source: ModelSource, tokenizer: Tokenizer) -> Artifact:
    model = tuning.load_language_model(source, pad_token_id=int(tokenizer.pad_token_id))
    return Artifact(
        folder=source.folder, facts=None, spec=read_spec(source), model=model.eval(), tokenizer=tokenizer
    )  # type: ignore[arg-type]


def bare_copy(base: Artifact) -> PreTrainedModel:
    strategy = Strategy(method="base", parts=())
    return tuning.on_same_weights(base.model.requires_grad_(False), strategy, base.spec, (), 0)


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
