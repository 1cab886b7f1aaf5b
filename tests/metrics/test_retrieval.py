"""Scores of vectors, beside sums by hand, scipy and loops."""

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from trimtab.metrics.retrieval import cosent, rank_gaps, retrieve, score_pairs, score_retrieval


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_ranks_count_what_comes_before_the_positive() -> None:
    draw = np.random.default_rng(0)
    queries, passages = unit(draw.normal(size=(40, 6))), unit(draw.normal(size=(90, 6)))
    positives = draw.integers(0, 90, 40)
    query_keys, passage_keys = np.arange(40) + 1000, np.arange(90)
    query_keys[1] = query_keys[0]  # the same query twice: one's positive is no mistake of the other
    passage_keys[7] = query_keys[2]  # a passage that is a query itself is not found by it
    found = retrieve(queries, passages, positives, query_keys, passage_keys, np.arange(90) + 500)
    for row in range(40):
        cosines = queries[row] @ passages.T
        out = {7} if row == 2 else set()
        out |= set(positives[query_keys == query_keys[row]]) | {positives[row]}
        others = [place for place in range(90) if place not in out]
        before = sum(cosines[place] >= cosines[positives[row]] for place in others)
        assert found.ranks[row] == before + 1
        best = max(others, key=lambda place: cosines[place])
        assert found.best[row] == best + 500
        scores = np.array([cosines[positives[row]], *cosines[others]]) / 0.05
        loss = -scores[0] + math.log(np.exp(scores - scores.max()).sum()) + scores.max()
        assert found.losses[row] == pytest.approx(loss, rel=1e-4, abs=1e-5)
    score = score_retrieval("dev", found)
    assert score.main.name == "mrr" and score.main.value == pytest.approx(np.mean(1 / found.ranks))
    by_name = {metric.name: metric.value for metric in score.metrics}
    assert by_name["recall@5"] == pytest.approx(np.mean(found.ranks <= 5))
    assert all(metric.low <= metric.value <= metric.high for metric in score.metrics)


def test_vectors_that_are_all_the_same_find_nothing_first() -> None:
    same = np.ones((5, 3), np.float32) / math.sqrt(3)
    found = retrieve(same, same, np.arange(5), np.arange(5), np.arange(5) + 10, np.arange(5))
    assert (found.ranks == 5).all()


def test_pairs_are_scored_by_rank_correlation() -> None:
    draw = np.random.default_rng(1)
    scores = draw.integers(0, 5, 60).astype(float)
    cosines = scores / 9 + draw.normal(size=60) / 4
    score = score_pairs("test", cosines, scores)
    assert score.main.name == "spearman"
    assert score.main.value == pytest.approx(spearmanr(cosines, scores).statistic)
    pairs = [(i, j) for i in range(60) for j in range(60) if scores[i] > scores[j]]
    total = sum(math.exp((cosines[j] - cosines[i]) / 0.05) for i, j in pairs)
    assert score.loss == pytest.approx(math.log(1 + total))
    assert cosent(cosines, scores, 0.5) < score.loss
    gaps = rank_gaps(cosines, scores)
    assert gaps.max() <= 1 and rank_gaps(scores, scores).max() == 0
    flat = score_pairs("test", np.ones(60), scores)
    assert flat.main.value == 0 and flat.main.note is not None and flat.main.note.code == "TT-E001"
