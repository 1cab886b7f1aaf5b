"""How good predictions are where a row has any number of labels: F1 over all decisions (micro), the mean F1 of the
labels (macro), and the share of rows whose labels are all right (subset accuracy)."""

from collections.abc import Sequence

import numpy as np

from trimtab.errors import message
from trimtab.metrics.classification import class_scores_of, macro_f1
from trimtab.metrics.intervals import resampled_intervals, wilson
from trimtab.metrics.score import Metric, Score

SEVERAL_METRIC = "micro_f1"


def score_several(
    predictions: np.ndarray, targets: np.ndarray, *, split: str, labels: Sequence[str], loss: float
) -> Score:
    """Score of n >= 1 rows: bool (n, labels) each. Micro-F1 decides; it and macro-F1 have a percentile bootstrap
    over rows, subset accuracy has Wilson's interval. Macro-F1 is the mean over labels that occur among targets or
    predictions."""
    assert len(predictions) == len(targets) > 0, "a score needs rows, one prediction for each"
    hits = predictions & targets
    right = int((predictions == targets).all(1).sum())
    sums = np.concatenate([hits, targets, predictions], axis=1).astype(np.int8)
    low, high = wilson(right, len(targets))
    return Score(
        split=split,
        n=len(targets),
        loss=loss,
        metrics=(
            *_f1_metrics(sums),
            Metric(name="subset_accuracy", value=right / len(targets), low=low, high=high),
        ),
        classes=class_scores_of(hits.sum(0), targets.sum(0), predictions.sum(0), labels=labels),
    )


def _f1_metrics(sums: np.ndarray) -> list[Metric]:
    whole = sums.sum(0, dtype=np.float64)
    note = None if whole.any() else message("TT-D131", n=len(sums))
    metrics = []
    named = ((SEVERAL_METRIC, _micro), ("macro_f1", _macro))
    intervals = resampled_intervals(sums, [statistic for _, statistic in named])
    for (name, statistic), (low, high) in zip(named, intervals, strict=True):
        value = float(statistic(whole))
        metrics.append(Metric(name=name, value=value, low=min(low, value), high=max(high, value), note=note))
    return metrics


def _micro(sums: np.ndarray) -> np.ndarray:
    """Hits, targets and predictions of each label, (..., 3 x labels) -> (...)."""
    hits, support, predicted = (part.sum(-1) for part in np.split(sums, 3, axis=-1))
    return np.divide(2 * hits, support + predicted, out=np.zeros(np.shape(hits)), where=support + predicted > 0)


def _macro(sums: np.ndarray) -> np.ndarray:
    hits, support, predicted = np.split(sums, 3, axis=-1)
    return np.where((support + predicted).any(-1), _mean_f1(hits, support, predicted), 0.0)


def _mean_f1(hits: np.ndarray, support: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # rows without a label at all have no mean
        return macro_f1(hits, support, predicted)
