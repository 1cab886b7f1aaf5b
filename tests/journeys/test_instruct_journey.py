"""A chat model taught to answer, from a json file to its answers, on real processes."""

import json
from pathlib import Path

import pytest
from terminal import Terminal

from tiny_chat import chat_model, write_talks

OPTIONS = ("--method", "lora", "--precision", "fp32", "--epochs", "6", "--batch", "4", "--lr", "1e-2")


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Terminal:
    """A terminal with a tiny chat model that was taught, in its folder "out"."""
    tt = Terminal(tmp_path_factory.mktemp("instruct"), home)
    chat_model(tt.folder / "model", tied=True)
    write_talks(tt.folder / "talks")
    tt.done("train", "model", "--data", "talks", *OPTIONS, "--out", "out")
    return tt


def test_the_report_says_what_was_learned_and_shows_answers(taught: Terminal) -> None:
    report = json.loads((taught.folder / "out" / "report.json").read_text(encoding="utf-8"))
    assert (report["data"]["task"], report["data"]["form"]) == ("instruct", "prompt")
    dev = report["scores"]["dev"]
    assert [metric["name"] for metric in dev["metrics"]] == ["loss", "perplexity", "token_accuracy"]
    assert dev["loss"] < report["run"]["untrained_metric"]
    assert (
        len(report["samples"]) == 4 and {"prompt", "expected", "written", "ended"} <= report["samples"][0].keys()
    )
    assert report["worst"] == [] and report["confusion"] is None
    page = (taught.folder / "out" / "report.html").read_text(encoding="utf-8")
    assert "What it answers" in page and report["samples"][0]["expected"] in page
    card = (taught.folder / "out" / "README.md").read_text(encoding="utf-8")
    assert 'pipeline_tag: "text-generation"' in card and 'library_name: "peft"' in card


def test_it_answers_and_is_scored(taught: Terminal) -> None:
    (taught.folder / "asked.jsonl").write_text(
        '{"prompt": "good film"}\n{"prompt": "bad plot"}\n', encoding="utf-8"
    )
    plain, told, of_file, score = taught.together(
        ("predict", "out", "--text", "good film"),
        ("predict", "out", "--text", "good film", "--text", "bad plot", "--json"),
        ("predict", "out", "--file", "asked.jsonl", "--json"),
        ("evaluate", "out", "--data", "talks", "--json"),
    )
    answers = [json.loads(line) for line in told.out.splitlines()]
    assert plain.out.strip() == answers[0]["text"].strip() and answers[0]["label"] is None
    assert [json.loads(line) for line in of_file.out.splitlines()] == answers
    assert score.json["split"] == "test" and score.json["n"] == 8


def test_what_cannot_be_is_refused_before_anything_is_loaded(taught: Terminal) -> None:
    refused = taught("plan", "model", "--data", "talks", "--method", "head")
    assert refused.code == 2 and "TT-P022" in refused.err
    refused = taught("plan", "bert-base-chinese", "--data", "talks")
    assert refused.code == 2 and "TT-P021" in refused.err
    checked = taught.done("data", "check", "talks", "--model", "model")
    assert "instruct" in checked.out and "prompt" in checked.out
