"""A tiny training from files to events: data set, job, run. For the exams and the tests of the loop."""

import csv
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from tiny_models import WORDS, tiny_model
from trimtab.data import Corpus, DataSpec, count_tokens, describe, open_corpus
from trimtab.methods import Choices, Schedule, Strategy, method_named, stages_from
from trimtab.models import ModelSource, read_spec
from trimtab.training import Event, Job, Session, Training

ROWS = {"train": 52, "dev": 16, "test": 12}


def write_data(folder: Path, *, pair: bool = False, seed: int = 0) -> Path:
    """A learnable task in three splits: does "good" or "bad" stand in the text?"""
    draw = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    seen: set[str] = set()
    for split, rows in ROWS.items():
        with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["first", "second", "label"] if pair else ["text", "label"])
            for number in range(rows):
                word = ("good", "bad")[number % 2]
                table.writerow([*(_text(draw, word, seen) for _ in range(1 + pair)), word])
    return folder


def _text(draw: random.Random, word: str, seen: set[str]) -> str:
    while True:
        words = [*draw.choices(WORDS[6:], k=draw.randint(2, 20)), word]
        draw.shuffle(words)
        text = " ".join(words)
        if text not in seen:
            seen.add(text)
            return text


def tiny_strategy(source: ModelSource, method: str = "full", **changed: object) -> Strategy:
    """The method's own parts with a short, fast schedule: 13 steps an epoch of 4 rows."""
    preset = method_named(method)
    spec = read_spec(source)
    parts = preset.parts(spec, Choices(rank=4) if "rank" in preset.takes else Choices())
    lowest = min(part.lowest_layer(spec) for part in parts)
    stages = stages_from(preset.stages, lowest, spec.layers, 2) if preset.stages else ()
    schedule = Schedule(epochs=2, learning_rate=preset.learning_rate * 10, warmup_share=0.1, stages=stages)
    strategy = Strategy(
        method=method, parts=parts, base_precision=preset.base_precision, schedule=schedule,
        batch=4, micro_batch=4, max_length=24, seed=7,
    )  # fmt: skip
    return replace(strategy, **changed)


def facts(corpus: Corpus, source: ModelSource) -> DataSpec:
    """The facts of a corpus under that model's tokenizer."""
    return describe(corpus, count_tokens(corpus.train, source.folder / "tokenizer.json"))


def tiny_job(
    folder: Path,
    family: str = "bert",
    method: str = "full",
    *,
    dropout: float = 0.1,
    hidden: int = 32,
    **changed: object,
) -> tuple[Job, Corpus]:
    """A job in `folder`/out on a model and data written beside it. `changed` names fields of the Strategy or,
    failing that, of the Job."""
    data = write_data(folder / "data")
    source = tiny_model(folder / f"model-{family}", family, layers=3, hidden=hidden, dropout=dropout)
    corpus = open_corpus(str(data))
    of_strategy = {name: changed.pop(name) for name in list(changed) if name in Strategy.__slots__}
    job = Job(
        source=source,
        spec=read_spec(source),
        data=facts(corpus, source),
        strategy=tiny_strategy(source, method, **of_strategy),
        folder=folder / "out",
        threads=1,
    )
    return replace(job, **changed), corpus


def run(job: Job, corpus: Corpus) -> tuple[list[Event], Session]:
    """A whole training."""
    training = Training(job, corpus)
    events = list(training)
    assert training.session is not None
    return events, training.session


def run_until(job: Job, corpus: Corpus, last: type[Event], count: int = 1) -> Session:
    """A training that is dropped after `count` events of the class `last`, as if the process had vanished."""
    training = Training(job, corpus)
    events: Iterator[Event] = iter(training)
    for event in events:
        count -= isinstance(event, last)
        if count == 0:
            break
    events.close()  # type: ignore[attr-defined]
    assert training.session is not None
    return training.session


def trained(session: Session) -> dict[str, torch.Tensor]:
    """What came out: every trained weight, by name."""
    return {name: p.detach().clone() for name, p in session.model.named_parameters() if p.requires_grad}


def assert_equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    """Bit-equal tensors under equal names."""
    assert left.keys() == right.keys()
    assert [name for name in left if not torch.equal(left[name], right[name])] == []
