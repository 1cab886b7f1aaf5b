"""Entities against a loop written from conlleval's rules, against what seqeval 1.2.2 says, and by hand."""

from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.data.tag_schemes import TagSet
from trimtab.metrics import Score, TaggedWords, score_entities

TAGS = ("O", "B-x", "I-x", "E-x", "S-x", "B-y", "I-y", "E-y", "S-y")
Entity = tuple[str, int, int]


def conlleval(tags: list[str]) -> list[Entity]:
    """Type, first and last word, by conlleval's rules for the beginnings and ends of chunks, word by word."""
    found, start = [], 0
    before, before_type = "O", ""
    for at, tag in enumerate([*tags, "O"]):
        prefix, kind = tag[0], tag[2:]
        ends = before in "ES" or (before in "BI" and prefix in "BSO") or (before != "O" and before_type != kind)
        begins = prefix in "BS" or (before in "ESO" and prefix in "EI") or (prefix != "O" and before_type != kind)
        if before != "O" and ends:
            found.append((before_type, start, at - 1))
        if begins:
            start = at
        before, before_type = prefix, kind
    return found


def entities(sentences: list[list[str]], tags: TagSet) -> list[Entity]:
    flat, starts = laid(sentences, tags)
    spans = tags.spans(flat, starts)
    return [(tags.types[k], b, e - 1) for k, b, e in zip(spans.types, spans.begins, spans.ends, strict=True)]


def laid(sentences: list[list[str]], tags: TagSet) -> tuple[np.ndarray, np.ndarray]:
    flat = np.array([tags.names.index(tag) for words in sentences for tag in words], np.int64)
    return flat, np.cumsum([0, *map(len, sentences)])


def score(guesses: list[list[str]], targets: list[list[str]], names: tuple[str, ...] = TAGS) -> Score:
    tags = TagSet(names)
    words = TaggedWords(laid(guesses, tags)[0], *laid(targets, tags))
    return score_entities("dev", words, tags, 0.5)


def values(result: Score) -> dict[str, float]:
    return {metric.name: metric.value for metric in result.metrics}


sentences_of_tags = st.lists(st.lists(st.sampled_from(TAGS), min_size=1, max_size=8), min_size=1, max_size=5)


@settings(max_examples=150, deadline=None)
@given(sentences_of_tags)
def test_entities_are_those_of_conlleval(sentences: list[list[str]]) -> None:
    expected, start = [], 0
    for words in sentences:
        expected += [(kind, start + first, start + last) for kind, first, last in conlleval(words)]
        start += len(words)
    assert entities(sentences, TagSet(TAGS)) == expected


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_figures_are_those_of_sets_of_entities(data: st.DataObject) -> None:
    targets = data.draw(sentences_of_tags)
    guesses = [data.draw(st.lists(st.sampled_from(TAGS), min_size=len(t), max_size=len(t))) for t in targets]
    mine = {(row, *one) for row, words in enumerate(guesses) for one in conlleval(words)}
    right = {(row, *one) for row, words in enumerate(targets) for one in conlleval(words)}
    found = values(score(guesses, targets))
    hits, pairs = len(mine & right), list(zip(chain(*guesses), chain(*targets), strict=True))
    assert found["entity_precision"] == pytest.approx(hits / len(mine) if mine else 0)
    assert found["entity_recall"] == pytest.approx(hits / len(right) if right else 0)
    assert found["entity_f1"] == pytest.approx(2 * hits / (len(mine) + len(right)) if mine or right else 0)
    assert found["token_accuracy"] == pytest.approx(sum(a == b for a, b in pairs) / len(pairs))


# Right tags, predicted tags, and what seqeval 1.2.2 says of them in its default mode: precision, recall, F1 of
# entities, and accuracy of words. "/" stands between sentences.
SEQEVAL = (
    ("O B-x I-x O", "O B-x I-x O", 1.000000, 1.000000, 1.000000, 1.000000),
    ("O B-x I-x O", "O B-x O O", 0.000000, 0.000000, 0.000000, 0.750000),
    ("B-x I-x B-x", "B-x I-x I-x", 0.000000, 0.000000, 0.000000, 0.666667),
    ("B-x I-y O", "B-x I-x O", 0.000000, 0.000000, 0.000000, 0.666667),
    ("I-x I-x O B-y", "B-x I-x O B-y", 1.000000, 1.000000, 1.000000, 0.750000),
    ("O I-x O", "O B-x O", 1.000000, 1.000000, 1.000000, 0.666667),
    ("B-x B-x I-x", "B-x I-x I-x", 0.000000, 0.000000, 0.000000, 0.666667),
    ("S-x O B-y E-y", "B-x O B-y I-y", 1.000000, 1.000000, 1.000000, 0.500000),
    ("B-x E-x E-x O", "B-x I-x E-x O", 0.000000, 0.000000, 0.000000, 0.750000),
    ("E-x S-y I-y O", "B-x B-y I-y O", 0.500000, 0.333333, 0.400000, 0.500000),
    ("O O O", "O B-x O", 0.000000, 0.000000, 0.000000, 0.666667),
    ("B-x I-x O / O B-y", "B-x I-x O / O B-y", 1.000000, 1.000000, 1.000000, 1.000000),
    ("B-x / I-x O", "B-x / B-x O", 1.000000, 1.000000, 1.000000, 0.666667),
    (
        "B-x I-x I-y I-y B-y / S-x I-x E-y",
        "B-x I-x B-y I-y I-y / B-x I-x S-y",
        0.500000,
        0.333333,
        0.400000,
        0.500000,
    ),
)


@pytest.mark.parametrize(("right", "said", "precision", "recall", "f1", "accuracy"), SEQEVAL)
def test_worked_examples_are_those_of_seqeval(
    right: str, said: str, precision: float, recall: float, f1: float, accuracy: float
) -> None:
    targets, guesses = ([words.split() for words in text.split(" / ")] for text in (right, said))
    expected = {
        "entity_f1": f1, "entity_precision": precision, "entity_recall": recall, "token_accuracy": accuracy,
    }  # fmt: skip
    assert values(score(guesses, targets)) == pytest.approx(expected, abs=1e-6)


def test_scores_by_type_have_their_own_counts() -> None:
    found = score([["B-x", "I-x", "O", "B-y"]], [["B-x", "I-x", "O", "B-x"]])
    x, y = found.classes
    assert (x.label, x.precision, x.recall, x.support) == ("x", 1.0, 0.5, 2)
    assert (y.label, y.precision, y.recall, y.support) == ("y", 0.0, 0.0, 0)
    nothing = score([["O", "O"]], [["O", "O"]])
    assert nothing.main.note is not None and nothing.main.note.code == "TT-D130" and nothing.main.value == 0
