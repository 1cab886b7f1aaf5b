"""Optimisers, averages and losses, from the command line to the artifact, on real processes."""

import json
from pathlib import Path

import pytest
from terminal import Terminal

pytestmark = pytest.mark.model
SHORT = ("--method", "full", "--precision", "fp32", "--epochs", "12", "--batch", "8", "--lr", "3e-3")


def test_what_the_command_asks_of_the_loop_is_trained_kept_and_told(tt: Terminal, bert: Path) -> None:
    asked = (
        "--optimizer", "adamw8bit", "--ema", "0.9", "--decay", "wsd", "--label-smoothing", "0.1",
        "--class-weights", "balanced",
    )  # fmt: skip
    tt.done("train", str(bert), "--data", "topics.csv", *SHORT, *asked, "--out", "out")
    report = json.loads((tt.folder / "out" / "report.json").read_text(encoding="utf-8"))
    strategy = report["plan"]["strategy"]
    assert strategy["optimizer"]["rule"] == "adamw8bit" and strategy["schedule"]["decay"] == "wsd"
    assert (strategy["ema_decay"], strategy["label_smoothing"]) == (0.9, 0.1)
    assert len(strategy["class_weights"]) == len(report["data"]["labels"])
    assert all(f"{flag} {value}" in report["command"] for flag, value in zip(asked[::2], asked[1::2], strict=True))
    score = tt.done("evaluate", "out", "--data", "topics.csv", "--json").json
    assert score["metrics"][0]["value"] >= 0.75
    facts = json.loads((tt.folder / "out" / "artifact.json").read_text(encoding="utf-8"))
    assert facts["strategy"]["optimizer"]["rule"] == "adamw8bit"


def test_paged_states_are_refused_on_a_cpu_before_anything_loads(tt: Terminal, bert: Path) -> None:
    words = ("train", str(bert), "--data", "topics.csv", *SHORT, "--optimizer", "paged_adamw8bit", "--out", "out")
    refused = tt(*words)
    assert refused.code == 2 and "TT-T086" in refused.err and "--optimizer adamw8bit" in refused.err
    assert not (tt.folder / "out").exists()
