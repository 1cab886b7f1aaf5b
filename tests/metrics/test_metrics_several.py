"""Figures of several labels a row against scikit-learn, and by hand at the edges."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from trimtab.metrics import Score, score_several

ABC = ("a", "b", "c")
rows_of_labels = st.lists(
    st.tuples(*[st.tuples(st.booleans(), st.booleans(), st.booleans())] * 2), min_size=1, max_size=40
)


def score(predictions: np.ndarray, targets: np.ndarray) -> Score:
    return score_several(predictions, targets, split="dev", labels=ABC, loss=0.1)


@settings(max_examples=60, deadline=None)
@given(rows_of_labels)
@pytest.mark.filterwarnings("ignore")
def test_figures_equal_scikit_learn(rows: list[tuple[tuple[bool, ...], tuple[bool, ...]]]) -> None:
    predictions, targets = (np.array([row[side] for row in rows]) for side in (0, 1))
    result = score(predictions, targets)
    found = {metric.name: metric for metric in result.metrics}
    there = np.flatnonzero((predictions | targets).any(0))  # of a label that never occurs F1 says nothing
    macro = sk.f1_score(targets, predictions, average="macro", labels=there) if len(there) else 0.0
    assert found["micro_f1"].value == pytest.approx(sk.f1_score(targets, predictions, average="micro"))
    assert found["macro_f1"].value == pytest.approx(macro)
    assert found["subset_accuracy"].value == pytest.approx(sk.accuracy_score(targets, predictions))
    assert all(metric.low <= metric.value <= metric.high for metric in result.metrics)
    for label in result.classes:
        column = ABC.index(label.label)
        assert label.f1 == pytest.approx(sk.f1_score(targets[:, column], predictions[:, column]))
        assert label.support == targets[:, column].sum()


def test_micro_f1_decides_and_rows_without_labels_are_said_to_say_nothing() -> None:
    nothing = np.zeros((4, 3), np.bool_)
    empty = score(nothing, nothing)
    assert empty.main.name == "micro_f1" and (empty.main.value, empty.main.low) == (0.0, 0.0)
    assert empty.main.note is not None and empty.main.note.code == "TT-D131"
    assert {metric.name: metric.value for metric in empty.metrics}["subset_accuracy"] == 1.0
    targets = nothing.copy()
    targets[0, 1] = True
    assert score(targets, targets).main.note is None and score(targets, targets).main.value == 1.0


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Micro-F1 of 40 rows drawn from many, 200 times."""
    draw = np.random.default_rng(0)
    targets = draw.random((20_000, 3)) < (0.1, 0.4, 0.7)
    predictions = np.where(draw.random(targets.shape) < 0.85, targets, ~targets)
    truth = score(predictions, targets).main.value
    inside = 0
    for _ in range(200):
        rows = draw.integers(0, len(targets), 40)
        main = score(predictions[rows], targets[rows]).main
        inside += main.low <= truth <= main.high
    assert 0.88 <= inside / 200 <= 0.99
