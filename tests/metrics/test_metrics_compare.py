"""Paired comparisons against SciPy."""

import math

import numpy as np
import pytest
from scipy import stats

from trimtab.metrics import mcnemar, paired_difference


def test_paired_difference_equals_scipy() -> None:
    a = np.array([0.91, 0.93, 0.90, 0.94])
    b = np.array([0.90, 0.90, 0.89, 0.92])
    reference = stats.ttest_rel(a, b).confidence_interval(0.95)
    found = paired_difference(a, b)
    assert found.mean == pytest.approx(0.0175)
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), abs=1e-7)
    assert found.n == 4


def test_one_pair_shows_nothing() -> None:
    found = paired_difference(np.array([1.0]), np.array([0.0]))
    assert (found.low, found.high) == (-math.inf, math.inf)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 0), (5, 5), (2, 11), (30, 60), (1500, 1700)])
def test_mcnemar_equals_the_exact_binomial_test(only_a: int, only_b: int) -> None:
    agree = [True, False]
    a_right = np.array(agree + [True] * only_a + [False] * only_b)
    b_right = np.array(agree + [False] * only_a + [True] * only_b)
    found = mcnemar(a_right, b_right)
    assert (found.only_a, found.only_b) == (only_a, only_b)
    expected = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert found.p_value == pytest.approx(expected, rel=1e-9)
