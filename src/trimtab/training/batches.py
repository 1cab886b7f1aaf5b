"""Which rows make which batch: shuffled, yet of like length, and a pure function of (seed, epoch).

Rows are shuffled, cut into windows of many batches, sorted by length inside a window, cut into batches, and the
batches shuffled. Padding nearly vanishes while every epoch still mixes rows. Because nothing but seed and epoch
decides, a resumed run needs no sampler state.
"""

import numpy as np

_WINDOW_BATCHES = 64


def epoch_batches(lengths: np.ndarray, batch: int, *, seed: int, epoch: int) -> list[np.ndarray]:
    """Row indices of every global batch of one epoch. Every row stands in exactly one; only one may be short."""
    random = np.random.Generator(np.random.PCG64([seed, epoch]))
    order = random.permutation(len(lengths))
    batches: list[np.ndarray] = []
    window = batch * _WINDOW_BATCHES
    for start in range(0, len(order), window):
        rows = order[start : start + window]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        batches += [rows[at : at + batch] for at in range(0, len(rows), batch)]
    return [batches[index] for index in random.permutation(len(batches))]


def micro_batches(rows: np.ndarray, micro_batch: int) -> list[np.ndarray]:
    """One global batch cut into pieces of at most `micro_batch` rows, in order (so pieces have like lengths)."""
    return [rows[at : at + micro_batch] for at in range(0, len(rows), micro_batch)]


def longest_rows(lengths: np.ndarray, rows: int) -> np.ndarray:
    """The `rows` longest rows: the batch that needs most memory."""
    return np.argsort(-lengths, kind="stable")[:rows]
