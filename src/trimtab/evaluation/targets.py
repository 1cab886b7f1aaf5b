"""What a row of a labelled task has: a class, any number of labels, or a number. Its loss, and what the outputs of
the head say.

Final classes, one a kind; `labelled.Labelled` is the same for all of them.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch

from trimtab.evaluation.encode import NO_LABELS
from trimtab.evaluation.loss import class_loss, many_hot, several_labels_loss, squared_error
from trimtab.evaluation.predict import cross_entropies, probabilities
from trimtab.evaluation.prediction import Prediction
from trimtab.methods import Strategy
from trimtab.metrics import (
    SEVERAL_METRIC,
    Confusion,
    Score,
    class_metric,
    confusion_matrix,
    score_classes,
    score_numbers,
    score_several,
)


class Target(ABC):
    """Abstract. Stateless. `outputs` are those of the head, float32 (rows, numbers)."""

    problem_type: ClassVar[str | None] = None
    """What transformers' own classes have to be told, to compute the same loss."""

    @abstractmethod
    def imagined(self, rows: int) -> torch.Tensor:
        """Targets of that many rows."""

    @abstractmethod
    def loss_sum(self, logits: torch.Tensor, targets: torch.Tensor, strategy: Strategy) -> torch.Tensor:
        """Summed over rows, in fp32."""

    @abstractmethod
    def known(self, targets: torch.Tensor) -> torch.Tensor:
        """Which rows have a target, bool (rows): see `encode.NO_LABEL`."""

    @abstractmethod
    def predictions(self, outputs: np.ndarray) -> np.ndarray:
        """What the outputs come to, a target for every row."""

    @abstractmethod
    def losses(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Of every row, as the task alone has it."""

    @abstractmethod
    def score(
        self,
        predictions: np.ndarray,
        targets: np.ndarray,
        *,
        split: str,
        labels: tuple[str, ...],
        loss: float,
        main: str | None,
    ) -> Score: ...

    @abstractmethod
    def main_metric(self, label_counts: tuple[int, ...]) -> str: ...

    @abstractmethod
    def shown(self, target: np.ndarray, labels: tuple[str, ...]) -> str:
        """One target in words."""

    @abstractmethod
    def prediction(self, outputs: np.ndarray, labels: tuple[str, ...]) -> Prediction:
        """What the outputs of one row, (numbers), say."""

    def confusion(self, predictions: np.ndarray, targets: np.ndarray, labels: tuple[str, ...]) -> Confusion | None:
        """Which labels are taken for which, where a row has one of them."""
        return None

    def agreement(self, some: np.ndarray, others: np.ndarray) -> float | None:
        """Share of rows with the same prediction; None where predictions are numbers."""
        return float((some == others).reshape(len(some), -1).all(axis=1).mean())


class OneClass(Target):
    """Cross entropy; targets are indexes into the labels, int64 (rows)."""

    def imagined(self, rows: int) -> torch.Tensor:
        return torch.zeros(rows, dtype=torch.int64)

    def loss_sum(self, logits: torch.Tensor, targets: torch.Tensor, strategy: Strategy) -> torch.Tensor:
        return class_loss(logits, targets, strategy)

    def known(self, targets: torch.Tensor) -> torch.Tensor:
        return targets >= 0

    def predictions(self, outputs: np.ndarray) -> np.ndarray:
        return outputs.argmax(axis=1)

    def losses(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return cross_entropies(outputs, targets)

    def score(
        self,
        predictions: np.ndarray,
        targets: np.ndarray,
        *,
        split: str,
        labels: tuple[str, ...],
        loss: float,
        main: str | None,
    ) -> Score:
        return score_classes(predictions, targets, split=split, labels=labels, loss=loss, main=main)

    def main_metric(self, label_counts: tuple[int, ...]) -> str:
        return class_metric(label_counts)

    def shown(self, target: np.ndarray, labels: tuple[str, ...]) -> str:
        return labels[int(target)]

    def prediction(self, outputs: np.ndarray, labels: tuple[str, ...]) -> Prediction:
        shares = probabilities(outputs[None])[0]
        order = np.argsort(-shares, kind="stable")
        scores = tuple((labels[index], float(shares[index])) for index in order)
        return Prediction(scores[0][0], scores[0][1], None, scores)

    def confusion(self, predictions: np.ndarray, targets: np.ndarray, labels: tuple[str, ...]) -> Confusion | None:
        counts = confusion_matrix(predictions, targets, len(labels)).tolist()
        return Confusion(labels=labels, counts=tuple(map(tuple, counts)))


class Number(Target):
    """Squared error; targets are float32 (rows)."""

    def imagined(self, rows: int) -> torch.Tensor:
        return torch.zeros(rows, dtype=torch.float32)

    def loss_sum(self, logits: torch.Tensor, targets: torch.Tensor, strategy: Strategy) -> torch.Tensor:
        return squared_error(logits, targets)

    def known(self, targets: torch.Tensor) -> torch.Tensor:
        return ~targets.isnan()

    def predictions(self, outputs: np.ndarray) -> np.ndarray:
        return outputs[:, 0]

    def losses(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return (outputs[:, 0] - targets) ** 2

    def score(
        self,
        predictions: np.ndarray,
        targets: np.ndarray,
        *,
        split: str,
        labels: tuple[str, ...],
        loss: float,
        main: str | None,
    ) -> Score:
        return score_numbers(predictions, targets, split=split, loss=loss, main=main)

    def main_metric(self, label_counts: tuple[int, ...]) -> str:
        return "pearson"

    def agreement(self, some: np.ndarray, others: np.ndarray) -> float | None:
        return None

    def shown(self, target: np.ndarray, labels: tuple[str, ...]) -> str:
        return f"{target:.3f}"

    def prediction(self, outputs: np.ndarray, labels: tuple[str, ...]) -> Prediction:
        return Prediction(None, None, float(outputs[0]), ())


class SeveralLabels(Target):
    """Binary cross entropy; targets are indexes into the labels, int64 (rows, most), filled up with -1. A label is
    said of a row where it is more likely than not."""

    problem_type = "multi_label_classification"

    def imagined(self, rows: int) -> torch.Tensor:
        return torch.zeros(rows, 1, dtype=torch.int64)

    def loss_sum(self, logits: torch.Tensor, targets: torch.Tensor, strategy: Strategy) -> torch.Tensor:
        return several_labels_loss(logits, targets, strategy)

    def known(self, targets: torch.Tensor) -> torch.Tensor:
        return targets[:, 0] != NO_LABELS

    def predictions(self, outputs: np.ndarray) -> np.ndarray:
        """bool (rows, labels)."""
        return outputs > 0

    def losses(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        signed = np.where(_many_hot(targets, outputs.shape[1]), -outputs, outputs)
        return np.logaddexp(0, signed).mean(axis=1)

    def score(
        self,
        predictions: np.ndarray,
        targets: np.ndarray,
        *,
        split: str,
        labels: tuple[str, ...],
        loss: float,
        main: str | None,
    ) -> Score:
        hot = _many_hot(targets, len(labels))
        return score_several(predictions, hot, split=split, labels=labels, loss=loss)

    def main_metric(self, label_counts: tuple[int, ...]) -> str:
        return SEVERAL_METRIC

    def shown(self, target: np.ndarray, labels: tuple[str, ...]) -> str:
        """A target, or a prediction."""
        indexes = np.flatnonzero(target) if target.dtype == np.bool_ else target[target >= 0]
        return ", ".join(labels[index] for index in indexes) or "–"

    def prediction(self, outputs: np.ndarray, labels: tuple[str, ...]) -> Prediction:
        shares = 1 / (1 + np.exp(-outputs.astype(np.float64)))
        order = np.argsort(-shares, kind="stable")
        scores = tuple((labels[index], float(shares[index])) for index in order)
        return Prediction(None, None, None, scores, labels=tuple(pair for pair in scores if pair[1] > 0.5))


def _many_hot(targets: np.ndarray, count: int) -> np.ndarray:
    return many_hot(torch.from_numpy(targets), count).numpy() > 0
