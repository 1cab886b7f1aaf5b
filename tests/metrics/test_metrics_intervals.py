"""Intervals against SciPy, and by counting how often they cover the truth."""

import numpy as np
import pytest
from scipy import stats

from trimtab.metrics.classification import confusion_matrix, macro_f1
from trimtab.metrics.intervals import (
    bootstrap_intervals,
    correlation_interval,
    mean_interval,
    t_quantile,
    wilson,
)


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (10, 10), (7, 10), (829, 1000), (1, 1), (49_999, 100_000)])
def test_wilson_equals_scipy(hits: int, n: int) -> None:
    reference = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert wilson(hits, n) == pytest.approx((reference.low, reference.high), abs=1e-12)


def test_wilson_contains_the_share_at_both_ends() -> None:
    for n in range(1, 200):
        assert wilson(0, n)[0] == 0.0
        assert wilson(n, n)[1] == 1.0


def test_t_quantile_equals_scipy() -> None:
    degrees = range(1, 400)
    assert [t_quantile(d) for d in degrees] == pytest.approx(stats.t.ppf(0.975, degrees).tolist(), abs=1e-5)


def test_mean_interval_equals_scipy() -> None:
    values = np.array([0.912, 0.905, 0.921, 0.899, 0.917])
    reference = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert mean_interval(values) == pytest.approx((reference.low, reference.high), abs=1e-7)


def test_pearson_interval_equals_scipy() -> None:
    random = np.random.default_rng(1)
    x = random.normal(size=50)
    y = x + random.normal(size=50)
    reference = stats.pearsonr(x, y)
    interval = reference.confidence_interval(0.95)
    assert correlation_interval(float(reference.statistic), 50, ranks=False) == pytest.approx(
        (interval.low, interval.high), abs=1e-9
    )


def test_too_few_pairs_say_nothing_about_a_correlation() -> None:
    assert correlation_interval(0.99, 3, ranks=False) == (-1.0, 1.0)


def test_a_perfect_correlation_has_an_interval() -> None:
    low, high = correlation_interval(1.0, 20, ranks=True)
    assert 0.99 < low <= high <= 1.0


def test_spearman_interval_covers_the_truth() -> None:
    """Bivariate normal with rho = 0.7 has a rank correlation of 6/pi * asin(rho/2)."""
    random = np.random.default_rng(2)
    truth = 6 / np.pi * np.arcsin(0.35)
    covered = 0
    for _ in range(400):
        x, y = random.multivariate_normal([0, 0], [[1, 0.7], [0.7, 1]], 60).T
        low, high = correlation_interval(float(stats.spearmanr(x, y)[0]), 60, ranks=True)
        covered += low <= truth <= high
    assert covered == pytest.approx(380, abs=14)  # 95 % of 400, give or take three standard errors


def test_bootstrap_equals_drawing_rows() -> None:
    """The multinomial over cells against the textbook way: draw row numbers, count again."""
    random = np.random.default_rng(3)
    targets = random.integers(0, 3, 300)
    predictions = np.where(random.random(300) < 0.8, targets, random.integers(0, 3, 300))
    ((low, high),) = bootstrap_intervals(confusion_matrix(predictions, targets, 3), [macro_f1])
    by_rows = []
    for _ in range(2000):
        rows = random.integers(0, 300, 300)
        matrix = confusion_matrix(predictions[rows], targets[rows], 3)
        by_rows.append(float(macro_f1(np.diagonal(matrix) * 1.0, matrix.sum(1) * 1.0, matrix.sum(0) * 1.0)))
    assert (low, high) == pytest.approx(np.quantile(by_rows, (0.025, 0.975)).tolist(), abs=0.01)


def test_bootstrap_is_seeded() -> None:
    matrix = np.array([[40, 10], [5, 45]])
    once, again = (bootstrap_intervals(matrix, [macro_f1], seed=7) for _ in range(2))
    assert once == again
    assert once != bootstrap_intervals(matrix, [macro_f1], seed=8)
