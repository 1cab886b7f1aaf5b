"""Pairs, regressions and full tuning, from a csv to predictions, on real processes."""

import json
from pathlib import Path

import pytest
from sentences import UNSEEN, lengths, pairs, write_csv
from terminal import SHORT, Terminal
from transformers import AutoModelForSequenceClassification, AutoTokenizer


@pytest.mark.model
@pytest.mark.usefixtures("demo_model")
def test_pairs_from_end_to_end(tt: Terminal) -> None:
    """Two text columns make a task of pairs; a prediction takes two texts, or a line with a tab."""
    write_csv(tt.folder / "pairs.csv", ("text_a", "text_b", "label"), pairs())
    options = ("--method", "lora", "--top-layers", "1", *SHORT, "--max-length", "32")
    report = tt.done("train", "demo", "--data", "pairs.csv", *options, "--out", "out", "--json").json
    assert (report["data"]["task"], report["data"]["labels"]) == ("pair", ["other", "same"])

    shown = tt.done("predict", "out", "--text", UNSEEN[0], "--text", UNSEEN[1], "--json")
    (answer,) = map(json.loads, shown.lines)
    through_pipe = tt.done("predict", "out", "--file", "-", "--json", stdin=f"{UNSEEN[0]}\t{UNSEEN[1]}\n")
    assert json.loads(through_pipe.out) == answer
    assert tt.done("evaluate", "out", "--data", "pairs.csv", "--json").json["n"] == 120

    lonely = tt("predict", "out", "--text", UNSEEN[0])
    assert (lonely.code, lonely.out) == (5, "")
    assert lonely.err.startswith("TT-A008: ") and "text_a, text_b" in lonely.err


@pytest.mark.model
@pytest.mark.usefixtures("demo_model")
def test_a_regression_from_end_to_end_in_chinese(tt: Terminal) -> None:
    """Numbers with fractions make a regression; its report speaks the language of the command."""
    write_csv(tt.folder / "lengths.csv", ("text", "score"), lengths())
    options = ("--method", "head", *SHORT, "--lang", "zh")
    trained = tt.done("train", "demo", "--data", "lengths.csv", *options, "--out", "out")
    assert "预测" in trained.out
    page = (tt.folder / "out" / "report.html").read_text(encoding="utf-8")
    assert '<html lang="zh' in page
    assert json.loads((tt.folder / "out" / "report.json").read_text(encoding="utf-8"))["data"]["task"] == "regress"

    shown = tt.done("predict", "out", "--text", UNSEEN[0], "--json")
    answer = json.loads(shown.out)
    assert isinstance(answer["value"], float)
    assert (answer["label"], answer["probability"], answer["scores"]) == (None, None, [])
    score = tt.done("evaluate", "out", "--data", "lengths.csv", "--json").json
    assert score["n"] == 120 and score["classes"] == []


def test_full_tuning_makes_a_model_that_transformers_opens(full_artifact: Path, home: Path) -> None:
    """A whole model in fp32, on a tiny BERT with a WordPiece tokenizer."""
    report = json.loads((full_artifact / "report.json").read_text(encoding="utf-8"))
    assert report["trainable_parameters"] == report["total_parameters"]
    assert report["scores"]["test"]["metrics"][0]["value"] >= 9 / 12

    model = AutoModelForSequenceClassification.from_pretrained(full_artifact).eval()
    tokenizer = AutoTokenizer.from_pretrained(full_artifact)
    theirs = model(**tokenizer(list(UNSEEN), padding=True, return_tensors="pt")).logits.softmax(-1)
    arguments = [word for text in UNSEEN for word in ("--text", text)]
    shown = Terminal(full_artifact.parent, home).done("predict", "out", *arguments, "--json")
    for line, row in zip(shown.lines, theirs, strict=True):
        answer = json.loads(line)
        assert answer["label"] == model.config.id2label[int(row.argmax())]
        assert answer["probability"] == pytest.approx(float(row.max()), abs=1e-4)
