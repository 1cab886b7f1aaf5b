"""open_corpus on synthetic data: columns, task, checks, repairs, splits."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from trimtab.data import Corpus, Problem, Split, content_hash, open_corpus, open_held_out, open_labelled
from trimtab.errors import BadInput, DataError, UsageError

Jsonl = Callable[..., str]
Raw = Callable[[str, bytes], str]


def reviews(n: int, start: int = 0, labels: Sequence[object] = ("bad", "good")) -> list[dict[str, object]]:
    return [{"text": f"review {i}", "label": labels[i % len(labels)]} for i in range(start, start + n)]


def pairs(n: int, labels: Sequence[object]) -> list[dict[str, object]]:
    return [{"premise": f"a {i}", "hypothesis": f"b {i}", "label": labels[i % len(labels)]} for i in range(n)]


def problem(corpus: Corpus, code: str) -> Problem | None:
    found = [p for p in corpus.problems if p.message.code == code]
    assert len(found) <= 1
    return found[0] if found else None


def texts(split: Split | None) -> list[str]:
    assert split is not None
    return [example.texts[0] for example in split]


def refused(source: str, code: str, **options: object) -> DataError:
    with pytest.raises(BadInput) as caught:
        open_corpus(source, **options)  # type: ignore[arg-type]
    assert caught.value.code == code, str(caught.value)
    assert caught.value.message.text("zh") and caught.value.message.next_step("zh")
    assert isinstance(caught.value, DataError)
    return caught.value


# Columns


@pytest.mark.parametrize(
    ("row", "columns", "label"),
    [
        ({"Review": "nice", "Sentiment": "p"}, ("Review",), "Sentiment"),
        ({"id": 7, "sentence": "nice", "label": "p", "label_des": "x"}, ("sentence",), "label"),
        ({"title": "t", "content": "c", "category": "p"}, ("content",), "category"),
        ({"评论": "很好", "标签": "p"}, ("评论",), "标签"),
        ({"sentence1": "a", "sentence2": "b", "label": "p"}, ("sentence1", "sentence2"), "label"),
        ({"question": "a", "sentence": "b", "label": "p"}, ("question", "sentence"), "label"),
        ({"idx": 1, "remark": "nice words", "verdict": "p"}, None, None),
        ({"remark": "nice words", "label": "p"}, ("remark",), "label"),
        ({"text": "nice words", "verdict": "p", "id": 3}, ("text",), "verdict"),
    ],
)
def test_columns_by_name_then_by_content(
    jsonl: Jsonl, row: dict[str, object], columns: tuple[str, ...] | None, label: str | None
) -> None:
    written = {name: "q" if value == "p" else value for name, value in row.items()}
    words = [name for name, value in row.items() if isinstance(value, str) and value != "p"]
    rows = []
    for i in range(30):
        base = row if i % 2 else written
        rows.append({name: f"{value} {i}" if name in words else value for name, value in base.items()})
    path = jsonl(rows)
    if columns is None:
        assert "idx, remark, verdict" in str(refused(path, "TT-D030"))
    else:
        corpus = open_corpus(path)
        assert (corpus.columns, corpus.label_column) == (columns, label)


def test_columns_can_be_named(jsonl: Jsonl) -> None:
    rows = [{"text": f"t{i}", "note": f"note {i}", "label": "x", "mood": i % 2} for i in range(20)]
    corpus = open_corpus(jsonl(rows), text=("note",), label="mood")
    assert texts(corpus.train)[0].startswith("note")
    assert corpus.labels == ("0", "1")


def test_a_wrong_column_names_those_there_are(jsonl: Jsonl) -> None:
    path = jsonl(reviews(20))
    for options in ({"text": ("body",)}, {"label": "class"}):
        assert "text, label" in str(refused(path, "TT-D032", **options))
    with pytest.raises(UsageError):
        open_corpus(path, text=("text",), label="text")
    with pytest.raises(UsageError):
        open_corpus(path, text=("text", "text"))


def test_a_column_missing_in_dev_is_an_error_of_dev(jsonl: Jsonl, tmp_path: Path) -> None:
    jsonl(reviews(20), "d/train.jsonl")
    jsonl([{"sentence": "x", "label": "good"}], "d/dev.jsonl")
    assert refused(str(tmp_path / "d"), "TT-D032").message.fact("path") == "dev.jsonl"


# Task and labels


@pytest.mark.parametrize(
    ("labels", "task", "names"),
    [
        (("b", "a"), "classify", ("a", "b")),
        ((10, 9, 1), "classify", ("1", "9", "10")),
        ((1.0, 0.0), "classify", ("0", "1")),
        (("-1", "0", "1"), "classify", ("-1", "0", "1")),
        (tuple(range(60)), "classify", tuple(map(str, range(60)))),
        ((0.5, 1.25, 3), "regress", ()),
        (tuple(range(100, 5000, 49)), "regress", ()),
        ((True, False), "classify", ("False", "True")),
        (("none", "favour", "against"), "classify", ("against", "favour", "none")),
    ],
)
def test_task_and_label_order(jsonl: Jsonl, labels: tuple[object, ...], task: str, names: tuple[str, ...]) -> None:
    corpus = open_corpus(jsonl(reviews(400, labels=labels)))
    assert (corpus.task, corpus.labels) == (task, names)


def test_examples_carry_the_index_of_their_label(jsonl: Jsonl) -> None:
    corpus = open_corpus(jsonl(reviews(100, labels=("bad", "good", "so-so"))))
    expected = {f"review {i}": i % 3 for i in range(100)}
    examples = [example for split in (corpus.train, corpus.dev, corpus.test) if split for example in split]
    assert {example.texts[0]: example.label for example in examples} == expected
    assert corpus.train.labels.dtype == np.int64
    assert [example.label for example in corpus.dev] == corpus.dev.labels.tolist()


def test_pairs_and_their_regressions(jsonl: Jsonl) -> None:
    corpus = open_corpus(jsonl(pairs(60, ("yes", "no"))))
    assert corpus.task == "pair"
    assert next(iter(corpus.train)).texts[0].startswith("a ")
    scored = open_corpus(jsonl(pairs(60, (0.0, 2.5, 5.0)), "s.jsonl"))
    assert (scored.task, scored.labels, len(scored.columns)) == ("regress", (), 2)
    assert scored.train.labels.dtype == np.float64
    assert set(scored.train.labels) == {0.0, 2.5, 5.0}


def test_a_task_can_be_forced_where_the_data_allow(jsonl: Jsonl) -> None:
    stars = jsonl(reviews(60, labels=(1, 2, 3, 4, 5)))
    assert open_corpus(stars).task == "classify"
    assert open_corpus(stars, task="regress").task == "regress"
    refused(stars, "TT-D045", task="pair")
    scores = jsonl(pairs(60, (0.5, 1.5)), "p.jsonl")
    refused(scores, "TT-D044", task="pair")
    refused(jsonl(pairs(60, ("y", "n")), "q.jsonl"), "TT-D046", task="classify")
    refused(jsonl(reviews(60), "w.jsonl"), "TT-D043", task="regress")


def test_free_text_is_no_class(jsonl: Jsonl) -> None:
    rows = [{"text": f"question {i}", "label": f"a long answer {i}"} for i in range(80)]
    assert refused(jsonl(rows), "TT-D047").message.fact("count") == 80


def test_more_labels_than_are_remembered_are_no_classes(jsonl: Jsonl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.data.labels.MOST_LABELS", 60)
    path = jsonl(reviews(280, labels=[f"name {i}" for i in range(70)]))
    error = refused(path, "TT-D047")
    assert (error.message.fact("count"), error.message.fact("rows")) == (61, 280)
    with pytest.raises(DataError) as caught:
        open_labelled(path, task="classify", columns=("text",), label_column="label", labels=("name 0",))
    assert caught.value.code == "TT-D047"


def test_more_numbers_than_are_remembered_are_targets(jsonl: Jsonl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.data.labels.MOST_LABELS", 60)
    corpus = open_corpus(jsonl(reviews(280, labels=[i + 0.5 for i in range(70)])))
    assert corpus.task == "regress"
    assert max(example.label or 0 for example in corpus.train) > 60


@pytest.mark.parametrize("missing", [None, float("nan"), "", "  ", "NaN", "null"])
def test_a_missing_label_is_named(jsonl: Jsonl, missing: object) -> None:
    rows = reviews(20)
    rows[12]["label"] = missing
    rows[15]["label"] = missing
    error = refused(jsonl(rows), "TT-D040")
    assert dict(error.message.facts) == {
        "path": "data.jsonl", "row": 13, "column": "label", "count": 2, "rows": 20,
    }  # fmt: skip


def test_none_among_numbers_is_missing(raw: Raw) -> None:
    path = raw("a.csv", b"text,label\na,0\nb,1\nc,None\nd,1\n")
    assert refused(path, "TT-D040").message.fact("row") == 3


def test_several_labels_in_some_rows_alone_are_refused(jsonl: Jsonl) -> None:
    assert refused(jsonl(reviews(9, labels=("a", ["a", "b"]))), "TT-D036").message.fact("row") == 2


def test_token_lists_are_refused(jsonl: Jsonl) -> None:
    rows = [{"text": "fine", "label": "a"}, {"text": ["to", "kens"], "label": "b"}]
    assert refused(jsonl(rows), "TT-D035").message.fact("row") == 2


def test_one_class_is_refused(jsonl: Jsonl) -> None:
    assert refused(jsonl(reviews(20, labels=("good",))), "TT-D041").message.fact("label") == "good"
    assert refused(jsonl(reviews(20, labels=(1.5,)), "r.jsonl"), "TT-D041").message.fact("label") == "1.5"


def test_an_infinite_target_is_refused(jsonl: Jsonl) -> None:
    error = refused(jsonl(reviews(40, labels=(0.5, 1.5, 1e308, "1e999"))), "TT-D048")
    assert error.message.fact("row") == 4


def test_lone_surrogates_become_readable(raw: Raw) -> None:
    lines = "".join(f'{{"text": "bad \\ud83d end {i}", "label": {i % 2}}}\n' for i in range(20))
    corpus = open_corpus(raw("a.jsonl", lines.encode()))
    assert all("\ufffd" in text for text in texts(corpus.train))


def test_lone_surrogates_in_labels_become_readable(raw: Raw) -> None:
    lines = "".join(f'{{"text": "end {i}", "label": "{"ab"[i % 2]}\\ud83d"}}\n' for i in range(20))
    assert open_corpus(raw("a.jsonl", lines.encode())).labels == ("a\ufffd", "b\ufffd")


# Findings and repairs


def test_empty_texts_are_dropped_and_told(jsonl: Jsonl) -> None:
    rows = reviews(40)
    rows[4]["text"] = "  "
    rows[9]["text"] = None
    corpus = open_corpus(jsonl(rows))
    found = problem(corpus, "TT-D060")
    assert found is not None and (found.severity, found.count) == ("repaired", 2)
    assert [(p.file, p.row, p.column) for p in found.places] == [
        ("data.jsonl", 5, "text"), ("data.jsonl", 10, "text"),
    ]  # fmt: skip
    assert len(corpus.train) + len(corpus.dev) + len(corpus.test or ()) == 38


def test_only_empty_texts_are_refused(jsonl: Jsonl) -> None:
    refused(jsonl([{"text": "", "label": i % 2} for i in range(9)]), "TT-D042", text=("text",))


def test_duplicates_and_conflicts_are_counted_and_kept(jsonl: Jsonl) -> None:
    rows = [*reviews(40), {"text": " review 0 ", "label": "bad"}, {"text": "review 1", "label": "bad"}]
    corpus = open_corpus(jsonl(rows))
    double, conflict = problem(corpus, "TT-D061"), problem(corpus, "TT-D062")
    assert double is not None and (double.count, [p.row for p in double.places]) == (1, [41])
    assert conflict is not None and (conflict.count, [p.row for p in conflict.places]) == (2, [2, 42])
    assert len(corpus.train) + len(corpus.dev) + len(corpus.test or ()) == 42


def folder_with_overlap(jsonl: Jsonl, tmp_path: Path) -> str:
    jsonl(reviews(40), "d/train.jsonl")
    jsonl(reviews(10, start=38), "d/dev.jsonl")
    jsonl(reviews(10, start=47), "d/test.jsonl")
    return str(tmp_path / "d")


def test_overlap_is_dropped_from_train(jsonl: Jsonl, tmp_path: Path) -> None:
    corpus = open_corpus(folder_with_overlap(jsonl, tmp_path))
    found = problem(corpus, "TT-D063")
    assert found is not None and [p.row for p in found.places] == [39, 40]
    assert (len(corpus.train), len(corpus.dev), len(corpus.test or ())) == (38, 10, 10)
    between = problem(corpus, "TT-D065")
    assert between is not None and between.count == 1
    assert not set(texts(corpus.train)) & (set(texts(corpus.dev)) | set(texts(corpus.test)))


def test_overlap_can_be_kept(jsonl: Jsonl, tmp_path: Path) -> None:
    corpus = open_corpus(folder_with_overlap(jsonl, tmp_path), keep_overlap=True)
    assert len(corpus.train) == 40
    found = problem(corpus, "TT-D064")
    assert found is not None and found.severity == "reported"


def test_a_train_set_that_is_all_in_dev_is_refused(jsonl: Jsonl, tmp_path: Path) -> None:
    jsonl(reviews(10), "d/train.jsonl")
    jsonl(reviews(10), "d/dev.jsonl")
    refused(str(tmp_path / "d"), "TT-D042")


def test_imbalance_is_told_in_numbers(jsonl: Jsonl) -> None:
    rows = [{"text": f"t{i}", "label": "rare" if i < 20 else "common"} for i in range(200)]
    found = problem(open_corpus(jsonl(rows)), "TT-D066")
    assert found is not None
    assert (found.message.fact("rare"), found.message.fact("ratio")) == ("rare", "9.0")


def test_labels_train_never_has(jsonl: Jsonl, tmp_path: Path) -> None:
    jsonl(reviews(20), "d/train.jsonl")
    jsonl([*reviews(4, 50), {"text": "new", "label": "odd"}], "d/dev.jsonl")
    corpus = open_corpus(str(tmp_path / "d"))
    found = problem(corpus, "TT-D067")
    assert found is not None and (found.count, found.places[0].row) == (1, 5)
    assert corpus.labels == ("bad", "good", "odd")
    assert corpus.label_counts == (10, 10, 0)


def test_mixed_labels_are_told(jsonl: Jsonl) -> None:
    assert problem(open_corpus(jsonl(reviews(60, labels=(0, 1, "positive")))), "TT-D069") is not None


@pytest.mark.parametrize("hidden", [-1, None])
def test_a_test_split_with_hidden_labels_is_left_out(jsonl: Jsonl, tmp_path: Path, hidden: object) -> None:
    """GLUE and CLUE publish test files with -1 or nothing as label."""
    jsonl(reviews(40, labels=(0, 1)), "d/train.jsonl")
    jsonl(reviews(9, start=90, labels=(0, 1)), "d/dev.jsonl")
    jsonl(reviews(9, start=70, labels=(hidden,)), "d/test.jsonl")
    corpus = open_corpus(str(tmp_path / "d"))
    assert (corpus.test, corpus.labels, corpus.task) == (None, ("0", "1"), "classify")
    assert problem(corpus, "TT-D075") is not None


def test_encoding_is_told(raw: Raw) -> None:
    rows = "".join(f"酒店服务很好，第{i}次入住,{i % 2}\n" for i in range(30)).replace("，", " ")
    corpus = open_corpus(raw("a.csv", ("评论,标签\n" + rows).encode("gb18030")))
    assert corpus.encoding == "gb18030"
    found = problem(corpus, "TT-D070")
    assert found is not None and "gb18030" in found.message.text("zh")
    assert texts(corpus.train)[0].startswith("酒店服务很好")


# Sources


def test_a_folder_with_other_names_for_its_splits(jsonl: Jsonl, tmp_path: Path) -> None:
    jsonl(reviews(40), "d/train.jsonl")
    jsonl(reviews(10, 50), "d/validation.jsonl")
    jsonl(reviews(10, 70), "d/train_more.jsonl")
    (tmp_path / "d/README.md").write_text("hello")
    (tmp_path / "d/.DS_Store").write_bytes(b"\0")
    corpus = open_corpus(str(tmp_path / "d"))
    assert (corpus.name, len(corpus.train), len(corpus.dev), corpus.test) == ("d", 40, 10, None)
    ignored = problem(corpus, "TT-D072")
    assert ignored is not None and ignored.message.fact("files") == "README.md, train_more.jsonl"


def test_a_missing_dev_is_cut_from_train_alone(jsonl: Jsonl, tmp_path: Path) -> None:
    jsonl(reviews(100), "d/train.jsonl")
    jsonl(reviews(10, 200), "d/test.jsonl")
    corpus = open_corpus(str(tmp_path / "d"), dev_share=0.2)
    assert (len(corpus.train), len(corpus.dev), len(corpus.test or ())) == (80, 20, 10)
    assert problem(corpus, "TT-D073") is not None


def test_shards_are_one_split(jsonl: Jsonl, tmp_path: Path) -> None:
    jsonl(reviews(20), "d/train-00000-of-00002.jsonl")
    jsonl([*reviews(20, 20), {"text": "", "label": "bad"}], "d/train-00001-of-00002.jsonl")
    jsonl(reviews(10, 50), "d/dev-00000-of-00001.jsonl")
    corpus = open_corpus(str(tmp_path / "d"))
    assert texts(corpus.train) == [f"review {i}" for i in range(40)]
    found = problem(corpus, "TT-D060")
    assert found is not None
    assert (found.places[0].file, found.places[0].row) == ("train-00001-of-00002.jsonl", 21)


def test_two_files_for_one_split_are_refused(jsonl: Jsonl, tmp_path: Path) -> None:
    jsonl(reviews(20), "d/train.jsonl")
    jsonl(reviews(20), "d/dev.jsonl")
    jsonl(reviews(20), "d/valid.jsonl")
    assert refused(str(tmp_path / "d"), "TT-D022").message.fact("files") == "dev.jsonl, valid.jsonl"


def test_a_folder_without_train_is_refused(jsonl: Jsonl, tmp_path: Path) -> None:
    jsonl(reviews(20), "d/dev.jsonl")
    jsonl(reviews(20), "d/other.jsonl")
    assert refused(str(tmp_path / "d"), "TT-D021").message.fact("files") == "dev.jsonl, other.jsonl"
    refused(str(tmp_path / "absent"), "TT-D001")


def test_an_empty_dev_file_is_refused(jsonl: Jsonl, tmp_path: Path) -> None:
    jsonl(reviews(20), "d/train.jsonl")
    jsonl([{"text": " ", "label": "good"}], "d/dev.jsonl")
    refused(str(tmp_path / "d"), "TT-D050")


# Splitting


def test_cuts_are_stratified_seeded_and_leave_nothing_out(jsonl: Jsonl) -> None:
    labels = ("a",) * 7 + ("b",) * 2 + ("c",)
    path = jsonl(reviews(1000, labels=labels))
    corpus = open_corpus(path)
    assert corpus.test is not None
    assert (len(corpus.train), len(corpus.dev), len(corpus.test)) == (800, 100, 100)
    for split in (corpus.dev, corpus.test):
        counts = Counter(split.labels.tolist())
        assert all(abs(counts[i] - expected) <= 1 for i, expected in enumerate((70, 20, 10)))
    parts = [texts(split) for split in (corpus.train, corpus.dev, corpus.test)]
    assert sorted(chain.from_iterable(parts)) == sorted(f"review {i}" for i in range(1000))
    assert texts(open_corpus(path).dev) == parts[1]
    other = set(texts(open_corpus(path, seed=1).dev))
    assert len(other & set(parts[1])) < 30  # 10 expected by chance


def test_the_cut_does_not_depend_on_the_order_of_the_file(jsonl: Jsonl) -> None:
    rows = reviews(200)
    forward = open_corpus(jsonl(rows))
    backward = open_corpus(jsonl(rows[::-1], "b.jsonl"))
    assert set(texts(forward.dev)) == set(texts(backward.dev))


def test_the_same_text_never_stands_on_both_sides(jsonl: Jsonl) -> None:
    rows = [{"text": f"text {i % 50}", "label": i % 2} for i in range(400)]
    corpus = open_corpus(jsonl(rows))
    parts = [set(texts(split)) for split in (corpus.train, corpus.dev, corpus.test)]
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])


def test_a_rare_label_stays_in_train(jsonl: Jsonl) -> None:
    rows = [*reviews(100), {"text": "the only one", "label": "rare"}]
    for seed in range(8):
        assert min(open_corpus(jsonl(rows), seed=seed).label_counts) == 1


def test_regression_cuts_follow_the_targets(jsonl: Jsonl) -> None:
    rows = [{"text": f"t{i}", "label": (i / 100) ** 3} for i in range(1000)]
    corpus = open_corpus(jsonl(rows))
    assert np.median(corpus.dev.labels) == pytest.approx(np.median(corpus.train.labels), rel=0.15)


def test_too_few_rows_to_cut_are_refused(jsonl: Jsonl) -> None:
    refused(jsonl(reviews(2)), "TT-D042")


@pytest.mark.parametrize(("dev", "test"), [(0.0, 0.1), (0.5, 0.5), (-0.1, 0.1), (0.1, -0.1), (float("nan"), 0.1)])
def test_shares_that_leave_no_train_are_refused(jsonl: Jsonl, dev: float, test: float) -> None:
    with pytest.raises(UsageError):
        open_corpus(jsonl(reviews(20)), dev_share=dev, test_share=test)


def test_no_test_share_means_no_test_split(jsonl: Jsonl) -> None:
    corpus = open_corpus(jsonl(reviews(100)), test_share=0.0)
    assert (len(corpus.train), len(corpus.dev), corpus.test) == (90, 10, None)


# Fingerprint


def test_the_fingerprint_follows_bytes_and_choices(jsonl: Jsonl) -> None:
    path = jsonl(reviews(100))
    first = open_corpus(path).fingerprint
    assert open_corpus(path).fingerprint == first
    assert open_corpus(path, seed=1).fingerprint != first
    assert open_corpus(path, dev_share=0.2).fingerprint != first
    jsonl(reviews(101))
    assert open_corpus(path).fingerprint != first


def test_content_hash_knows_where_one_file_ends(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"one")
    b.write_bytes(b"two")
    apart = content_hash([a, b])
    a.write_bytes(b"onet")
    b.write_bytes(b"wo")
    assert content_hash([a, b]) != apart


# Rows for a finished model


def test_a_file_is_evaluated_whole_with_the_models_labels(jsonl: Jsonl) -> None:
    rows = [{"text": "x", "label": "good"}, {"text": " ", "label": "bad"}, {"text": "x", "label": "good"}]
    split = open_labelled(
        jsonl(rows), task="classify", columns=("text",), label_column="label", labels=("bad", "good")
    )
    assert [example.label for example in split] == [1, 1]
    with pytest.raises(DataError) as caught:
        open_labelled(
            jsonl(rows), task="classify", columns=("text",), label_column="label", labels=("bad", "fine")
        )
    assert (caught.value.code, caught.value.message.fact("row")) == ("TT-D051", 1)
    assert caught.value.message.fact("labels") == "good"


@pytest.mark.parametrize("names", [("bad", "good"), ("good",)], ids=["two of three", "one of three"])
def test_splits_with_some_of_the_models_labels_are_numbered_as_the_model_has_them(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    for split in ("train", "test"):
        lines = [f"{split} {number},{names[number % len(names)]}\n" for number in range(20)]
        (tmp_path / f"{split}.csv").write_text("text,label\n" + "".join(lines), encoding="utf-8")
    corpus = open_corpus(str(tmp_path), labels=("awful", "bad", "good"))
    assert corpus.labels == ("awful", "bad", "good") and corpus.test is not None
    assert corpus.test.labels.tolist() == [corpus.labels.index(names[number % len(names)]) for number in range(20)]
    with pytest.raises(DataError) as caught:
        open_corpus(str(tmp_path), labels=("awful", "bad"))
    assert (caught.value.code, caught.value.message.fact("labels")) == ("TT-D051", "good")


def test_only_the_split_that_is_cut_for_scoring_must_be_known(jsonl: Jsonl) -> None:
    rows = [*reviews(200), {"text": "the only one", "label": "odd"}]  # one text of each label stays in train
    assert "the only one" in texts(open_corpus(jsonl(rows)).train)
    scored = open_corpus(jsonl(rows), task="classify", labels=("bad", "good"))
    assert scored.test is not None and set(scored.test.labels.tolist()) == {0, 1}
    assert "the only one" not in texts(scored.train)
    with pytest.raises(DataError) as caught:
        open_corpus(jsonl(rows), task="classify", labels=("bad", "odd"))
    assert (caught.value.code, caught.value.message.fact("labels")) == ("TT-D051", "good")


WHAT = {"task": "classify", "columns": ("text",), "label_column": "label", "labels": ("bad", "good")}


def test_a_folder_is_scored_on_its_test_split_and_no_other_is_read(jsonl: Jsonl, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for name in ("train", "dev"):
        (tmp_path / "d" / f"{name}.jsonl").write_bytes(b"\x80\x04 not read at all")
    jsonl(reviews(10), "d/test.jsonl")
    split = open_held_out(str(tmp_path / "d"), **WHAT)
    assert split is not None and (split.name, len(split)) == ("test", 10)
    assert split.labels.tolist() == [i % 2 for i in range(10)]


@pytest.mark.parametrize("hidden", [-1, None, "?"])
def test_a_test_split_with_hidden_labels_is_not_scored(jsonl: Jsonl, tmp_path: Path, hidden: object) -> None:
    jsonl(reviews(9, labels=(hidden,)), "d/test.jsonl")
    assert open_held_out(str(tmp_path / "d"), **WHAT) is None
    jsonl(reviews(6), "d/dev.jsonl")
    split = open_held_out(str(tmp_path / "d"), **WHAT)
    assert split is not None and (split.name, len(split)) == ("dev", 6)


def test_targets_are_evaluated_as_numbers(jsonl: Jsonl) -> None:
    path = jsonl([{"text": "x", "label": 2}, {"text": "y", "label": "2.5"}])
    split = open_labelled(path, task="regress", columns=("text",), label_column="label", labels=())
    assert split.labels.tolist() == [2.0, 2.5]
