"""Scores of vectors, beside sums by hand, scipy and loops."""

import math
import tracemalloc

import numpy as np
import pytest
from scipy.stats import spearmanr

from trimtab.metrics import retrieval
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


@pytest.mark.parametrize("numbers", [1, 50, 300, 1000, 10**9])
def test_how_many_queries_go_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch, numbers: int) -> None:
    draw = np.random.default_rng(2)
    queries, passages = unit(draw.normal(size=(33, 8))), unit(draw.normal(size=(70, 8)))
    given = (queries, passages, draw.integers(0, 70, 33), np.arange(33) % 30 + 100, np.arange(70), np.arange(70))
    whole, most = retrieve(*given), []
    monkeypatch.setattr(retrieval, "_MOST_COSINES", numbers)
    monkeypatch.setattr(retrieval, "_find", lambda *a, find=retrieval._find: most.append(len(a[-1])) or find(*a))
    found = retrieve(*given)
    assert max(most) == min(33, max(1, numbers // 70)) and sum(most) == 33
    for name in ("ranks", "best"):
        assert (getattr(found, name) == getattr(whole, name)).all()
    for name in ("cosines", "best_cosines", "losses"):
        assert getattr(found, name).dtype == np.float64
        assert getattr(found, name) == pytest.approx(getattr(whole, name), rel=1e-5, abs=1e-6)


def test_memory_of_an_evaluation_does_not_grow_with_queries_times_passages() -> None:
    draw = np.random.default_rng(3)
    queries, passages = unit(draw.normal(size=(1000, 4))), unit(draw.normal(size=(20_000, 4)))
    given = (queries, passages, np.arange(1000), np.arange(1000) + 20_000, np.arange(20_000), np.arange(20_000))
    tracemalloc.start()
    retrieve(*given)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * retrieval._MOST_COSINES  # 4 bytes a cosine, three masks of one
