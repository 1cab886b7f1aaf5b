"""Tagged sentences: forms, schemes, what is left out, what is refused; and words of texts."""

from collections.abc import Callable
from pathlib import Path

import pytest

from trimtab.data import Corpus, open_corpus, open_held_out, open_labelled, read_sentences
from trimtab.data.tag_schemes import TagCounter, TagSet, sorted_tags
from trimtab.data.words import joined, sentence_of
from trimtab.errors import DataError

Jsonl = Callable[..., str]
WORDS = ["the", "fox", "saw", "Ann", "Lee", "in", "Oslo", "on", "Monday"]


def row(*tags: str, number: int = 0) -> dict[str, list[str]]:
    return {"tokens": [f"{word}{number}" for word in WORDS[: len(tags)]], "tags": list(tags)}


def rows(count: int, *tags: str) -> list[dict[str, list[str]]]:
    return [row(*tags, number=number) for number in range(count)]


def codes(corpus: Corpus) -> dict[str, int]:
    return {problem.message.code: problem.count for problem in corpus.problems}


BIO = ("O", "O", "O", "B-person", "I-person", "O", "B-place")


def test_a_table_of_words_and_tags_is_known_and_numbered(jsonl: Jsonl) -> None:
    corpus = open_corpus(jsonl(rows(20, *BIO)))
    assert (corpus.task, corpus.form) == ("tag", "BIO")
    assert corpus.labels == ("O", "B-person", "I-person", "B-place")
    assert (corpus.columns, corpus.label_column) == (("tokens",), "tags")
    assert len(corpus.train) + len(corpus.dev) + len(corpus.test or ()) == 20
    example = next(iter(corpus.train))
    assert example.texts == tuple(row(*BIO, number=int(example.texts[0][3:]))["tokens"])
    assert example.label == (0, 0, 0, 1, 2, 0, 3)
    assert corpus.label_counts == tuple(len(corpus.train) * n for n in (4, 1, 1, 1))


@pytest.mark.parametrize("suffix", ["conll", "bio"])
@pytest.mark.parametrize("between", ["\t", " NN "])
def test_conll_files_say_the_same(raw: Callable[..., str], jsonl: Jsonl, suffix: str, between: str) -> None:
    lines = [f"{word}{between}{tag}" for word, tag in zip(row(*BIO)["tokens"], BIO, strict=True)]
    text = "-DOCSTART- -X- O\n\n" + "\n\n".join(
        "\n".join(line.replace("0", str(n)) for line in lines) for n in range(9)
    )
    corpus = open_corpus(raw(f"words.{suffix}", (text + "\r\n\r\n").encode()))
    plain = open_corpus(jsonl(rows(9, *BIO)))
    assert [list(split) for split in (corpus.train, corpus.dev)] == [list(plain.train), list(plain.dev)]
    broken = raw("broken.conll", b"a b O\nc O\n")
    with pytest.raises(DataError, match=r"TT-D126.*line 2: 2 columns.*has 3"):
        open_corpus(broken)


def test_csv_may_hold_lists_in_json_or_between_spaces(raw: Callable[..., str]) -> None:
    spaces = "tokens,tags\n" + "".join(f"Ann saw Oslo{n},B-x O B-y\n" for n in range(9))
    lists = "tokens,tags\n" + "".join(
        f'"[""Ann"",""saw"",""Oslo{n}""]","[""B-x"",""O"",""B-y""]"\n' for n in range(9)
    )
    read = open_corpus(raw("a.csv", spaces.encode()), task="tag")
    assert list(read.train) == list(open_corpus(raw("b.csv", lists.encode())).train)


def test_rows_without_words_without_tags_and_of_other_lengths_are_left_out(jsonl: Jsonl) -> None:
    bad = [{"tokens": [], "tags": []}, {"tokens": ["a"], "tags": None}, {"tokens": ["a", "b"], "tags": ["O"]}]
    corpus = open_corpus(jsonl([*rows(20, *BIO), *bad]), task="tag")
    assert {code: n for code, n in codes(corpus).items() if code < "TT-D130" and code > "TT-D119"} == {
        "TT-D121": 1, "TT-D122": 1, "TT-D123": 1,
    }  # fmt: skip
    places = {problem.message.code: problem.places for problem in corpus.problems}
    assert places["TT-D123"][0].row == 23


def test_what_cannot_be_learned_is_refused(jsonl: Jsonl) -> None:
    def refusal(*tags: str) -> str:
        with pytest.raises(DataError) as caught:
            open_corpus(jsonl(rows(9, *tags)), task="tag")
        return caught.value.code

    assert refusal("O", "O", "O") == "TT-D125"
    assert refusal("O", "B-person", "person") == "TT-D124"
    with pytest.raises(DataError, match="TT-D132"):
        open_corpus(jsonl([{"text": "a", "label": "b"}] * 9), task="tag")
    with pytest.raises(DataError, match=r"TT-D120.*row 10, column tags"):
        open_corpus(jsonl([*rows(9, *BIO), {"tokens": ["a"], "tags": {"a": 1}}]), task="tag")


@pytest.mark.parametrize(
    ("sentences", "scheme", "strays"),
    [
        (["O B-x I-x O B-x"], "BIO", 0),
        (["O B-x I-x O I-x", "I-y O"], "BIO", 2),
        (["I-x I-x B-x O I-y"], "IOB1", 0),
        (["I-x I-x O I-y"], "IOB1", 0),
        (["B-x B-x O"], "BIO", 0),
        (["S-x O B-x I-x E-x"], "BIOES", 0),
        (["U-x O B-x I-x L-x"], "BIOES", 0),
        (["S M"], "BIOES", 1),
        (["NOUN VERB O"], "plain", 0),
        (["B I O B"], "BIO", 0),
    ],
)
def test_schemes(sentences: list[str], scheme: str, strays: int) -> None:
    counter = TagCounter()
    for tags in sentences:
        counter.add(tags.split())
    assert (counter.scheme(), counter.strays()) == (scheme, strays)


def test_tags_of_other_letters_and_of_none_mean_the_same_entities() -> None:
    import numpy as np

    def found(tags: str) -> list[tuple[str, int, int]]:
        names = sorted_tags(set(tags.split()))
        told = TagSet(names)
        flat = np.array([names.index(tag) for tag in tags.split()])
        spans = told.spans(flat, np.array([0, len(flat)]))
        return [(told.types[k], b, e) for k, b, e in zip(spans.types, spans.begins, spans.ends, strict=True)]

    bio = found("B-x I-x O B-x B-y I-y I-y")
    assert bio == [("x", 0, 2), ("x", 3, 4), ("y", 4, 7)]
    assert found("B-x E-x O S-x B-y I-y E-y") == found("B-x L-x O U-x B-y I-y L-y") == bio
    assert found("B-x M-x O B-x B-y M-y E-y") == found("I-x I-x O I-x I-y I-y I-y") == bio
    assert found("NOUN O VERB VERB") == [("NOUN", 0, 1), ("VERB", 2, 3), ("VERB", 3, 4)]
    assert found("B I O B") == [("_", 0, 2), ("_", 3, 4)]


def test_a_finished_model_scores_rows_with_its_own_tags(jsonl: Jsonl, tmp_path: Path) -> None:
    trained = {"task": "tag", "columns": ("tokens",), "label_column": "tags"}
    labels = ("O", "B-place", "B-person", "I-person")
    file = jsonl(rows(3, *BIO), "asked.jsonl")
    split = open_labelled(file, labels=labels, **trained)
    assert [example.label for example in split] == [(0, 0, 0, 2, 3, 0, 1)] * 3
    with pytest.raises(DataError, match=r"TT-D133.*B-place"):
        open_labelled(file, labels=("O", "B-person", "I-person"), **trained)
    jsonl(rows(3, *BIO), "folder/train.jsonl")
    jsonl(rows(2, *BIO), "folder/dev.jsonl")
    held = open_held_out(str(tmp_path / "folder"), labels=labels, **trained)
    assert held is not None and (held.name, len(held)) == ("dev", 2)


def test_tags_that_dev_alone_has_are_told(jsonl: Jsonl, tmp_path: Path) -> None:
    jsonl(rows(9, *BIO), "folder/train.jsonl")
    jsonl(rows(2, "B-beast", "I-beast"), "folder/dev.jsonl")
    corpus = open_corpus(str(tmp_path / "folder"))
    assert codes(corpus)["TT-D139"] == 2 and "B-beast" in corpus.labels
    assert corpus.label_counts[corpus.labels.index("B-beast")] == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("He saw (London).", "He saw ( London ) ."),
        ("isn't at http://t.co/x ...", "isn't at http://t.co/x ..."),
        ("@ann #fun 3.5% off!!", "@ann #fun 3.5 % off !!"),
        ("我爱Paris的夜晚。", "我 爱 Paris 的 夜 晚 。"),
        ("서울은 좋다", "서 울 은 좋 다"),
        ("", ""),
    ],
)
def test_texts_are_cut_into_words(text: str, words: str) -> None:
    sentence = sentence_of(text)
    assert list(sentence.words) == words.split()
    assert all(text[start:end] == word for (start, end), word in zip(sentence.places, sentence.words, strict=True))


def test_words_that_are_given_make_a_text() -> None:
    sentence = joined(["我", "爱", "New", "York", "。"])
    assert sentence.text == "我爱 New York 。" and list(sentence.words) == ["我", "爱", "New", "York", "。"]


def test_what_is_asked_may_be_texts_lines_or_rows_of_words(raw: Callable[..., str], jsonl: Jsonl) -> None:
    expected = [("Ann", "saw", "Oslo", ".")]
    columns = ("tokens",)
    assert [s.words for s in read_sentences(("Ann saw Oslo.",), None, columns)] == expected
    asked = {
        "lines.txt": b"Ann saw Oslo.\n",
        "rows.csv": b"text\nAnn saw Oslo.\n",
        "words.csv": b"tokens\nAnn saw Oslo .\n",
        "words.conll": b"Ann\nsaw\nOslo\n.\n",
    }
    for name, content in asked.items():
        assert [s.words for s in read_sentences((), raw(name, content), columns)] == expected, name
    file = jsonl([{"tokens": ["Ann", "saw", "Oslo", "."]}])
    assert [s.text for s in read_sentences((), file, columns)] == ["Ann saw Oslo ."]
    with pytest.raises(DataError, match=r"TT-D120.*row 1"):
        list(read_sentences((), jsonl([{"tokens": 3}]), columns))
