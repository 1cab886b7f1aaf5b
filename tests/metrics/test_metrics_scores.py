"""Figures against scikit-learn and SciPy, and against hand computation at the edges."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from trimtab.errors import Diverged
from trimtab.metrics import (
    ClassScore,
    Metric,
    Score,
    class_metric,
    confusion_matrix,
    score_classes,
    score_numbers,
)

ABC = ("a", "b", "c")


def classify(predictions: list[int], targets: list[int], labels: tuple[str, ...] = ABC) -> Score:
    return score_classes(np.array(predictions), np.array(targets), split="dev", labels=labels, loss=0.5)


def regress(predictions: list[float], targets: list[float]) -> Score:
    return score_numbers(np.array(predictions), np.array(targets), split="dev", loss=0.5)


def named(result: Score) -> dict[str, Metric]:
    return {metric.name: metric for metric in result.metrics}


pairs_of_classes = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=60)
# Eighths are exact in binary, so that ties are ties for both implementations.
numbers = st.integers(-80, 80).map(lambda n: n / 8)


@settings(max_examples=60, deadline=None)
@given(pairs_of_classes)
@pytest.mark.filterwarnings("ignore")
def test_class_metrics_equal_scikit_learn(rows: list[tuple[int, int]]) -> None:
    predictions, targets = map(list, zip(*rows, strict=True))
    result = classify(predictions, targets)
    found = named(result)
    assert found["accuracy"].value == pytest.approx(sk.accuracy_score(targets, predictions))
    assert found["macro_f1"].value == pytest.approx(sk.f1_score(targets, predictions, average="macro"))
    assert found["mcc"].value == pytest.approx(sk.matthews_corrcoef(targets, predictions))
    precision, recall, f1, support = sk.precision_recall_fscore_support(targets, predictions, zero_division=0)
    assert [c.precision for c in result.classes] == pytest.approx(precision.tolist())
    assert [c.recall for c in result.classes] == pytest.approx(recall.tolist())
    assert [c.f1 for c in result.classes] == pytest.approx(f1.tolist())
    assert [c.support for c in result.classes] == support.tolist()
    for metric in result.metrics:
        assert metric.low <= metric.value <= metric.high


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=40))
@pytest.mark.filterwarnings("ignore")
def test_regression_metrics_equal_scipy(rows: list[tuple[float, float]]) -> None:
    predictions, targets = map(list, zip(*rows, strict=True))
    found = named(regress(predictions, targets))
    assert found["mse"].value == pytest.approx(sk.mean_squared_error(targets, predictions))
    assert found["rmse"].value == pytest.approx(sk.root_mean_squared_error(targets, predictions))
    if len(set(predictions)) > 1 and len(set(targets)) > 1:
        assert found["pearson"].value == pytest.approx(stats.pearsonr(predictions, targets)[0], abs=1e-9)
        assert found["spearman"].value == pytest.approx(stats.spearmanr(predictions, targets)[0], abs=1e-9)
    for metric in found.values():
        assert metric.low <= metric.value <= metric.high


def test_confusion_matrix_has_targets_as_rows() -> None:
    matrix = confusion_matrix(np.array([1, 1, 0]), np.array([0, 1, 0]), 2)
    assert matrix.tolist() == [[1, 1], [0, 1]]


def test_a_class_that_neither_occurs_nor_is_predicted_is_not_scored() -> None:
    result = classify([0, 1, 0], [0, 1, 1])
    assert [entry.label for entry in result.classes] == ["a", "b"]
    # F1 of a: 2*1/(1+2) = 2/3; of b: 2*1/(2+1) = 2/3.
    assert named(result)["macro_f1"].value == pytest.approx(2 / 3)


def test_a_class_that_is_predicted_and_never_occurs_has_zeros() -> None:
    result = classify([0, 2], [0, 1])
    assert result.classes[2] == ClassScore(label="c", precision=0.0, recall=0.0, f1=0.0, support=0)


@pytest.mark.parametrize(
    ("predictions", "targets", "code"),
    [([2.5, 2.5, 2.5], [1.0, 2.0, 3.0], "TT-E001"), ([1.0, 2.0, 3.0], [4.0, 4.0, 4.0], "TT-E002")],
)
def test_no_correlation_with_a_constant_is_zero_and_said(
    predictions: list[float], targets: list[float], code: str
) -> None:
    for name in ("pearson", "spearman"):
        metric = named(regress(predictions, targets))[name]
        assert (metric.value, metric.low, metric.high) == (0.0, -1.0, 1.0)
        assert metric.note is not None and metric.note.code == code


def test_constant_up_to_rounding_is_constant() -> None:
    metric = regress([0.1 + 0.2, 0.3, 0.3], [1.0, 2.0, 3.0]).main
    assert metric.value == 0.0


def test_one_row() -> None:
    accuracy = named(classify([1], [1]))["accuracy"]
    assert accuracy.value == 1.0
    assert accuracy.low == pytest.approx(0.2065, abs=1e-4)  # 1 / (1 + z^2)
    found = named(regress([2.0], [3.5]))
    assert found["mse"].value == 2.25 == found["mse"].high
    assert found["mse"].note is not None
    assert found["pearson"].value == 0.0


def test_predictions_that_are_not_finite_mean_divergence() -> None:
    with pytest.raises(Diverged) as caught:
        regress([1.0, float("nan"), float("inf")], [1.0, 2.0, 3.0])
    assert caught.value.message.fact("count") == 2


@pytest.mark.parametrize(
    ("counts", "name"), [((80, 20), "accuracy"), ((81, 19), "macro_f1"), ((10, 10, 79), "accuracy")]
)
def test_the_metric_that_decides(counts: tuple[int, ...], name: str) -> None:
    assert class_metric(counts) == name
    assert regress([1.0, 2.0], [1.0, 3.0]).main.name == "pearson"


def test_main_metric_comes_first() -> None:
    assert classify([0] * 10, [0] * 9 + [1]).main.name == "macro_f1"
    assert classify([0, 1], [0, 1]).main.name == "accuracy"
    right = np.array([0, 1])
    forced = score_classes(right, right, split="test", labels=("no", "yes"), loss=0.0, main="mcc")
    assert [metric.name for metric in forced.metrics] == ["mcc", "accuracy", "macro_f1"]


def test_ten_thousand_rows_are_scored_in_a_moment() -> None:
    random = np.random.default_rng(0)
    targets = random.integers(0, 20, 10_000)
    predictions = np.where(random.random(10_000) < 0.7, targets, random.integers(0, 20, 10_000))
    start = time.process_time()
    classify(predictions.tolist(), targets.tolist(), tuple(map(str, range(20))))
    assert time.process_time() - start < 1.0  # 0.03 s on an idle core; the bound allows for a busy one
