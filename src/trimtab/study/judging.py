"""Judging: finalists of a bake-off on the same rows, in one process: how they differ, and how fast they answer.

Imports torch; run in a process of its own (`workshop`). One model after the other, never two in memory but where
they are timed.
"""

import math
from collections.abc import Callable
from pathlib import Path

from trimtab.artifacts import weight_bytes
from trimtab.compression.gate import Sight, see
from trimtab.data import Corpus
from trimtab.evaluation import OBJECTIVES, Artifact, open_artifact
from trimtab.evaluation.timing import Speed, time_models
from trimtab.study import gather
from trimtab.study.bakeoff import Compared
from trimtab.study.orders import Judged, JudgingOrder

_LENGTH, _BATCH, _ROUNDS = 32, 32, 30


def judge(order: JudgingOrder, tell: Callable[[object], None]) -> tuple[Judged, ...]:
    """One for each folder, in their order. Raises ArtifactError, DataError."""
    corpus = gather.open_corpus(order.data, order.reading)
    trusted = order.trust_remote_code
    opened = [open_artifact(Path(folder), trust_remote_code=trusted) for folder in order.folders]
    seen = [_seen(artifact, corpus) for artifact in opened]
    speeds = time_models(opened, length=min(map(_length, opened)), batch=_BATCH, rounds=_ROUNDS)
    return tuple(
        Judged(
            folder=folder,
            kept_bytes=weight_bytes(Path(folder)),
            compared=_compared(corpus, seen[0], sight, speed),
        )
        for folder, sight, speed in zip(order.folders, seen, speeds, strict=True)
    )


def _seen(artifact: Artifact, corpus: Corpus) -> Sight:
    main = artifact.objective.main_metric(corpus.label_counts)
    return see(artifact, corpus.test or corpus.dev, main)


def _compared(corpus: Corpus, chosen: Sight, other: Sight, speed: Speed) -> Compared:
    low, high = (0.0, 0.0) if other is chosen else _interval(corpus, chosen, other)
    return Compared(low=low, high=high, text_seconds=speed.median_seconds, texts_per_second=speed.rows_per_second)


def _interval(corpus: Corpus, chosen: Sight, other: Sight) -> tuple[float, float]:
    """Over the same rows; where those do not tell the two apart one by one (entities, perplexity), from the two
    intervals as if they were of other rows, which is wider than it need be."""
    if other.outputs.shape == chosen.outputs.shape:
        found = OBJECTIVES[corpus.task].gain_interval(chosen.outputs, other.outputs, other.rows)
        if found is not None:
            return found
    if chosen.score is None or other.score is None:
        return -math.inf, math.inf
    mine, theirs = other.score.main, chosen.score.main
    gained = mine.value - theirs.value
    return (
        gained - math.hypot(mine.value - mine.low, theirs.high - theirs.value),
        gained + math.hypot(mine.high - mine.value, theirs.value - theirs.low),
    )


def _length(artifact: Artifact) -> int:
    """Tokens of a text that is timed: those of a short one, where the model reads so many."""
    most = artifact.spec.longest_text
    return min(_LENGTH, most - artifact.facts.strategy.virtual_tokens) if most else _LENGTH
