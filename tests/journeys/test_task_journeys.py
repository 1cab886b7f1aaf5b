"""Pairs, regressions and full tuning, from a csv to predictions, on real processes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from sentences import UNSEEN, lengths, pairs, write_csv
from terminal import SHORT, Terminal
from transformers import AutoModelForSequenceClassification, AutoTokenizer

pytestmark = pytest.mark.model
OPTIONS = (*SHORT, "--method", "lora", "--top-layers", "1", "--lang", "zh")


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory, home: Path, demo_model: None) -> Terminal:
    """A terminal with a model of pairs in its folder "same" and a regression in "length"."""
    tt = Terminal(tmp_path_factory.mktemp("tasks"), home)
    write_csv(tt.folder / "pairs.csv", ("text_a", "text_b", "label"), pairs())
    write_csv(tt.folder / "lengths.csv", ("text", "score"), lengths())
    tt.together(
        ("train", "demo", "--data", "pairs.csv", *OPTIONS, "--out", "same"),
        ("train", "demo", "--data", "lengths.csv", *OPTIONS, "--out", "length"),
    )
    return tt


def report_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def test_two_text_columns_make_pairs(tasks: Terminal) -> None:
    """A prediction takes two texts, or a line with a tab between them."""
    data = report_of(tasks.folder / "same")["data"]
    assert (data["task"], data["columns"], data["labels"]) == ("pair", ["text_a", "text_b"], ["other", "same"])
    (tasks.folder / "pair.txt").write_text(f"{UNSEEN[0]}\t{UNSEEN[1]}\n", encoding="utf-8")
    of_texts, of_file, score = tasks.together(
        ("predict", "same", "--text", UNSEEN[0], "--text", UNSEEN[1], "--json"),
        ("predict", "same", "--file", "pair.txt", "--json"),
        ("evaluate", "same", "--data", "pairs.csv", "--json"),
    )
    assert of_texts.json == of_file.json and of_texts.json["label"] in data["labels"]
    assert score.json["n"] == 120


def test_numbers_with_fractions_make_a_regression(tasks: Terminal) -> None:
    report = report_of(tasks.folder / "length")
    assert (report["data"]["task"], report["data"]["labels"]) == ("regress", [])
    prediction, score = tasks.together(
        ("predict", "length", "--text", UNSEEN[0], "--json"),
        ("evaluate", "length", "--data", "lengths.csv", "--json"),
    )
    answer = prediction.json
    assert isinstance(answer["value"], float)
    assert (answer["label"], answer["probability"], answer["scores"]) == (None, None, [])
    assert (score.json["n"], score.json["classes"]) == (120, [])


def test_a_report_speaks_the_language_of_its_command(tasks: Terminal) -> None:
    page = (tasks.folder / "length" / "report.html").read_text(encoding="utf-8")
    assert '<html lang="zh' in page and "预测" in page
    assert "预测" in (tasks.folder / "length" / "README.md").read_text(encoding="utf-8")


def test_full_tuning_makes_a_model_that_transformers_opens(full_artifact: Path, home: Path) -> None:
    """A whole model in fp32, on a tiny BERT with a WordPiece tokenizer."""
    report = report_of(full_artifact)
    assert report["trainable_parameters"] == report["total_parameters"]
    assert report["scores"]["test"]["metrics"][0]["value"] >= 9 / 12

    model = AutoModelForSequenceClassification.from_pretrained(full_artifact).eval()
    tokenizer = AutoTokenizer.from_pretrained(full_artifact)
    with torch.inference_mode():
        theirs = model(**tokenizer(list(UNSEEN), padding=True, return_tensors="pt")).logits.softmax(-1)
    arguments = [word for text in UNSEEN for word in ("--text", text)]
    shown = Terminal(full_artifact.parent, home).done("predict", "out", *arguments, "--json")
    for line, row in zip(shown.lines, theirs, strict=True):
        answer = json.loads(line)
        assert answer["label"] == model.config.id2label[int(row.argmax())]
        assert answer["probability"] == pytest.approx(float(row.max()), abs=1e-4)
