"""From predictions and targets to a Score: which metrics a task has, which one decides, and their
intervals."""

from collections.abc import Sequence

import numpy as np

from trimtab.errors import Diverged, Message, message
from trimtab.metrics.classification import class_scores, confusion_matrix, macro_f1, margins, matthews
from trimtab.metrics.intervals import (
    Statistic,
    bootstrap_intervals,
    correlation_interval,
    mean_interval,
    wilson,
)
from trimtab.metrics.regression import is_constant, pearson, spearman
from trimtab.metrics.score import Metric, Score

_DOMINANT_SHARE = 0.8
_BOOTSTRAPPED: dict[str, Statistic] = {"macro_f1": macro_f1, "mcc": matthews}


def class_metric(label_counts: Sequence[int]) -> str:
    """The metric of classes that decides: accuracy, or macro-F1 where the largest class outnumbers all others
    together by more than 4 to 1, so that always naming it would look good."""
    dominant = max(label_counts) > _DOMINANT_SHARE * sum(label_counts)
    return "macro_f1" if dominant else "accuracy"


def score_classes(
    predictions: np.ndarray,
    targets: np.ndarray,
    *,
    split: str,
    labels: tuple[str, ...],
    loss: float,
    main: str | None = None,
) -> Score:
    """Score of n >= 1 predictions and targets, int[n] indexes into `labels`: accuracy (Wilson interval), macro_f1
    and mcc (bootstrap). `main` names the metric put first; without it `class_metric` decides by `targets`, so give
    the same one for dev and test of a run."""
    assert len(predictions) == len(targets) > 0, "a score needs rows, one prediction for each"
    confusion = confusion_matrix(predictions, targets, len(labels))
    return Score(
        split=split,
        n=len(targets),
        loss=loss,
        metrics=put_first(_class_metrics(confusion), main or class_metric(confusion.sum(1).tolist())),
        classes=class_scores(confusion, labels),
    )


def score_numbers(
    predictions: np.ndarray, targets: np.ndarray, *, split: str, loss: float, main: str | None = None
) -> Score:
    """Score of n >= 1 predictions and targets, float[n]: pearson and spearman (Fisher's z), mse and rmse
    (Student's interval of the squared errors). `main` names the metric put first, without it pearson. Raises
    Diverged TT-E003 where a prediction is not finite."""
    assert len(predictions) == len(targets) > 0, "a score needs rows, one prediction for each"
    metrics = _regression_metrics(predictions.astype(np.float64), targets.astype(np.float64))
    return Score(split=split, n=len(targets), loss=loss, metrics=put_first(metrics, main or "pearson"))


def put_first(metrics: Sequence[Metric], main: str) -> tuple[Metric, ...]:
    """The same metrics, `main` before the others."""
    assert main in {metric.name for metric in metrics}, f"there is no metric {main}"
    return tuple(sorted(metrics, key=lambda metric: metric.name != main))


def _class_metrics(confusion: np.ndarray) -> list[Metric]:
    hits, n = int(np.trace(confusion)), int(confusion.sum())
    low, high = wilson(hits, n)
    metrics = [Metric(name="accuracy", value=hits / n, low=low, high=high)]
    intervals = bootstrap_intervals(confusion, tuple(_BOOTSTRAPPED.values()))
    for (name, statistic), (low, high) in zip(_BOOTSTRAPPED.items(), intervals, strict=True):
        value = float(statistic(*margins(confusion)))
        metrics.append(Metric(name=name, value=value, low=min(low, value), high=max(high, value)))
    return metrics


def _regression_metrics(predictions: np.ndarray, targets: np.ndarray) -> list[Metric]:
    n = len(targets)
    broken = int(np.count_nonzero(~np.isfinite(predictions)))
    if broken:
        raise Diverged("TT-E003", count=broken, n=n)
    note = _undefined(predictions, targets)
    return [
        _correlation("pearson", pearson(predictions, targets), n, note),
        _correlation("spearman", spearman(predictions, targets), n, note),
        *_squared_error((predictions - targets) ** 2),
    ]


def _squared_error(errors: np.ndarray) -> list[Metric]:
    mse = float(errors.mean())
    alone = len(errors) == 1
    low, high = (mse, mse) if alone else mean_interval(errors)
    low, note = max(low, 0.0), message("TT-E004") if alone else None
    return [
        Metric(name="mse", value=mse, low=low, high=high, note=note),
        Metric(name="rmse", value=mse**0.5, low=low**0.5, high=high**0.5, note=note),
    ]


def _correlation(name: str, r: float, n: int, note: Message | None) -> Metric:
    low, high = (-1.0, 1.0) if note else correlation_interval(r, n, ranks=name == "spearman")
    return Metric(name=name, value=r, low=low, high=high, note=note)


def _undefined(predictions: np.ndarray, targets: np.ndarray) -> Message | None:
    """Why there is no correlation, or None where there is one."""
    if is_constant(predictions):
        return message("TT-E001", n=len(targets))
    return message("TT-E002", n=len(targets)) if is_constant(targets) else None
