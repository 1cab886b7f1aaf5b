"""Sample: fewer rows of a data set, drawn by chance, for a training that is to be short.

The rows of a smaller sample are among those of a larger one of the same seed. Test stays whole.
"""

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from trimtab.data.corpus import Corpus, Split
from trimtab.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """At most so many rows of train and of dev; None = all. Raises UsageError TT-B009 for less than one."""

    train_rows: int | None = None
    dev_rows: int | None = None

    def __post_init__(self) -> None:
        for option, rows in (("--sample", self.train_rows), ("--dev-sample", self.dev_rows)):
            if rows is not None and rows < 1:
                raise UsageError("TT-B009", option=option, rows=rows)


def sampled(corpus: Corpus, sample: Sample, seed: int) -> Corpus:
    """`corpus` with fewer rows, the same one where it has no more than asked for. Counts of labels stay those of
    all rows: they decide by which metric models are compared."""
    train = _fewer(corpus.train, sample.train_rows, seed)
    dev = _fewer(corpus.dev, sample.dev_rows, seed)
    if train is corpus.train and dev is corpus.dev:
        return corpus
    key = f"{corpus.fingerprint}\0{len(train)} {len(dev)} {seed}"
    fingerprint = hashlib.sha256(key.encode()).hexdigest()
    return replace(corpus, train=train, dev=dev, fingerprint=fingerprint, counts=corpus.label_counts)


def _fewer(split: Split, rows: int | None, seed: int) -> Split:
    """Rows that stand in no table (`Split.further`) are for whole trainings, and are left as they are. Without a
    key: tokens of few rows are not kept, and those of all rows are not theirs."""
    count = len(split.labels)
    if rows is None or rows >= count:
        return split
    drawn = np.sort(np.random.default_rng(seed).permutation(count)[:rows])
    in_use = np.zeros_like(split.in_use)
    in_use[np.flatnonzero(split.in_use)[drawn]] = True
    return replace(split, in_use=in_use, labels=split.labels[drawn], key="")
