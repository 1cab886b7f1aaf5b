"""Tiny tagged sentences and a training on them, from files to events: for the tests of the task tag."""

import json
import random
from dataclasses import replace
from pathlib import Path

from tiny_models import WORDS, tiny_model
from tiny_training import facts
from trimtab.data import Corpus, open_corpus
from trimtab.methods import Choices, Schedule, Strategy, method_named, parts_for
from trimtab.models import ModelSource, read_spec
from trimtab.training import Job

MOODS, DIGITS = WORDS[:6], tuple("0123456789")
TAGS = ("O", "B-mood", "B-number", "I-number")


def sentence(draw: random.Random, words: int) -> tuple[list[str], list[str]]:
    """A word of praise or blame is a mood; digits in a row are one number."""
    chosen = draw.choices((*WORDS[:20], *DIGITS), k=words)
    tags: list[str] = []
    for at, word in enumerate(chosen):
        if word in DIGITS:
            tags.append("I-number" if at and chosen[at - 1] in DIGITS else "B-number")
        else:
            tags.append("B-mood" if word in MOODS else "O")
    return chosen, tags


def write_tags(folder: Path, *, rows: int = 52, seed: int = 0) -> Path:
    """Three splits, jsonl."""
    draw = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in {"train": rows, "dev": 16, "test": 12}.items():
        lines = []
        for _ in range(count):
            words, tags = sentence(draw, draw.randint(3, 14))
            lines.append(json.dumps({"tokens": words, "tags": tags}))
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def tag_strategy(source: ModelSource, method: str = "full", **changed: object) -> Strategy:
    """The method's own parts with a short, fast schedule: 13 steps an epoch of 4 rows."""
    preset = method_named(method)
    choices = Choices(rank=4) if "rank" in preset.takes else Choices()
    strategy = Strategy(
        method=method,
        parts=parts_for(preset, "tag", read_spec(source), choices),
        base_precision=preset.base_precision,
        schedule=Schedule(epochs=3, learning_rate=preset.learning_rate * 20, warmup_share=0.1),
        batch=4,
        micro_batch=4,
        max_length=24,
        seed=7,
    )
    return replace(strategy, **changed)  # type: ignore[arg-type]


def tag_job(folder: Path, family: str = "bert", method: str = "full", **changed: object) -> tuple[Job, Corpus]:
    """A job in `folder`/out on a model and sentences written beside it; `changed` fields of the Strategy."""
    data = write_tags(folder / "data")
    source = tiny_model(folder / f"model-{family}", family, layers=3)
    corpus = open_corpus(str(data))
    job = Job(
        source=source,
        spec=read_spec(source),
        data=facts(corpus, source),
        strategy=tag_strategy(source, method, **changed),
        folder=folder / "out",
        threads=1,
    )
    return job, corpus
