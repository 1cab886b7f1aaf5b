"""Two systems on the same rows or the same seeds: is the difference more than chance?"""

from dataclasses import dataclass

import numpy as np

from trimtab.metrics.intervals import mean_interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Mean of a - b over `n` pairs with its 95 % interval; the interval excludes 0 where a difference is
    shown."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, kw_only=True, slots=True)
class McNemar:
    """Rows that only a, or only b, gets right, and the chance of so uneven a split if both were equally
    good."""

    only_a: int
    only_b: int
    p_value: float


def paired_difference(a: np.ndarray, b: np.ndarray) -> Difference:
    """Student's interval of the mean of a - b; a[n] and b[n] are scores of the same seeds, folds or rows.
    With a single pair the interval is (-inf, inf)."""
    differences = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    low, high = mean_interval(differences)
    return Difference(mean=float(differences.mean()), low=low, high=high, n=len(differences))


def mcnemar(a_right: np.ndarray, b_right: np.ndarray) -> McNemar:
    """McNemar's exact test, two-sided, on bool[n]: the rows on which a and b differ are tosses of a fair
    coin.

    p = 2 * P(X <= min(only_a, only_b)), X binomial(only_a + only_b, 1/2), at most 1; in whole numbers, so
    exact.
    """
    only_a = int(np.count_nonzero(a_right & ~b_right))
    only_b = int(np.count_nonzero(b_right & ~a_right))
    tosses = only_a + only_b
    ways = term = 1
    for k in range(min(only_a, only_b)):
        term = term * (tosses - k) // (k + 1)
        ways += term
    return McNemar(only_a=only_a, only_b=only_b, p_value=min(1.0, 2 * ways / 2**tosses))
