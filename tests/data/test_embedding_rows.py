"""Data for embeddings: in which forms they are read, what is left out, how long their texts are."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from tiny_models import tiny_tokenizer
from trimtab.data import (
    Corpus,
    Prefixes,
    RowTexts,
    approximate_tokens,
    count_tokens,
    describe,
    open_corpus,
    open_held_out,
    open_labelled,
)
from trimtab.errors import DataError, UsageError

Write = Callable[[list[dict]], str]
BGE = [{"query": f"q {n}", "pos": [f"p {n}"], "neg": [f"n {n}", f"m {n}"]} for n in range(30)]


@pytest.fixture
def jsonl(tmp_path: Path) -> Write:
    def write(rows: list[dict], name: str = "rows.jsonl") -> str:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return str(path)

    return write


def texts(corpus: Corpus) -> set[tuple[str, ...]]:
    splits = (corpus.train, corpus.dev, corpus.test or ())
    return {example.texts for split in splits for example in split}


@pytest.mark.parametrize(
    ("row", "form", "columns"),
    [
        ({"query": "q {}", "pos": ["p {}"], "neg": ["n {}", "m {}"]}, "ranked", ("query", "pos", "neg")),
        ({"anchor": "q {}", "positive": "p {}", "negative": "n {}"}, "ranked", ("anchor", "positive", "negative")),
        (
            {"query": "q {}", "positive": "p {}", "negative_1": "n {}", "negative_2": "m {}"},
            "ranked",
            ("query", "positive", "negative_1", "negative_2"),
        ),
    ],
)
def test_queries_with_positives_are_recognised_by_their_columns(jsonl: Write, row, form, columns) -> None:
    rows = [json.loads(json.dumps(row).replace("{}", str(n))) for n in range(30)]
    corpus = open_corpus(jsonl(rows))
    assert (corpus.task, corpus.form, corpus.columns, corpus.label_column) == ("embed", form, columns, "")
    wanted = {("q 3", "p 3", "n 3", "m 3"), ("q 3", "p 3", "n 3")}
    assert texts(corpus) & wanted and len(texts(corpus)) == 30
    assert corpus.train.kind == "apart" and not corpus.labels


def test_a_scored_pair_is_a_regression_unless_embeddings_are_asked_for(jsonl: Write) -> None:
    rows = [{"text_a": f"a {n}", "text_b": f"b {n}", "label": n / 7} for n in range(40)]
    path = jsonl(rows)
    assert open_corpus(path).task == "regress"
    corpus = open_corpus(path, task="embed")
    assert (corpus.task, corpus.form, corpus.label_column) == ("embed", "scored", "label")
    example = next(iter(corpus.train))
    assert len(example.texts) == 2 and isinstance(example.label, float)
    assert open_corpus(path, task="regress").fingerprint != corpus.fingerprint
    named = open_corpus(path, task="embed", text=("text_a", "text_b"))
    assert named.form == "ranked"  # columns alone are query and positive; a score has to be named


def test_prefixes_stand_before_texts_and_change_the_fingerprint_of_scored_pairs_too(jsonl: Write) -> None:
    e5 = Prefixes("query: ", "passage: ")
    found = texts(open_corpus(jsonl(BGE), prefixes=e5))
    assert ("query: q 3", "passage: p 3", "passage: n 3", "passage: m 3") in found
    same = texts(open_corpus(jsonl(BGE), prefixes=Prefixes("query: ")))
    assert ("query: q 3", "query: p 3", "query: n 3", "query: m 3") in same
    pairs = jsonl([{"text_a": f"a {n}", "text_b": f"b {n}", "label": n / 7} for n in range(40)], "pairs.jsonl")
    assert all(a.startswith("query: ") and b.startswith("query: ") for a, b in
               texts(open_corpus(pairs, task="embed", prefixes=e5)))  # fmt: skip


def test_what_teaches_nothing_is_left_out_and_what_is_more_is_told(jsonl: Write) -> None:
    rows = [
        *BGE,
        {"query": " ", "pos": ["p"], "neg": []},
        {"query": "q", "pos": [], "neg": ["n"]},
        {"query": "two", "pos": ["first", "second"], "neg": [f"n {n}" for n in range(9)]},
        {"query": "none", "pos": ["alone"], "neg": []},
    ]
    corpus = open_corpus(jsonl(rows))
    told = {problem.message.code: problem.count for problem in corpus.problems}
    assert told["TT-D140"] == 2 and told["TT-D143"] == 1
    found = texts(corpus)
    assert ("two", "first", *(f"n {n}" for n in range(7))) in found and ("none", "alone") in found
    with pytest.raises(DataError) as caught:
        open_corpus(jsonl([*BGE, {"query": "q", "pos": {"text": "p"}, "neg": []}]))
    assert caught.value.code == "TT-D141" and "31" in str(caught.value)


def test_rows_with_the_same_query_stay_on_one_side(jsonl: Write) -> None:
    rows = [{"query": f"q {n % 10}", "positive": f"p {n}"} for n in range(60)]
    corpus = open_corpus(jsonl(rows))
    sides = [{example.texts[0] for example in split} for split in (corpus.train, corpus.dev, corpus.test)]
    assert all(not one & other for one, other in zip(sides, sides[1:] + sides[:1], strict=True))


def test_a_request_that_cannot_be_met_says_which_columns_there_are(jsonl: Write) -> None:
    path = jsonl([{"left": f"a {n}", "right": f"b {n}"} for n in range(30)])
    with pytest.raises(DataError) as caught:
        open_corpus(path, task="embed")
    assert caught.value.code == "TT-D142" and "left, right" in str(caught.value)
    named = open_corpus(path, task="embed", text=("left", "right"))
    assert named.form == "ranked" and ("a 3", "b 3") in texts(named)
    with pytest.raises(UsageError, match="TT-D144"):
        open_corpus(path, task="embed", text=("left",))
    one = jsonl([{"text": f"a {n}", "score": n / 7} for n in range(30)])
    with pytest.raises(DataError, match="TT-D14"):
        open_corpus(one, task="embed", text=("text",), label="score")


def test_lengths_are_those_of_the_longest_text_of_each_row(jsonl: Write, tmp_path: Path) -> None:
    rows = [{"query": "good " * n, "positive": "film " * (n // 2), **({"negative": "bad"} if n % 2 else {})}
            for n in range(2, 32)]  # fmt: skip
    corpus = open_corpus(jsonl(rows))
    tiny_tokenizer("bert").save_pretrained(tmp_path / "t")
    counted = count_tokens(corpus.train, tmp_path / "t" / "tokenizer.json")
    plain = Tokenizer.from_file(str(tmp_path / "t" / "tokenizer.json"))
    longest = [max(len(plain.encode(text).ids) for text in example.texts) for example in corpus.train]
    assert counted.lengths.counts == tuple(np.bincount(longest).tolist())
    many = [len(example.texts) for example in corpus.train]
    assert counted.texts == RowTexts(sum(many) / len(many), 3)
    seen = {token for example in corpus.train for text in example.texts for token in plain.encode(text).ids}
    assert counted.vocabulary == len(seen)
    by_rule = approximate_tokens(corpus.train)
    assert by_rule.texts == counted.texts and by_rule.lengths.examples == len(corpus.train)
    assert describe(corpus, counted).texts == counted.texts and describe(corpus, counted).outputs == 0


def test_rows_for_a_finished_model_may_be_of_the_other_form(jsonl: Write, tmp_path: Path) -> None:
    pairs = [{"text_a": f"a {n}", "text_b": f"b {n}", "label": n / 7} for n in range(9)]
    ranked = {"task": "embed", "columns": ("query", "pos", "neg"), "label_column": "", "labels": ()}
    scored = {"task": "embed", "columns": ("text_a", "text_b"), "label_column": "label", "labels": ()}
    for trained in (ranked, scored):
        of_pairs = open_labelled(jsonl(pairs), **trained, prefixes=Prefixes("query: "))
        assert next(iter(of_pairs)).texts == ("query: a 0", "query: b 0") and len(of_pairs) == 9
        of_queries = open_labelled(jsonl(BGE), **trained)
        assert next(iter(of_queries)).texts == ("q 0", "p 0", "n 0", "m 0") and len(of_queries) == 30
    folder = tmp_path / "set"
    folder.mkdir()
    for name, rows in (("train", pairs), ("dev", pairs[:4]), ("test", pairs[:5])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert len(open_held_out(str(folder), **scored)) == 5


@pytest.mark.parametrize("score", ["相似度", "similarity_score", "relatedness_score", "Relatedness"])
def test_a_score_is_known_by_its_name(jsonl: Write, score: str) -> None:
    rows = [{"sentence1": f"a {n}", "sentence2": f"b {n}", score: n % 6 / 5} for n in range(40)]
    corpus = open_corpus(jsonl(rows), task="embed")
    assert (corpus.form, corpus.label_column) == ("scored", score)


def test_a_label_beside_a_query_and_a_positive_is_not_passed_over(jsonl: Write) -> None:
    path = jsonl([{"query": f"q {n}", "positive": f"p {n}", "label": n % 2} for n in range(40)])
    corpus = open_corpus(path)
    assert (corpus.task, corpus.columns, corpus.label_column) == ("pair", ("query", "positive"), "label")
    assert open_corpus(path, task="embed").form == "scored"
    named = open_corpus(path, task="embed", text=("query", "positive"))
    assert named.form == "ranked"
    trained = {"task": "embed", "columns": named.columns, "label_column": "", "labels": ()}
    assert next(iter(open_labelled(path, **trained))).label is None  # as it was trained
    other = {"task": "embed", "columns": ("a", "b"), "label_column": "", "labels": ()}
    assert next(iter(open_labelled(path, **other))).label == 0.0


@pytest.mark.parametrize(
    ("names", "beside", "refused"),
    [
        (("sentence1", "sentence2"), {"agreement": "{}.5"}, True),
        (("sentence1", "sentence2"), {"agreement": ["same", "other"]}, True),
        (("query", "positive"), {"agreement": [0, 1]}, True),
        (("query", "positive"), {"agreement": [True, False]}, True),
        (
            ("query", "positive"),
            {"query_id": "{}", "source": ["web", "news"], "pos_scores": [[1.0], [2.0]]},
            False,
        ),
        (("query", "positive"), {"negative": "n {}", "margin": "{}"}, False),
        (("sentence1", "sentence2"), {"pairID": "{}", "comment": "remark {}"}, False),
    ],
)
def test_numbers_beside_a_pair_are_asked_about(jsonl: Write, names, beside, refused: bool) -> None:
    def cell(written, n: int):
        return written[n % 2] if isinstance(written, list) else written.format(n)

    rows = [
        {names[0]: f"a {n}", names[1]: f"b {n}"} | {k: cell(v, n) for k, v in beside.items()} for n in range(40)
    ]
    path = jsonl(rows)
    if not refused:
        assert open_corpus(path, task="embed").form == "ranked"
        return
    with pytest.raises(DataError, match="agreement") as caught:
        open_corpus(path, task="embed")
    assert caught.value.code == "TT-D160"
    assert open_corpus(path, task="embed", text=names).form == "ranked"
