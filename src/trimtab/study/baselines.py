"""Baselines of a bake-off: what costs seconds, and what a strategy must beat to be worth its time.

    majority      always the label that train has most
    bag of words  logistic regression on words and pairs of words (on pieces of words where there are no spaces)

A third, the frozen model with a head, is an entrant like the others. Of tasks with one label a text; scikit-learn
computes the second (by stochastic gradients: seconds, whatever the labels), and is an extra (`pip install
'trimtab[compare]'`). No torch.
"""

import time
from collections.abc import Iterator
from itertools import islice

import numpy as np

from trimtab.data import Corpus, Split
from trimtab.errors import message
from trimtab.metrics import class_metric, score_classes
from trimtab.study.bakeoff import Baseline, Measure, measure

_TASKS = ("classify", "pair")
_FEATURES = 2**18
_MOST_ROWS = 100_000  # more teach a bag of words little and take minutes
_SPACED = 0.05  # share of white space from which a text is taken to be cut into words


def baselines(corpus: Corpus) -> Iterator[Baseline]:
    """Each when it is there; none of tasks that have no single label a text."""
    if corpus.task in _TASKS and corpus.labels:
        yield _majority(corpus)
        yield _bag_of_words(corpus)


def _majority(corpus: Corpus) -> Baseline:
    begun = time.perf_counter()
    common = int(np.bincount(corpus.train.labels, minlength=len(corpus.labels)).argmax())
    guesses = [np.full(len(split), common) for split in _splits(corpus)]
    return _baseline("majority", corpus, guesses, time.perf_counter() - begun)


def _bag_of_words(corpus: Corpus) -> Baseline:
    try:
        from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
        from sklearn.linear_model import SGDClassifier
        from sklearn.pipeline import make_pipeline
    except ImportError:
        return Baseline(name="bag of words", missing=message("TT-B022"))
    begun = time.perf_counter()
    texts = list(islice(_texts(corpus.train), _MOST_ROWS))
    spaced = _share_of_spaces(texts[:1000]) >= _SPACED
    words = {"ngram_range": (1, 2)} if spaced else {"analyzer": "char", "ngram_range": (1, 3)}
    model = make_pipeline(
        HashingVectorizer(n_features=_FEATURES, alternate_sign=False, norm=None, **words),
        TfidfTransformer(sublinear_tf=True),
        SGDClassifier(loss="log_loss", alpha=1e-5, max_iter=30, random_state=0),
    )
    model.fit(texts, corpus.train.labels[: len(texts)])
    guesses = [model.predict(list(_texts(split))) for split in _splits(corpus)]
    return _baseline("bag of words", corpus, guesses, time.perf_counter() - begun)


def _splits(corpus: Corpus) -> tuple[Split, ...]:
    return (corpus.dev,) if corpus.test is None else (corpus.dev, corpus.test)


def _texts(split: Split) -> Iterator[str]:
    """Both texts of a pair in one: its words say little of how the two belong together, and that is shown."""
    return (" \n ".join(example.texts) for example in split)


def _share_of_spaces(texts: list[str]) -> float:
    letters = sum(map(len, texts))
    return sum(letter.isspace() for text in texts for letter in text) / max(1, letters)


def _baseline(name: str, corpus: Corpus, guesses: list[np.ndarray], seconds: float) -> Baseline:
    scored = [_scored(corpus, split, guess) for split, guess in zip(_splits(corpus), guesses, strict=True)]
    return Baseline(name=name, seconds=seconds, dev=scored[0], test=scored[1] if len(scored) > 1 else None)


def _scored(corpus: Corpus, split: Split, guesses: np.ndarray) -> Measure:
    main = class_metric(corpus.label_counts)
    score = score_classes(
        guesses.astype(np.int64), split.labels, split=split.name, labels=corpus.labels, loss=0.0, main=main
    )
    return measure(score)
