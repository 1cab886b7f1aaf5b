"""How well tags of words name entities: precision, recall and F1 of whole entities, as conlleval and seqeval count
them; the share of words with the right tag.

An entity is right where its first word, its last word and its type are. Intervals are percentile bootstraps over
sentences, which are what is drawn: entities of one sentence are not independent.
"""

from dataclasses import dataclass

import numpy as np

from trimtab.data.tag_schemes import Spans, TagSet
from trimtab.errors import message
from trimtab.metrics.classification import class_scores_of
from trimtab.metrics.intervals import resampled_intervals
from trimtab.metrics.score import Metric, Score

ENTITY_METRIC = "entity_f1"
_HITS, _FOUND, _THERE, _RIGHT, _WORDS = range(5)  # columns of what is counted in a sentence


@dataclass(frozen=True, slots=True)
class TaggedWords:
    """Sentences laid end to end: `guesses` and `targets` are tags, int64 (words), -1 = O; `starts` int64
    (sentences + 1)."""

    guesses: np.ndarray
    targets: np.ndarray
    starts: np.ndarray


def score_entities(split: str, words: TaggedWords, tags: TagSet, loss: float) -> Score:
    """Score of one sentence or more. F1 of entities, which decides, is that of all types together (micro); where
    there are none and none are found it is 0, and says so."""
    assert len(words.starts) > 1, "a score needs sentences"
    found, there = tags.spans(words.guesses, words.starts), tags.spans(words.targets, words.starts)
    right = np.isin(_keys(found, words, tags), _keys(there, words, tags))
    sums = np.stack(
        [
            _by_sentence(found.begins[right], words.starts),
            _by_sentence(found.begins, words.starts),
            _by_sentence(there.begins, words.starts),
            _by_sentence(np.flatnonzero(words.guesses == words.targets), words.starts),
            np.diff(words.starts),
        ],
        axis=1,
    )
    count = len(tags.types)
    by_type = (np.bincount(types, minlength=count) for types in (found.types[right], there.types, found.types))
    return Score(
        split=split,
        n=len(words.starts) - 1,
        loss=loss,
        metrics=_metrics(sums),
        classes=class_scores_of(*by_type, labels=tags.types),
    )


def entity_f1(sums: np.ndarray) -> np.ndarray:
    """F1 of sums (..., 5) -> (...); 0 where there is no entity."""
    return _ratio(2 * sums[..., _HITS], sums[..., _FOUND] + sums[..., _THERE])


def _precision(sums: np.ndarray) -> np.ndarray:
    return _ratio(sums[..., _HITS], sums[..., _FOUND])


def _recall(sums: np.ndarray) -> np.ndarray:
    return _ratio(sums[..., _HITS], sums[..., _THERE])


def _accuracy(sums: np.ndarray) -> np.ndarray:
    return _ratio(sums[..., _RIGHT], sums[..., _WORDS])


_STATISTICS = {
    ENTITY_METRIC: entity_f1,
    "entity_precision": _precision,
    "entity_recall": _recall,
    "token_accuracy": _accuracy,
}


def _metrics(sums: np.ndarray) -> tuple[Metric, ...]:
    whole = sums.sum(0).astype(np.float64)
    note = None if whole[_FOUND] + whole[_THERE] else message("TT-D130", n=len(sums))
    metrics = []
    intervals = resampled_intervals(sums, tuple(_STATISTICS.values()))
    for (name, statistic), (low, high) in zip(_STATISTICS.items(), intervals, strict=True):
        value = float(statistic(whole))
        said = note if name == ENTITY_METRIC else None
        metrics.append(Metric(name=name, value=value, low=min(low, value), high=max(high, value), note=said))
    return tuple(metrics)


def _keys(spans: Spans, words: TaggedWords, tags: TagSet) -> np.ndarray:
    """One number for first word, last word and type."""
    return (spans.begins * (len(words.targets) + 1) + spans.ends) * max(1, len(tags.types)) + spans.types


def _by_sentence(words: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """How many of `words`, ascending, each sentence has."""
    return np.diff(np.searchsorted(words, starts))


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.zeros(np.shape(below)), where=below > 0)
