"""Figures of a classification, all from its confusion matrix."""

from collections.abc import Sequence

import numpy as np

from trimtab.metrics.score import ClassScore


def confusion_matrix(predictions: np.ndarray, targets: np.ndarray, classes: int) -> np.ndarray:
    """int64[classes, classes]; entry [t, p] counts rows of class t predicted as p. Inputs are int[n]."""
    cells = np.bincount(targets * classes + predictions, minlength=classes * classes)
    return cells.reshape(classes, classes)


def margins(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(hits, support, predicted) of each class, float64[classes]."""
    whole = confusion.astype(np.float64)
    return np.diagonal(whole), whole.sum(1), whole.sum(0)


def macro_f1(hits: np.ndarray, support: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Mean F1 of the classes that occur among targets or predictions; [..., classes] -> [...]."""
    present = support + predicted
    f1 = np.divide(2 * hits, present, out=np.zeros_like(present), where=present > 0)
    return f1.sum(-1) / (present > 0).sum(-1)


def matthews(hits: np.ndarray, support: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Matthews' correlation for any number of classes (Gorodkin 2004); [..., classes] -> [...]. 0 where all
    targets or all predictions are one class."""
    n = support.sum(-1)
    shared = n * hits.sum(-1) - (support * predicted).sum(-1)
    spread = (n**2 - (predicted**2).sum(-1)) * (n**2 - (support**2).sum(-1))
    return np.divide(shared, np.sqrt(spread), out=np.zeros_like(shared), where=spread > 0)


def class_scores(confusion: np.ndarray, labels: Sequence[str]) -> tuple[ClassScore, ...]:
    """`class_scores_of` a confusion matrix."""
    return class_scores_of(*margins(confusion), labels=labels)


def class_scores_of(
    hits: np.ndarray, support: np.ndarray, predicted: np.ndarray, *, labels: Sequence[str]
) -> tuple[ClassScore, ...]:
    """Precision, recall and F1 of every label that occurs or is predicted, 0 where it does only one of both;
    `hits`, `support` and `predicted` are counts, (labels)."""
    rows = zip(labels, *(values.tolist() for values in (hits, support, predicted)), strict=True)
    return tuple(
        ClassScore(
            label=label,
            precision=hits / predicted if predicted else 0.0,
            recall=hits / support if support else 0.0,
            f1=2 * hits / (support + predicted) if support + predicted else 0.0,
            support=round(support),
        )
        for label, hits, support, predicted in rows
        if support or predicted
    )
