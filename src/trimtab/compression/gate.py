"""The gate: two models on the same rows, and how far the second is from the first."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from trimtab.artifacts import Compared
from trimtab.data import Split
from trimtab.data.spec import Example
from trimtab.errors import ArtifactError, Diverged
from trimtab.evaluation import Artifact, ScoredRows
from trimtab.evaluation.made_rows import made_rows
from trimtab.evaluation.objective import RowLosses
from trimtab.metrics import Score, paired_difference

_ANSWER_LOSS = "answer_loss"  # of a whole answer or text, mean over rows: the same for every tokenizer


@dataclass(frozen=True, kw_only=True, slots=True)
class Sight:
    """What one model gives for the rows of a split: `outputs` as `Objective.outputs`, and its score, None where
    the rows have no targets. `losses`: of rows that are texts to be written."""

    rows: ScoredRows
    outputs: np.ndarray
    score: Score | None
    losses: RowLosses | None = None

    @property
    def main(self) -> str | None:
        """The metric that decides."""
        return self.rows.main


def see(artifact: Artifact, split: Split, main: str | None) -> Sight:
    """Run a model over a split. `main`: the metric that decides. Raises Diverged, DataError."""
    rows = _rows(artifact, split, split.name, main)
    outputs = _finite(artifact.objective.outputs(artifact.model, rows.encoded, rows.collator))
    if (judged := artifact.objective.judged(outputs, rows)) is not None:
        return Sight(rows=rows, outputs=outputs, score=judged)
    score, losses = artifact.objective.read(artifact.model, rows)
    return Sight(rows=rows, outputs=outputs, score=score, losses=losses)


def see_made_rows(artifact: Artifact) -> Sight:
    """Run a model over rows made of its tokenizer's words: where no data are at hand. Raises Diverged."""
    facts = artifact.facts
    made = made_rows(artifact.tokenizer, max(1, len(facts.columns)), facts.strategy.max_length)
    rows = _rows(artifact, made, "", None)
    outputs = _finite(artifact.objective.outputs(artifact.model, rows.encoded, rows.collator))
    return Sight(rows=rows, outputs=outputs, score=None)


def compared(artifact: Artifact, before: Sight, after: Sight) -> Compared:
    """`after`, of `artifact`, beside `before`, of what it was made of. Two language models with different tokens
    are compared by the losses of whole answers. Raises ArtifactError TT-C606 where there are none."""
    if before.losses is not None and after.losses is not None and not _same_tokens(before, after):
        return _by_answers(before, after, before.losses, after.losses)
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


def _same_tokens(before: Sight, after: Sight) -> bool:
    left, right = before.rows.encoded, after.rows.encoded
    return (
        before.outputs.shape == after.outputs.shape
        and np.array_equal(left.ids, right.ids)
        and np.array_equal(left.starts, right.starts)
    )


def _by_answers(before: Sight, after: Sight, left: RowLosses, right: RowLosses) -> Compared:
    """A loss per token would say how many tokens there are. The loss of a whole answer is minus the logarithm of
    its probability: of one text, whatever it is cut into."""
    whole = left.whole & right.whole
    if not whole.any():
        rows = before.rows
        raise ArtifactError("TT-C606", rows=len(whole), split=rows.split, length=rows.collator.max_length)
    gained = paired_difference(right.losses[whole], left.losses[whole])
    return Compared(
        split=before.rows.split,
        rows=int(whole.sum()),
        compared_outputs=0,
        largest_difference=0.0,
        mean_difference=0.0,
        metric=_ANSWER_LOSS,
        before=float(left.losses[whole].mean()),
        after=float(right.losses[whole].mean()),
        low=gained.low if np.isfinite(gained.low) else None,
        high=gained.high if np.isfinite(gained.high) else None,
        lower_is_better=True,
    )


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
