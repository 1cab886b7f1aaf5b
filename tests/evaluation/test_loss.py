"""The loss against its definition, and against the ways in which a batch may be cut."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from tiny_training import run, tiny_job
from trimtab.evaluation.loss import class_loss, squared_error
from trimtab.methods import AdamW, Strategy
from trimtab.training import Step

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 1.0], [-1.0, 3.0, 0.0]])
LABELS = torch.tensor([0, 2, 2])


def strategy_with(**of_loss: object) -> Strategy:
    return Strategy(method="full", parts=(), **of_loss)


def by_hand(smoothing: float, weights: tuple[float, ...]) -> float:
    total = 0.0
    for row, label in zip(LOGITS.tolist(), LABELS.tolist(), strict=True):
        log_sum = math.log(sum(math.exp(x) for x in row))
        log_p = [x - log_sum for x in row]
        target = [(1 - smoothing) * (k == label) + smoothing / len(row) for k in range(len(row))]
        total -= weights[label] * sum(t * p for t, p in zip(target, log_p, strict=True))
    return total


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("weights", [(), (0.5, 1.0, 3.0)])
def test_smoothed_and_weighted_cross_entropy_by_hand(smoothing: float, weights: tuple[float, ...]) -> None:
    wanted = strategy_with(label_smoothing=smoothing, class_weights=weights)
    expected = by_hand(smoothing, weights or (1.0, 1.0, 1.0))
    assert class_loss(LOGITS, LABELS, wanted).item() == pytest.approx(expected, rel=1e-6)
    assert class_loss(LOGITS.bfloat16(), LABELS, wanted).dtype == torch.float32


def test_weights_without_smoothing_are_those_of_torch() -> None:
    weights = (0.5, 1.0, 3.0)
    theirs = F.cross_entropy(LOGITS, LABELS, weight=torch.tensor(weights), reduction="sum")
    weighted = class_loss(LOGITS, LABELS, strategy_with(class_weights=weights))
    assert weighted.item() == pytest.approx(theirs.item())


def test_a_regression_has_squared_errors() -> None:
    values, targets = torch.tensor([[1.0], [2.0]]), torch.tensor([3.0, 2.5])
    assert squared_error(values, targets).item() == pytest.approx(4.25)


@pytest.mark.parametrize("micro_batch", [2, 3])
def test_a_weighted_batch_may_be_cut_anyhow(tmp_path: Path, micro_batch: int) -> None:
    changed = {"label_smoothing": 0.1, "class_weights": (0.4, 2.0), "optimizer": AdamW(epsilon=1e-2)}
    job, corpus = tiny_job(tmp_path, dropout=0.0, batch=8, micro_batch=8, **changed)
    whole = [event.loss for event in run(job, corpus)[0] if isinstance(event, Step)]
    strategy = replace(job.strategy, micro_batch=micro_batch)
    cut, _ = run(replace(job, folder=tmp_path / "cut", strategy=strategy), corpus)
    assert [event.loss for event in cut if isinstance(event, Step)] == pytest.approx(whole, abs=1e-6)


def test_the_loop_trains_on_the_loss_of_its_strategy(tmp_path: Path) -> None:
    """Twice the weights are twice the loss; the first step sees the same model."""
    job, corpus = tiny_job(tmp_path, dropout=0.0)

    def first(strategy: Strategy, name: str) -> float:
        events, _ = run(replace(job, folder=tmp_path / name, strategy=strategy), corpus)
        return next(event.loss for event in events if isinstance(event, Step))

    plain = first(job.strategy, "plain")
    assert first(replace(job.strategy, class_weights=(2.0, 2.0)), "twice") == pytest.approx(2 * plain, rel=1e-6)
    assert first(replace(job.strategy, label_smoothing=0.3), "smooth") != pytest.approx(plain, rel=1e-3)
