"""A sample: nested, the same again, told apart, and nothing else of the data set changes."""

from pathlib import Path

from tiny_training import ROWS, write_data
from trimtab.data import Sample, open_corpus, sampled
from trimtab.data.token_store import TokenStore


def test_a_smaller_sample_lies_in_a_larger_one(tmp_path: Path):
    corpus = open_corpus(str(write_data(tmp_path / "data")))
    small, large = (sampled(corpus, Sample(train_rows=rows, dev_rows=4), 0) for rows in (8, 20))
    few, many, all_ = ([(e.texts, e.label) for e in one.train] for one in (small, large, corpus))
    assert len(few) == 8 and len(many) == 20 and len(small.dev) == 4
    assert set(few) < set(many) < set(all_)
    assert [row for row in all_ if row in set(few)] == few  # in the order of the file, with their own labels
    assert len(small.test) == ROWS["test"]
    assert len({corpus.fingerprint, small.fingerprint, large.fingerprint}) == 3


def test_the_same_again_and_another_by_seed(tmp_path: Path):
    corpus = open_corpus(str(write_data(tmp_path / "data")))
    one, same, other = (sampled(corpus, Sample(train_rows=8), seed) for seed in (0, 0, 1))
    assert [e.texts for e in one.train] == [e.texts for e in same.train]
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert [e.texts for e in one.train] != [e.texts for e in other.train]


def test_what_has_no_more_rows_is_left_as_it_is(tmp_path: Path):
    corpus = open_corpus(str(write_data(tmp_path / "data")))
    assert sampled(corpus, Sample(train_rows=52, dev_rows=1000), 0) is corpus
    assert sampled(corpus, Sample(), 0) is corpus


def test_the_tokens_of_all_rows_are_not_taken_for_its_own(tmp_path: Path):
    corpus = open_corpus(str(write_data(tmp_path / "data")))
    store = TokenStore(tmp_path / "tokens", least_bytes=0)
    small = sampled(corpus, Sample(train_rows=8), 0)
    assert corpus.train.key and store.takes(corpus.train) and not store.takes(small.train)


def test_the_metric_is_that_of_all_rows(tmp_path: Path):
    """A sample in which a label is rare must not be compared by another metric."""
    corpus = open_corpus(str(write_data(tmp_path / "data")))
    assert sampled(corpus, Sample(train_rows=5), 0).label_counts == corpus.label_counts
