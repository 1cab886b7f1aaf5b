"""Words tagged, and rows with several labels: from files to entities and labels, on real processes."""

import json
from pathlib import Path

import pytest
from terminal import Terminal

from tiny_models import tiny_model
from tiny_tagging import write_tags

OPTIONS = ("--precision", "fp32", "--epochs", "8", "--batch", "4", "--lr", "1e-2")


def test_entities_from_a_file_to_a_text(tmp_path: Path, home: Path) -> None:
    tt = Terminal(tmp_path, home)
    tiny_model(tmp_path / "model", layers=3)
    write_tags(tmp_path / "words")
    tt.done("train", "model", "--data", "words", "--method", "full", *OPTIONS, "--out", "out")
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert (report["data"]["task"], report["data"]["form"]) == ("tag", "BIO")
    test = report["scores"]["test"]
    names = [metric["name"] for metric in test["metrics"]]
    assert names == ["entity_f1", "entity_precision", "entity_recall", "token_accuracy"]
    assert {entry["label"] for entry in test["classes"]} == {"mood", "number"} and report["worst"]
    assert report["confusion"]["labels"] == ["mood", "number", "O"]
    assert "mood" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert 'pipeline_tag: "token-classification"' in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")

    plain, told, score = tt.together(
        ("predict", "out", "--text", "a film, 3 7.", "--text", ""),
        ("predict", "out", "--text", "a film, 3 7.", "--text", "", "--json"),
        ("evaluate", "out", "--data", "words", "--json"),
    )
    first, second = (json.loads(line) for line in told.out.splitlines())
    assert second["entities"] == [] and plain.out.splitlines()[1] == "-"
    for one in first["entities"]:
        assert "a film, 3 7."[one["start"] : one["end"]] == one["text"]
        assert f"{one['text']} [{one['type']} {one['probability']:.4f}]" in plain.out
    assert score.json["split"] == "test" and score.json["metrics"] == test["metrics"]


@pytest.mark.soak
def test_several_labels_from_a_file_to_a_text(tmp_path: Path, home: Path) -> None:
    tt = Terminal(tmp_path, home)
    tiny_model(tmp_path / "model", layers=2)
    words = {"good": "praise", "bad": "blame", "film": "cinema"}
    rows = []
    for number in range(96):
        there = [word for place, word in enumerate(words) if number >> place & 1]
        text = " ".join(["story", *there, "day", *str(number)])
        rows.append(f"{text},{','.join(str(int(word in there)) for word in words)}")
    header = ",".join(("text", *words.values()))
    (tmp_path / "flags.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    read = ("--data", "flags.csv", "--task", "multilabel")
    checked = tt.done("data", "check", "flags.csv", "--task", "multilabel")
    assert "3 labels (columns)" in checked.out
    tt.done("train", "model", *read, "--method", "full", *OPTIONS, "--class-weights", "balanced", "--out", "out")
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert [m["name"] for m in report["scores"]["dev"]["metrics"]] == ["micro_f1", "macro_f1", "subset_accuracy"]
    plain, told, score = tt.together(
        ("predict", "out", "--text", "good film"),
        ("predict", "out", "--text", "good film", "--json"),
        ("evaluate", "out", "--data", "flags.csv", "--json"),
    )
    said = json.loads(told.out)
    assert {label for label, _ in said["scores"]} == set(words.values())
    assert plain.out.strip() == ("\t".join(f"{label} {share:.4f}" for label, share in said["labels"]) or "-")
    assert score.json["n"] == 96
