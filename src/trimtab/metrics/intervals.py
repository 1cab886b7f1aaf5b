"""95 % intervals: of a share, a mean and a correlation, and of anything computed from a confusion matrix."""

import math
from collections.abc import Callable, Sequence

import numpy as np

Z_95 = 1.959963984540054
"""97.5 % quantile of the normal distribution."""

_T_95 = (12.70620, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139)
_REPLICATES = 500
_CHUNK = 100
_DRAWN_NUMBERS = 1 << 22  # 32 MiB at once

Statistic = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Maps hits, support and predictions of each class, float64[..., K], to float64[...]."""


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Interval of a share, never outside [0, 1] and honest at 0 and 1 (Wilson 1927)."""
    share, z2 = hits / n, Z_95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # At 0 and 1 the end is the share itself, which rounding must not miss.
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def t_quantile(degrees: int) -> float:
    """97.5 % quantile of Student's t: a table up to 10 degrees of freedom, then the expansion around the
    normal (Abramowitz and Stegun 26.7.5), right to 1e-5. `degrees` is at least 1."""
    if degrees <= len(_T_95):
        return _T_95[degrees - 1]
    z, v = Z_95, degrees
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * v**4)
    )


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """Student's interval of a mean; values[n]. One value alone says nothing: (-inf, inf)."""
    n = len(values)
    if n < 2:
        return -math.inf, math.inf
    half = t_quantile(n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n)
    centre = float(np.mean(values))
    return centre - half, centre + half


def correlation_interval(r: float, n: int, *, ranks: bool) -> tuple[float, float]:
    """Interval of a correlation by Fisher's z, with the standard error of Bonett and Wright (2000) for
    `ranks` (Spearman). Three pairs or fewer say nothing: (-1, 1)."""
    if n <= 3:
        return -1.0, 1.0
    inside = min(max(r, -1 + 1e-15), 1 - 1e-15)
    half = Z_95 * math.sqrt((1 + r * r / 2 if ranks else 1.0) / (n - 3))
    low, high = math.tanh(math.atanh(inside) - half), math.tanh(math.atanh(inside) + half)
    return min(r, low), max(r, high)


def bootstrap_intervals(
    confusion: np.ndarray, statistics: Sequence[Statistic], seed: int = 0
) -> list[tuple[float, float]]:
    """Percentile bootstrap over the rows behind a confusion matrix int64[K, K] (row = target), 500
    replicates; one interval for each statistic.

    Drawing n rows with replacement is drawing the cells' counts from a multinomial, so the cost grows with
    the cells that are not empty and not with n.
    """
    targets, predictions = np.nonzero(confusion)
    counts = confusion[targets, predictions]
    n = int(counts.sum())
    random = np.random.default_rng(seed)
    values = np.empty((len(statistics), _REPLICATES))
    for start in range(0, _REPLICATES, _CHUNK):
        drawn = random.multinomial(n, counts / n, size=_CHUNK).astype(np.float64)
        margins = _margins_of_cells(drawn, targets, predictions, len(confusion))
        for row, statistic in zip(values, statistics, strict=True):
            row[start : start + _CHUNK] = statistic(*margins)
    return [(float(low), float(high)) for low, high in np.quantile(values, (0.025, 0.975), axis=1).T]


def resampled_intervals(
    sums: np.ndarray, statistics: Sequence[Callable[[np.ndarray], np.ndarray]], seed: int = 0
) -> list[tuple[float, float]]:
    """Percentile bootstrap over n units of which something is counted, `sums` int64[n, k], 500 replicates; one
    interval for each statistic, which maps sums float64[..., k] of all units to float64[...].

    Units of which the same is counted are one cell, as in `bootstrap_intervals`.
    """
    cells, counts = np.unique(sums, axis=0, return_counts=True)
    random = np.random.default_rng(seed)
    values = np.empty((len(statistics), _REPLICATES))
    chunk = max(1, min(_CHUNK, _DRAWN_NUMBERS // len(cells)))
    for start in range(0, _REPLICATES, chunk):
        size = min(chunk, _REPLICATES - start)
        drawn = random.multinomial(len(sums), counts / len(sums), size=size) @ cells.astype(np.float64)
        for row, statistic in zip(values, statistics, strict=True):
            row[start : start + size] = statistic(drawn)
    return [(float(low), float(high)) for low, high in np.quantile(values, (0.025, 0.975), axis=1).T]


def _margins_of_cells(
    counts: np.ndarray, targets: np.ndarray, predictions: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hits, support and predictions of each class, float64[replicates, classes], from the counts of the cells
    (targets[c], predictions[c]), float64[replicates, c]."""
    of_target = np.eye(classes)[targets]
    of_prediction = np.eye(classes)[predictions]
    hits = counts * (targets == predictions)
    return hits @ of_target, counts @ of_target, counts @ of_prediction
