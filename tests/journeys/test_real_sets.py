"""The same commands on a Chinese set and a multilingual model, as they are: plan, train, evaluate, predict.

Long, and reads what users do not have: part of `make soak`.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from terminal import Terminal

pytestmark = pytest.mark.soak

MODEL = "multilingual-e5-small"
GOOD, BAD = "房间很干净，服务员态度也好，下次还会来住。", "太差了，房间又小又吵，早餐也难吃，再也不来了。"


def test_hotel_reviews_with_a_multilingual_encoder(
    shared: Callable[[str], str], real_model: Callable[[str], Path], tmp_path: Path
) -> None:
    tt = Terminal(tmp_path, tmp_path / "home", patience_seconds=3600)
    data, model = shared("chnsenticorp"), str(real_model(MODEL))
    plan = tt.done("plan", model, "--data", data, "--json").json
    assert plan["data"]["train_rows"] == 7612

    short = ("--epochs", "1", "--max-length", "96")
    tt.done("train", model, "--data", data, *short, "--out", "out", "--lang", "zh")
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    test = report["scores"]["test"]
    assert (test["n"], test["metrics"][0]["name"]) == (1179, "accuracy")
    assert test["metrics"][0]["low"] > 0.80, "about half of the reviews are good ones"
    memory = report["comparison"]["memory"]
    assert memory["predicted"] == pytest.approx(memory["measured"], rel=0.15), memory

    score = tt.done("evaluate", "out", "--data", f"{data}/test.jsonl", "--json").json
    assert score["metrics"][0]["value"] == pytest.approx(test["metrics"][0]["value"], abs=1e-9)
    answers = tt.done("predict", "out", "--text", GOOD, "--text", BAD, "--json").lines
    labels = [json.loads(line)["label"] for line in answers]
    assert labels[0] != labels[1]
