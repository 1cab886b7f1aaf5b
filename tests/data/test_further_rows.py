"""Rows that stand in none of a split's files."""

from pathlib import Path

import numpy as np
import pytest

from tiny_training import write_data
from trimtab.data import Example, open_corpus, with_further


def test_further_rows_come_last_and_change_the_fingerprint_alone(tmp_path: Path) -> None:
    corpus = open_corpus(str(write_data(tmp_path)))
    rows = [Example(("good film",), None), Example(("bad plot",), None)]
    more = with_further(corpus, rows, "two")
    assert list(more.train) == [*corpus.train, *rows] and list(more.train) == list(more.train)
    assert (len(more.train), len(corpus.train)) == (54, 52)
    assert more.label_counts == corpus.label_counts and np.array_equal(more.train.labels, corpus.train.labels)
    assert more.dev is corpus.dev and more.test is corpus.test
    assert len({corpus.fingerprint, more.fingerprint, with_further(corpus, rows, "others").fingerprint}) == 3
    assert with_further(corpus, rows, "two").fingerprint == more.fingerprint


@pytest.mark.parametrize("split", ["dev", "test"])
def test_other_splits_have_none(split: str, tmp_path: Path) -> None:
    corpus = open_corpus(str(write_data(tmp_path)))
    assert getattr(corpus, split).further == ()
