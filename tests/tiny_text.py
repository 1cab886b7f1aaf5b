"""Tiny decoders and plain text, from files to events: for the tests of the task text."""

import random
from dataclasses import replace
from pathlib import Path

from tiny_chat import chat_model
from tiny_models import WORDS
from tiny_training import facts
from trimtab.data import Corpus, open_corpus
from trimtab.methods import Choices, Schedule, Strategy, method_named, parts_for
from trimtab.models import read_spec
from trimtab.training import Job


def write_documents(folder: Path, *, rows: int = 40, seed: int = 0) -> Path:
    """Documents in which each word is followed by the next of a short list: learnable, a paragraph each."""
    draw = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in {"train": rows, "dev": 9}.items():
        texts = []
        for number in range(count):
            start, length = draw.randrange(12), draw.randint(8, 30)
            words = [WORDS[(start + place) % 12] for place in range(length)]
            texts.append(f"{split} {number} {' '.join(words[: length // 2])}\n{' '.join(words[length // 2 :])}")
        (folder / f"{split}.txt").write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    return folder


def text_job(folder: Path, method: str = "full", *, tied: bool = False, **changed: object) -> tuple[Job, Corpus]:
    """A job in `folder`/out on a model and documents written beside it; `changed` fields of the Strategy."""
    data = write_documents(folder / "data")
    source = chat_model(folder / "model", tied=tied, layers=3)
    corpus = open_corpus(str(data), task="text")
    preset = method_named(method)
    strategy = Strategy(
        method=method,
        parts=parts_for(preset, "text", read_spec(source), Choices()),
        base_precision=preset.base_precision,
        schedule=Schedule(epochs=4, learning_rate=preset.learning_rate * 10, warmup_share=0.1),
        batch=4,
        micro_batch=4,
        max_length=24,
        seed=7,
    )
    job = Job(
        source=source,
        spec=read_spec(source),
        data=facts(corpus, source),
        strategy=replace(strategy, **changed),  # type: ignore[arg-type]
        folder=folder / "out",
        threads=1,
    )
    return job, corpus
