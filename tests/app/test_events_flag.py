"""`train --events jsonl`, and the verb that starts the page."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from contextlib import ExitStack
from pathlib import Path

from trimtab import study
from trimtab.app.cli.face import Face
from trimtab.app.cli.show.events import print_events
from trimtab.errors import message
from trimtab.metrics.score import Metric, Score
from trimtab.training.events import Evaluated, Notice, Step


def test_an_event_is_a_line_of_json(capsys) -> None:
    face = Face(arguments=(), language="zh")
    loss = float("nan")
    told = Step(
        step=1, steps=2, epoch=0.5, loss=loss, learning_rate=1e-3, seconds=0.1, eta_seconds=0.1, memory_bytes=9
    )
    score = Score(split="dev", n=3, loss=0.1, metrics=(Metric(name="accuracy", value=0.5, low=0.1, high=0.9),))
    notice = Notice(message=message("TT-W110", folder="x\ny"))
    planned = study.plan("bert-base-chinese", "demo", on="laptop-16g")
    print_events(face, [planned, told, Evaluated(step=1, score=score, best=True, seconds=1.0), notice])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == ["planned", "step", "evaluated", "notice"]
    assert lines[1]["loss"] is None and lines[1]["memory_bytes"] == 9 and lines[0]["at"] > 1e9
    assert lines[2]["score"]["metrics"][0]["name"] == "accuracy"
    assert lines[3]["message"]["text"] == "x\ny 不是文件夹。".replace("\n", lines[3]["message"]["text"][1])
    chosen = planned.plan.chosen.estimate
    assert (
        lines[0]["plan"]["chosen"]["estimate"]["memory"]["peak_bytes"]["value"] == chosen.memory.peak_bytes.value
    )


def test_another_format_is_refused(tt) -> None:
    outcome = tt("train", "demo", "--data", "demo", "--out", "x", "--events", "xml")
    assert outcome.code == 2 and "TT-W101" in outcome.err and "jsonl" in outcome.err


def test_the_page_refuses_what_it_cannot_start_with(tt) -> None:
    assert "TT-W110" in tt("ui", "--folder", "/nowhere/at/all", "--no-browser").err
    assert "TT-W124" in tt("ui", "--port", "70000", "--no-browser").err


def test_the_verb_prints_its_address_and_ends_on_a_signal(tmp_path: Path) -> None:
    environment = os.environ | {"TRIMTAB_HOME": str(tmp_path / "home"), "PYTHONPATH": ":".join(sys.path)}
    words = [sys.executable, "-m", "trimtab", "ui", "--no-browser", "--folder", str(tmp_path)]
    with (
        subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as started,
        ExitStack() as undone,
    ):
        undone.callback(started.kill)
        assert started.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+/\?key=\S{24,}", started.stdout.readline())
        assert found is not None
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        with opener.open(found[0]) as answer:  # waits in the backlog until it answers
            assert b"Trimtab" in answer.read() and answer.url.endswith("/plan")
        started.send_signal(signal.SIGINT)
        assert started.wait(timeout=30) == 0
