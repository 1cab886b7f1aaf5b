"""Plain text: where documents begin and end, how many tokens they have, which blocks they make."""

import json
from pathlib import Path

import pytest

from tiny_chat import chat_model
from trimtab.data import approximate_tokens, count_tokens, describe, open_corpus, open_labelled
from trimtab.errors import DataError, UsageError


def texts_of(path: Path) -> list[str]:
    corpus = open_corpus(str(path), task="text", keep_overlap=True)
    found = [example.texts[0] for split in (corpus.train, corpus.dev, corpus.test or ()) for example in split]
    return sorted(found)


@pytest.mark.parametrize(
    ("written", "documents"),
    [
        ("".join(f"line {n}\n" for n in range(10, 40)), [f"line {n}" for n in range(10, 40)]),
        ("\n\n".join(f"a {n}\nb {n}" for n in range(10, 40)) + "\n\n\n", [f"a {n}\nb {n}" for n in range(10, 40)]),
        ("\n\n" + "\n".join(f"line {n}" for n in range(10, 40)) + "\n\n", [f"line {n}" for n in range(10, 40)]),
        ("\r\n \r\n".join(f"a {n}\u2028b" for n in range(10, 40)), [f"a {n}\u2028b" for n in range(10, 40)]),
    ],
)
def test_documents_stand_between_blank_lines_or_one_a_line(
    tmp_path: Path, written: str, documents: list[str]
) -> None:
    path = tmp_path / "book.txt"
    path.write_bytes(written.encode())
    assert texts_of(path) == documents


def test_tables_have_a_text_column(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"id": n, "text": f"words {n}" if n else " ", "source": f"web {n % 9}"} for n in range(30)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus = open_corpus(str(path), task="text")
    assert (corpus.task, corpus.form, corpus.columns, corpus.label_column) == ("text", "documents", ("text",), "")
    told = {problem.message.code: problem.count for problem in corpus.problems}
    assert told["TT-D153"] == 1
    assert open_corpus(str(path), task="text", text=("source",)).columns == ("source",)
    with pytest.raises(UsageError, match="TT-D154"):
        open_corpus(str(path), task="text", text=("text", "source"))
    with pytest.raises(DataError, match="TT-D032"):
        open_corpus(str(path), task="text", text=("nothing",))
    split = open_labelled(str(path), task="text", columns=("text",), label_column="", labels=())
    assert len(split) == 29


def test_a_txt_file_is_read_for_plain_text_alone(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text("a\nb\nc\n")
    with pytest.raises(DataError, match="TT-D005"):
        open_corpus(str(path))


def test_blocks_are_counted_before_there_is_a_model(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text("".join(f"good film {n % 10} plot\n" * (n % 3 + 1) for n in range(90)))
    corpus = open_corpus(str(path), task="text", keep_overlap=True)
    source = chat_model(tmp_path / "model")
    counted = count_tokens(corpus.train, source.folder / "tokenizer.json")
    assert counted.lengths.counts == (0, 0, 0, 0, 0, 0, len(corpus.train))  # [CLS], four words, the end
    by_rule = approximate_tokens(corpus.train)
    assert by_rule.lengths.examples == len(corpus.train)
    facts = describe(corpus, counted)
    tokens = 6 * len(corpus.train)
    assert facts.longest_row == tokens and facts.outputs == 0
    cut = facts.cut_at(16)
    assert cut.train_rows == -(-tokens // 16) and cut.lengths.longest == 16
    assert cut.dev_rows == -(-6 * len(corpus.dev) // 16)
    assert cut.answers is not None and cut.answers.kept(cut.lengths, 16) == 15 * cut.train_rows
    assert facts.cut_at(10**6).lengths.longest == tokens and facts.cut_at(10**6).train_rows == 1


@pytest.mark.parametrize(
    ("every", "documents", "code"),
    [(100, 100, "TT-D161"), (50, 100, "TT-D161"), (20, 6, "TT-D162"), (3, 34, "TT-D162")],
)
def test_a_stray_blank_line_is_no_border_and_the_count_is_told(
    tmp_path: Path, every: int, documents: int, code: str
) -> None:
    """A hundred lines with a blank one somewhere in `every` of them."""
    path = tmp_path / "book.txt"
    written = [f"line {n}\n" + ("\n" if n % every == every // 2 else "") for n in range(100)]
    path.write_text("".join(written))
    corpus = open_corpus(str(path), task="text", keep_overlap=True)
    assert len(texts_of(path)) == documents
    told = {problem.message.code: problem.count for problem in corpus.problems}
    assert told[code] == documents


def test_a_label_that_is_not_given_is_not_listed(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"a": f"x {n}", "b": "y", "c": "z"}) + "\n" for n in range(9)))
    with pytest.raises(UsageError, match=r"got: a, b\."):
        open_corpus(str(path), task="text", text=("a", "b"))
    with pytest.raises(UsageError, match=r"got: a, c\."):
        open_corpus(str(path), task="text", text=("a",), label="c")
