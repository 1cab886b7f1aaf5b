"""Figures of answers: means over tokens, with intervals over answers; exact match and ROUGE-L."""

import numpy as np
import pytest

from trimtab.metrics import exact_match, rouge_l, score_answers


def test_the_loss_is_a_mean_over_tokens_and_decides_by_being_low() -> None:
    losses, right, tokens = np.array([2.0, 30.0]), np.array([1, 5]), np.array([2, 10])
    found = score_answers("dev", losses, right, tokens)
    named = {metric.name: metric for metric in found.metrics}
    assert found.main is named["loss"] and found.n == 2
    assert found.loss == named["loss"].value == pytest.approx(32 / 12)
    assert named["perplexity"].value == pytest.approx(np.exp(32 / 12))
    assert named["token_accuracy"].value == pytest.approx(6 / 12)
    assert found.main.is_better_than(2.7) and not found.main.is_better_than(2.6)
    assert named["token_accuracy"].is_better_than(0.4)


def test_answers_without_a_token_are_left_out_and_counted() -> None:
    found = score_answers("dev", np.array([2.0, 0.0, 30.0]), np.array([1, 0, 5]), np.array([2, 0, 10]))
    assert (found.n, found.left_out, found.loss) == (2, 1, pytest.approx(32 / 12))


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    draw, covered, rounds = np.random.default_rng(0), 0, 400
    for _ in range(rounds):
        tokens = draw.integers(5, 60, 80)
        level = draw.normal(2.0, 0.5, 80)  # tokens of one answer go together
        losses = level * tokens + draw.normal(0, 1, 80) * np.sqrt(tokens)
        low, high = (
            getattr(score_answers("dev", losses, tokens // 2, tokens).main, end) for end in ("low", "high")
        )
        covered += low <= 2.0 <= high
    assert 0.92 < covered / rounds < 0.98


def test_one_answer_has_no_interval_and_a_hopeless_loss_is_still_a_number() -> None:
    found = score_answers("dev", np.array([9000.0]), np.array([0]), np.array([3]))
    assert found.main.low == found.main.high == 3000.0 and found.main.note is not None
    assert np.isfinite(found.metrics[1].value)


def test_exact_match_compares_what_is_final() -> None:
    assert exact_match("She has 5 - 3 = 2.\n#### 2", "Two left, I think.\n#### 2")
    assert not exact_match("... \n#### 2", "#### 20")
    assert not exact_match("... \n#### 2", "2")
    assert exact_match("Paris.", " paris")
    assert not exact_match("Paris", "Paris, France")


@pytest.mark.parametrize(
    ("expected", "written", "value"),
    [
        ("the cat sat", "the cat sat", 1.0),
        ("the cat sat on the mat", "the dog sat", 2 * 2 / 9),
        ("police killed the gunman", "police kill the gunman", 2 * 3 / 8),  # Lin 2004, section 3
        ("猫坐在垫子上", "猫在垫上", 2 * 4 / 10),
        ("a", "", 0.0),
        ("", "", 1.0),
    ],
)
def test_rouge_l(expected: str, written: str, value: float) -> None:
    assert rouge_l(expected, written) == pytest.approx(value)
