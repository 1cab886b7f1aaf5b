"""How good vectors are: cosines beside scores of pairs, and what queries find. NumPy only; vectors have length
1."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trimtab.errors import message
from trimtab.metrics.intervals import correlation_interval, mean_interval, wilson
from trimtab.metrics.regression import is_constant, pearson, ranks, spearman
from trimtab.metrics.score import Metric, Score

RECALLED = (1, 5, 10)
_TEMPERATURE = 0.05  # of the losses of an evaluation, whatever the training's is
_MOST_COSINES = 4_000_000  # at once, 6 bytes each: queries go in blocks


@dataclass(frozen=True, kw_only=True, slots=True)
class Retrieval:
    """What n queries find among all passages. `ranks` int64[n]: the place of the positive, 1 = first, passages
    with the same cosine before it. `cosines` and `best_cosines` float64[n]: of the positive, and of the best
    passage that is none; `best` int64[n] which that is. `losses` float64[n]: cross entropy of the positive at
    temperature 0.05."""

    ranks: np.ndarray
    cosines: np.ndarray
    best_cosines: np.ndarray
    best: np.ndarray
    losses: np.ndarray


def retrieve(
    queries: np.ndarray,
    passages: np.ndarray,
    positives: np.ndarray,
    query_keys: np.ndarray,
    passage_keys: np.ndarray,
    passage_names: np.ndarray,
) -> Retrieval:
    """`queries` float32 (n, width), `passages` (m, width) all different, `positives` int64[n] indexes of passages.
    Keys are equal for equal texts: a passage that is the query itself, or a positive of an equal query, is not
    counted before the positive. `passage_names`: what `best` says of each passage."""
    others = _other_positives(query_keys, positives)
    size = max(1, _MOST_COSINES // len(passages))
    blocks = [np.arange(start, min(start + size, len(queries))) for start in range(0, len(queries), size)]
    found = [_find(queries, passages, positives, query_keys, passage_keys, others, rows) for rows in blocks]
    ranks, own, best_cosines, best, losses = map(np.concatenate, zip(*found, strict=True))
    return Retrieval(ranks=ranks, cosines=own, best_cosines=best_cosines, best=passage_names[best], losses=losses)


def _find(
    queries: np.ndarray,
    passages: np.ndarray,
    positives: np.ndarray,
    query_keys: np.ndarray,
    passage_keys: np.ndarray,
    others: dict[int, Sequence[int]],
    rows: np.ndarray,
) -> tuple[np.ndarray, ...]:
    """Of some rows of queries: ranks, cosines of the positive and of the best other, which that is, losses. Holds
    one float32 and two bool for each query and passage."""
    cosines = queries[rows] @ passages.T
    every, mine = np.arange(len(rows)), positives[rows]
    own = cosines[every, mine]
    out = passage_keys[None, :] == query_keys[rows][:, None]
    for at, row in enumerate(rows):
        out[at, others[query_keys[row]]] = True
    out[every, mine] = True
    cosines[out] = -np.inf
    before = (cosines >= own[:, None]).sum(1)
    best = cosines.argmax(1)
    best_cosines = cosines[every, best].astype(np.float64)
    highest = np.maximum(cosines[every, best], own)
    cosines -= highest[:, None]
    cosines /= np.float32(_TEMPERATURE)
    np.exp(cosines, out=cosines)
    gaps = (own.astype(np.float64) - highest) / _TEMPERATURE
    losses = np.log(cosines.sum(1, dtype=np.float64) + np.exp(gaps)) - gaps
    return before + 1, own.astype(np.float64), best_cosines, best, losses


def score_retrieval(split: str, found: Retrieval) -> Score:
    """Score of n >= 1 queries: mean reciprocal rank (Student's interval), which decides, and the share whose
    positive is among the first 1, 5 and 10 (Wilson's)."""
    n, reciprocal = len(found.ranks), 1.0 / found.ranks
    mean = float(reciprocal.mean())
    low, high = (mean, mean) if n == 1 else mean_interval(reciprocal)
    note = message("TT-E004") if n == 1 else None
    metrics = [Metric(name="mrr", value=mean, low=max(0.0, low), high=min(1.0, high), note=note)]
    for first in RECALLED:
        hits = int((found.ranks <= first).sum())
        low, high = wilson(hits, n)
        metrics.append(Metric(name=f"recall@{first}", value=hits / n, low=low, high=high))
    return Score(split=split, n=n, loss=float(found.losses.mean()), metrics=tuple(metrics))


def score_pairs(split: str, cosines: np.ndarray, scores: np.ndarray) -> Score:
    """Score of n >= 1 pairs, float64[n] each: Spearman's correlation, which decides, and Pearson's (Fisher's z,
    for ranks Bonett and Wright 2000). The loss is CoSENT over all pairs of the split at temperature 0.05."""
    n = len(scores)
    note = None
    if is_constant(cosines) or is_constant(scores):
        note = message("TT-E001" if is_constant(cosines) else "TT-E002", n=n)
    metrics = []
    for name, value in (("spearman", spearman(cosines, scores)), ("pearson", pearson(cosines, scores))):
        low, high = (-1.0, 1.0) if note else correlation_interval(value, n, ranks=name == "spearman")
        metrics.append(Metric(name=name, value=value, low=low, high=high, note=note))
    return Score(split=split, n=n, loss=cosent(cosines, scores, _TEMPERATURE), metrics=tuple(metrics))


def cosent(cosines: np.ndarray, scores: np.ndarray, temperature: float) -> float:
    """log(1 + sum of exp((cos_j - cos_i) / temperature)) over i, j with score_i > score_j: in the order of scores
    a sum over i of exp(-cos_i / t) times all exp(cos_j / t) before."""
    order = np.argsort(scores, kind="stable")
    sorted_scores, raised = scores[order], np.exp(cosines[order] / temperature)
    below = np.concatenate([[0.0], np.cumsum(raised)])[np.searchsorted(sorted_scores, sorted_scores, side="left")]
    return float(np.log1p((below / raised).sum()))


def rank_gaps(cosines: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """How far each pair's place by cosine is from its place by score, as a share of all places, float64[n]."""
    return np.abs(ranks(cosines) - ranks(scores)) / max(1, len(scores) - 1)


def _other_positives(query_keys: np.ndarray, positives: np.ndarray) -> dict[int, Sequence[int]]:
    found: dict[int, list[int]] = {}
    for key, positive in zip(query_keys.tolist(), positives.tolist(), strict=True):
        found.setdefault(key, []).append(positive)
    return dict(found)
