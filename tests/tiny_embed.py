"""Tiny encoders and data for embeddings, from files to events: for the tests of the task embed."""

import json
import random
from dataclasses import replace
from pathlib import Path

from tiny_models import WORDS, tiny_model
from tiny_training import facts
from trimtab.data import Corpus, Prefixes, open_corpus
from trimtab.methods import Choices, Schedule, Strategy, method_named, parts_for
from trimtab.models import ModelSource, read_spec
from trimtab.training import Job

_SPLITS = {"train": 52, "dev": 16, "test": 12}


def write_ranked(folder: Path, *, negatives: int = 1, seed: int = 0) -> Path:
    """Queries of two words of a topic; the positive holds the other two, a negative two of another topic:
    FlagEmbedding's form."""
    draw, seen = random.Random(seed), set()
    topics = [WORDS[start : start + 4] for start in range(0, 40, 4)]
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in _SPLITS.items():
        rows = []
        while len(rows) < count:
            topic, *others = draw.sample(topics, 1 + negatives)
            words = draw.sample(topic, 4)
            if (query := " ".join(words[:2])) in seen:
                continue
            seen.add(query)
            row = {"query": query, "pos": [f"{words[2]} {_filler(draw)} {words[3]}"]}
            wrong = [f"{other[0]} {_filler(draw)} {other[2]}" for other in others]
            rows.append({**row, "neg": wrong} if negatives else row)
        text = "\n".join(map(json.dumps, rows))
        (folder / f"{split}.jsonl").write_text(text + "\n", encoding="utf-8")
    return folder


def write_scored(folder: Path, *, seed: int = 0) -> Path:
    """Pairs of texts of four words; the score is the share of words that both have."""
    draw = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in _SPLITS.items():
        rows = []
        for number in range(count):
            words, shared = draw.sample(WORDS[:40], 8), number % 5
            pair = {"text_a": " ".join(words[:4]), "text_b": " ".join((*words[:shared], *words[4 : 8 - shared]))}
            rows.append({**pair, "score": shared + draw.random() / 10})
        text = "\n".join(map(json.dumps, rows))
        (folder / f"{split}.jsonl").write_text(text + "\n", encoding="utf-8")
    return folder


def _filler(draw: random.Random) -> str:
    return " ".join(draw.choices(WORDS[40:], k=draw.randint(2, 9)))


def embed_strategy(source: ModelSource, method: str = "full", **changed: object) -> Strategy:
    """The method's own parts with a short, fast schedule: 7 steps an epoch of 8 rows."""
    preset = method_named(method)
    choices = Choices(rank=4) if "rank" in preset.takes else Choices()
    strategy = Strategy(
        method=method,
        parts=parts_for(preset, "embed", read_spec(source), choices),
        base_precision=preset.base_precision,
        schedule=Schedule(epochs=2, learning_rate=preset.learning_rate * 10, warmup_share=0.1),
        batch=8,
        micro_batch=8,
        max_length=24,
        seed=7,
    )
    return replace(strategy, **changed)  # type: ignore[arg-type]


def embed_job(
    folder: Path,
    method: str = "full",
    *,
    family: str = "bert",
    layers: int = 3,
    dropout: float = 0.1,
    scored: bool = False,
    prefixes: Prefixes = Prefixes(),
    **changed: object,
) -> tuple[Job, Corpus]:
    """A job in `folder`/out on an encoder and data written beside it; `changed` fields of the Strategy."""
    data = write_scored(folder / "data") if scored else write_ranked(folder / "data")
    source = tiny_model(folder / "model", family, layers=layers, dropout=dropout)
    corpus = open_corpus(str(data), task="embed", prefixes=prefixes)
    job = Job(
        source=source,
        spec=read_spec(source),
        data=facts(corpus, source),
        strategy=embed_strategy(source, method, **changed),
        folder=folder / "out",
        threads=1,
    )
    return job, corpus
