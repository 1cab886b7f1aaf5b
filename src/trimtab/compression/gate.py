"""The gate: two models on the same rows, and how far the second is from the first."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from trimtab.artifacts import Compared
from trimtab.data import Split
from trimtab.data.spec import Example
from trimtab.errors import Diverged
from trimtab.evaluation import Artifact, ScoredRows
from trimtab.evaluation.made_rows import made_rows
from trimtab.metrics import Score


@dataclass(frozen=True, kw_only=True, slots=True)
class Sight:
    """What one model gives for the rows of a split: `outputs` as `Objective.outputs`, and its score, None where
    the rows have no targets."""

    rows: ScoredRows
    outputs: np.ndarray
    score: Score | None

    @property
    def main(self) -> str | None:
        """The metric that decides."""
        return self.rows.main


def see(artifact: Artifact, split: Split, main: str | None) -> Sight:
    """Run a model over a split. `main`: the metric that decides. Raises Diverged, DataError."""
    rows = _rows(artifact, split, split.name, main)
    outputs = _finite(artifact.objective.outputs(artifact.model, rows.encoded, rows.collator))
    score = artifact.objective.judged(outputs, rows) or artifact.objective.score(artifact.model, rows)
    return Sight(rows=rows, outputs=outputs, score=score)


def see_made_rows(artifact: Artifact) -> Sight:
    """Run a model over rows made of its tokenizer's words: where no data are at hand. Raises Diverged."""
    facts = artifact.facts
    made = made_rows(artifact.tokenizer, max(1, len(facts.columns)), facts.strategy.max_length)
    rows = _rows(artifact, made, "", None)
    outputs = _finite(artifact.objective.outputs(artifact.model, rows.encoded, rows.collator))
    return Sight(rows=rows, outputs=outputs, score=None)


def compared(artifact: Artifact, before: Sight, after: Sight) -> Compared:
    """`after`, of `artifact`, beside `before`, of what it was made of."""
    objective, distance = artifact.objective, np.abs(after.outputs - before.outputs)
    found = Compared(
        split=before.rows.split,
        rows=len(before.rows.encoded),
        compared_outputs=len(distance),
        largest_difference=float(distance.max()),
        mean_difference=float(distance.mean()),
        agreement=objective.agreement(before.outputs, after.outputs),
    )
    return found if before.score is None or after.score is None else _with_metric(found, artifact, before, after)


def _with_metric(found: Compared, artifact: Artifact, before: Sight, after: Sight) -> Compared:
    assert before.score is not None and after.score is not None
    interval = artifact.objective.gain_interval(before.outputs, after.outputs, after.rows)
    low, high = interval if interval is not None else (None, None)
    metric = before.score.main
    return replace(
        found,
        metric=metric.name,
        before=metric.value,
        after=after.score.main.value,
        low=low,
        high=high,
        lower_is_better=metric.lower_is_better,
    )


def _finite(outputs: np.ndarray) -> np.ndarray:
    """Raises Diverged TT-C048: an argmax of what is no number looks like an answer."""
    broken = int(np.count_nonzero(~np.isfinite(outputs).reshape(len(outputs), -1).all(axis=1)))
    if broken:
        raise Diverged("TT-C048", count=broken, rows=len(outputs))
    return outputs


def _rows(artifact: Artifact, examples: Split | Sequence[Example], name: str, main: str | None) -> ScoredRows:
    return ScoredRows(
        split=name,
        encoded=artifact.encode(examples),
        collator=artifact.collator,
        labels=artifact.facts.labels,
        main=main,
    )
