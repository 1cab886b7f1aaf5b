"""Rows of several labels: lists, separated names, columns of 0 and 1; what is left out and refused."""

import json
from collections.abc import Callable

import pytest

from trimtab.data import Corpus, open_corpus, open_labelled
from trimtab.errors import DataError

Jsonl, Raw = Callable[..., str], Callable[..., str]
SETS = (["b"], ["a", "b"], [], ["c"])


def labelled(corpus: Corpus) -> dict[str, set[str]]:
    """Text -> label names, of all splits."""
    splits = [split for split in (corpus.train, corpus.dev, corpus.test) if split is not None]
    return {e.texts[0]: {corpus.labels[n] for n in e.label} for split in splits for e in split}


EXPECTED = {f"text {n}": set(SETS[n % 4]) for n in range(24)}


@pytest.fixture
def lists(jsonl: Jsonl) -> str:
    return jsonl([{"text": text, "labels": sorted(names)} for text, names in EXPECTED.items()])


def csv(header: str, cell: Callable[[set[str]], str]) -> bytes:
    return f"{header}\n{''.join(f'{text},{cell(names)}{chr(10)}' for text, names in EXPECTED.items())}".encode()


def test_a_column_of_lists_is_known_by_itself(lists: str, raw: Raw) -> None:
    corpus = open_corpus(lists)
    assert (corpus.task, corpus.form, corpus.labels) == ("multilabel", "list", ("a", "b", "c"))
    assert labelled(corpus) == EXPECTED
    counted = [sum(name in EXPECTED[e.texts[0]] for e in corpus.train) for name in corpus.labels]
    assert corpus.label_counts == tuple(counted)
    none = sum(not names for names in EXPECTED.values())
    assert {p.message.code: p.count for p in corpus.problems}["TT-D135"] == none
    in_json = csv("text,label", lambda names: '"' + json.dumps(sorted(names)).replace('"', '""') + '"')
    assert labelled(open_corpus(raw("lists.csv", in_json))) == EXPECTED


@pytest.mark.parametrize("mark", ["|", ";", ","])
def test_names_with_separators_are_read_where_that_is_asked_for(raw: Raw, mark: str) -> None:
    file = raw("names.csv", csv("text,label", lambda names: f'"{mark.join(sorted(names))}"'))
    corpus = open_corpus(file, task="multilabel")
    assert (corpus.form, labelled(corpus)) == (mark, EXPECTED)
    if mark == "|":  # nobody asked: the texts are classes
        twice = "".join(f"t{n},a|b\nu{n},a\n" for n in range(9))
        assert open_corpus(raw("n.csv", f"text,label\n{twice}".encode())).task == "classify"


@pytest.mark.parametrize("label", [None, "a,b,c"])
def test_columns_of_flags_are_labels(raw: Raw, label: str | None) -> None:
    cells = csv("text,a,b,c", lambda names: ",".join(str(int(name in names)) for name in "abc"))
    corpus = open_corpus(raw("flags.csv", cells), task="multilabel", label=label)
    assert (corpus.label_column, corpus.labels, corpus.form) == ("a,b,c", ("a", "b", "c"), "columns")
    assert labelled(corpus) == EXPECTED
    scored = open_labelled(
        raw("more.csv", cells), task="multilabel", columns=("text",), label_column="a,b,c", labels=("c", "b", "a")
    )
    assert next(iter(scored)).label == (1,)


def test_rows_nobody_has_labelled_are_left_out_and_other_cells_refused(jsonl: Jsonl) -> None:
    rows = [{"text": f"t{n}", "labels": SETS[n % 4]} for n in range(20)]
    corpus = open_corpus(jsonl([*rows, {"text": "x", "labels": None}, {"text": " ", "labels": ["a"]}]))
    found = {p.message.code: p.count for p in corpus.problems}
    assert (found["TT-D134"], found["TT-D060"]) == (1, 1)
    with pytest.raises(DataError, match=r"TT-D136.*row 101, column labels"):
        open_corpus(
            jsonl([{"text": f"t{n}", "labels": SETS[n % 4]} for n in range(100)] + [{"text": "x", "labels": 3}])
        )
    with pytest.raises(DataError, match="TT-D137"):
        open_corpus(jsonl([{"text": f"t{n}", "labels": []} for n in range(9)]))
    with pytest.raises(DataError, match="TT-D138"):
        open_corpus(jsonl([{"text": f"t{n}", "number": n} for n in range(9)]), task="multilabel")


def test_labels_a_finished_model_does_not_know_are_refused(lists: str) -> None:
    trained = {"task": "multilabel", "columns": ("text",), "label_column": "labels"}
    assert len(open_labelled(lists, labels=("a", "b", "c", "d"), **trained)) == 24
    with pytest.raises(DataError, match=r"TT-D133.*: c\."):
        open_labelled(lists, labels=("a", "b"), **trained)


def test_lists_as_pandas_writes_them_are_lists(raw: Raw) -> None:
    written = csv("text,labels", lambda names: f'"{sorted(names)}"')
    corpus = open_corpus(raw("pandas.csv", written))
    assert (corpus.task, corpus.form, labelled(corpus)) == ("multilabel", "list", EXPECTED)
    quoted = "".join(f'text {n},"[""it\'s"", \'a, b\', None]"\n' for n in range(20))
    assert open_corpus(raw("quoted.csv", f"text,labels\n{quoted}".encode())).labels == ("a, b", "it's")


@pytest.mark.parametrize("cell", ["[a, b]", "['a' 'b']", "['a'", "[open('x')]", "[" * 5000, "['a', ['b']]"])
def test_a_bracket_that_begins_no_list_is_refused(raw: Raw, cell: str) -> None:
    rows = "".join(f'text {n},"{cell}"\n' for n in range(20))
    with pytest.raises(DataError, match=r"TT-D136.*row 1, column labels"):
        open_corpus(raw("broken.csv", f"text,labels\n{rows}".encode()), task="multilabel")


@pytest.mark.parametrize(("mark", "form"), [("、", "、"), ("，", ","), ("；", ";"), ("｜", "|")])
def test_chinese_marks_separate(raw: Raw, mark: str, form: str) -> None:
    file = raw("names.csv", csv("text,label", lambda names: mark.join(sorted(names))))
    corpus = open_corpus(file, task="multilabel")
    assert (corpus.form, labelled(corpus)) == (form, EXPECTED)


def test_a_separator_may_come_late(raw: Raw) -> None:
    rows = "".join(f"text {n},{'a;b' if n == 150 else 'ab'[n % 2]}\n" for n in range(160))
    assert open_corpus(raw("late.csv", f"text,label\n{rows}".encode()), task="multilabel").labels == ("a", "b")
