"""Cutting dev and test rows from train: stratified, seeded, and the same wherever a row stands in the file.

A row's lot is a hash of its text and the seed, so that neither the order of the file nor the version of a
random generator changes the split. Rows with the same text stay on the same side.
"""

import numpy as np

from trimtab.data.scan import Scan
from trimtab.errors import DataError

_TARGET_STRATA = 10


def cut(train: Scan, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Masks over the kept rows of `train`: (the rest, the rows taken).

    `share` of the distinct texts are taken, at least one, each label (or tenth of the targets of a
    regression) in proportion. One text of each label always stays. Raises DataError TT-D042 where nothing can
    be taken.
    """
    texts, first, text_of_row = np.unique(train.kept_keys, return_index=True, return_inverse=True)
    strata = _strata(train.kept_targets[first])
    order = np.lexsort((_mixed(texts, seed), strata))
    stays = np.r_[True, np.diff(strata[order]) != 0] if len(order) else np.empty(0, np.bool_)
    pool = order[~stays]
    wanted = min(len(pool), max(1, round(share * len(texts))))
    if not wanted:
        raise DataError("TT-D042", rows=len(train))
    # Evenly spaced picks from rows sorted by stratum give each stratum its share to within one row.
    picks = pool[((np.arange(wanted) + 0.5) * len(pool) / wanted).astype(np.int64)]
    taken_texts = np.zeros(len(texts), np.bool_)
    taken_texts[picks] = True
    taken = taken_texts[text_of_row]
    return ~taken, taken


def _strata(targets: np.ndarray) -> np.ndarray:
    if targets.dtype != np.float64 or not len(targets):
        return targets
    edges = np.quantile(targets, np.arange(1, _TARGET_STRATA) / _TARGET_STRATA)
    return np.searchsorted(edges, targets)


def _mixed(keys: np.ndarray, seed: int) -> np.ndarray:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014) over key and seed: uint64 in, uint64 out."""
    golden = 0x9E3779B97F4A7C15
    mixed = keys + np.uint64((seed + 1) * golden % 2**64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
