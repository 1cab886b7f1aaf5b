"""Figures of a regression: correlations and squared error."""

import numpy as np


def is_constant(values: np.ndarray) -> bool:
    """True where all values are the same up to rounding."""
    return bool(np.ptp(values) <= 4 * np.finfo(np.float64).eps * np.abs(values).max())


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's correlation of float64[n]; 0 where one side is constant."""
    if is_constant(x) or is_constant(y):
        return 0.0
    dx, dy = x - x.mean(), y - y.mean()
    # Scaling first keeps the products of very small or large deviations within range.
    dx, dy = dx / np.abs(dx).max(), dy / np.abs(dy).max()
    return float(np.clip(dx @ dy / np.sqrt((dx @ dx) * (dy @ dy)), -1, 1))


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's correlation of float64[n]: Pearson's of the ranks, ties sharing their mean rank."""
    return pearson(ranks(x), ranks(y))


def ranks(values: np.ndarray) -> np.ndarray:
    """Places in ascending order, from 1, float64[n]; ties share their mean."""
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)
    return (last - (sizes - 1) / 2)[group]
