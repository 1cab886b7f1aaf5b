"""A decoder that goes on learning from a .txt file, to how it writes on, on real processes."""

import json
from pathlib import Path

import pytest
from terminal import Terminal

from tiny_chat import chat_model
from tiny_models import tiny_model
from tiny_text import write_documents

OPTIONS = ("--method", "lora", "--precision", "fp32", "--epochs", "3", "--batch", "4", "--lr", "1e-2")


def test_plain_text_from_a_file_to_a_perplexity(tmp_path: Path, home: Path) -> None:
    tt = Terminal(tmp_path, home)
    chat_model(tt.folder / "model", tied=True)
    tiny_model(tt.folder / "bert")
    write_documents(tt.folder / "texts")
    words = ("--task", "text", "--max-length", "24")
    tt.done("train", "model", "--data", "texts", *words, *OPTIONS, "--out", "out")
    report = json.loads((tt.folder / "out" / "report.json").read_text(encoding="utf-8"))
    assert (report["data"]["task"], report["data"]["form"]) == ("text", "documents")
    dev = report["scores"]["dev"]
    assert [metric["name"] for metric in dev["metrics"]] == ["perplexity", "loss", "token_accuracy"]
    assert dev["metrics"][0]["value"] < report["run"]["untrained_metric"]
    assert report["run"]["steps"] == report["plan"]["estimate"]["time"]["steps"]
    assert len(report["samples"]) == 4
    written, score, refused, whole = (
        tt.done("predict", "out", "--text", "good bad", "--json"),
        tt.done("evaluate", "out", "--data", "texts/dev.txt", "--json"),
        tt("plan", "bert", "--data", "texts", "--task", "text"),
        tt.done(
            "estimate", "qwen2.5-0.5b", "--method", "qlora", "--task", "text", "--examples", "1000", "--on", "a10"
        ),
    )
    assert written.json["text"]
    assert score.json["metrics"][0]["value"] == pytest.approx(dev["metrics"][0]["value"], rel=1e-4)
    assert refused.code == 2 and "TT-M066" in refused.err and whole.code == 0
