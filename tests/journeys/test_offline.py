"""Plans where the hub does not answer: told at once what is wrong with the data, and soon what can be told."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sentences import write_topics

from silent_hub import SilentHub, silent_hub


def plan(folder: Path, hub: SilentHub, *argv: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """`trimtab plan bert-base-chinese` in a shell that knows this hub alone, and its seconds."""
    mine = {
        "TRIMTAB_HOME": str(folder / "home"),
        "TRIMTAB_LANG": "en",
        "HF_HOME": str(folder / "hub"),
        "HF_ENDPOINT": hub.endpoint,
        "HF_HUB_DISABLE_TELEMETRY": "1",  # else the library asks for news too, once a day
        "NO_COLOR": "1",
    }
    theirs = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    words = ["plan", "bert-base-chinese", *argv, "--on", "laptop-16g"]
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "trimtab", *words],
        cwd=folder,
        env=theirs | mine,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done, time.perf_counter() - start


def test_bad_data_are_refused_before_the_hub_is_asked(tmp_path: Path) -> None:
    with silent_hub() as hub:
        refused, seconds = plan(tmp_path, hub, "--data", "missing.csv")
        assert hub.asked == []
    assert refused.returncode == 5 and refused.stderr.startswith("TT-D001")
    assert seconds < 4


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_plan_without_the_hub_says_that_lengths_are_estimated(tmp_path: Path, language: str) -> None:
    write_topics(tmp_path / "topics.csv")
    with silent_hub() as hub:
        planned, seconds = plan(tmp_path, hub, "--data", "topics.csv", "--json", "--lang", language)
        assert len(hub.asked) == 1
    assert (planned.returncode, planned.stderr) == (0, "")
    assert seconds < 5 + 4  # the wait, and a process on a machine that has other things to do
    problems = json.loads(planned.stdout)["data"]["problems"]
    (said,) = (problem["message"] for problem in problems if problem["message"]["code"] == "TT-D078")
    assert hub.endpoint in said["text"] and "HF_ENDPOINT" in said["next"]
    assert ("估算" in said["text"]) == (language == "zh")
