"""The runs: started as a process of their own, followed line by line, found again, stopped, and shown escaped."""

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from page_asked import Asked, write_events
from trimtab.app.web.children import Children
from trimtab.app.web.following import Follower, Followers, State
from trimtab.app.web.lines import Lines
from trimtab.app.web.site import Site

FIGURE = {"value": 100.0, "low": 80.0, "high": 130.0, "evidence": "formula"}
PLANNED = {
    "event": "planned",
    "model": {"name": "m"},
    "data": {"name": "d"},
    "machine": {"name": "here"},
    "notices": [{"text": "a notice"}],
    "plan": {
        "chosen": {
            "method": "lora",
            "estimate": {"memory": {"peak_bytes": FIGURE}, "time": {"total_seconds": FIGURE}},
        }
    },
}
STARTED = {"event": "started", "steps": 4, "resumed_step": 0, "trainable_parameters": 1000}
SCORE = {"split": "dev", "n": 50, "metrics": [{"name": "accuracy", "value": 0.9, "low": 0.8, "high": 0.95}]}
ROW = {"quantity": "memory", "predicted": FIGURE, "measured": 120.0}


def step(number: int, loss: float | None) -> dict[str, object]:
    facts = {"epoch": number / 4, "learning_rate": 1e-3, "eta_seconds": 4.0 - number, "memory_bytes": 90 + number}
    return {"event": "step", "step": number, "steps": 4, "loss": loss} | facts


WHOLE = (
    PLANNED, STARTED, *(step(number, 1.0 / number) for number in (1, 2, 3, 4)),
    {"event": "evaluated", "step": 4, "score": SCORE}, {"event": "saved", "step": 4},
    {"event": "finished", "run": {"dev": SCORE, "test": None, "peak_memory_bytes": 120}},
    {"event": "trained", "artifact_path": "runs/one", "report_path": "runs/one/report.html", "rows": [ROW]},
)  # fmt: skip


def test_lines_become_a_state(page: Asked) -> None:
    state = Follower(page.child(*WHOLE)).state()
    assert (state.phase, state.method, state.step, state.steps) == ("done", "lora", 4, 4)
    assert state.loss == ((1, 1.0), (2, 0.5), (3, 1 / 3), (4, 0.25)) and state.dev == ((4, 0.9),)
    assert state.peak is not None and state.peak.high == 130.0 and state.memory_bytes == 120
    assert state.rows[0].inside and state.rows[0].error_share == pytest.approx(100 / 120 - 1)
    assert state.scores == (("dev", "accuracy", 0.9, 0.8, 0.95, 50),) and state.notes == ("a notice",)
    assert state.elapsed_seconds == 8.0, "from the line that says it started to the last"


def test_each_line_is_read_once_and_only_when_it_is_whole(tmp_path: Path) -> None:
    file, lines = tmp_path / "x", Lines(tmp_path / "x")
    assert list(lines.fresh()) == []
    file.write_bytes(b"one\ntw")
    assert list(lines.fresh()) == [b"one"] and list(lines.fresh()) == []
    with file.open("ab") as more:
        more.write(b"o\n\xff\xfe\n")
    assert list(lines.fresh()) == [b"two", b"\xff\xfe"]


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[1]", b'"x"', b'{"event": "step"}', b'{"event": "unknown", "at": 1}', b"\xff", b"null",
             b'{"event": "step", "at": 1, "step": "x", "steps": null}']
)  # fmt: skip
def test_lines_of_others_are_passed_over(page: Asked, line: bytes) -> None:
    child = page.child(*WHOLE[:4])
    with child.events.open("ab") as file:
        file.write(line + b"\n")
    write_events(child.folder, [step(3, 0.1)])
    assert Follower(child).state().step == 3


@pytest.mark.parametrize(
    ("said", "phase"),
    [
        ('{"error": {"code": "TT-T041", "text": "stopped at step 3", "next": "go on"}}', "stopped"),
        ('{"error": {"code": "TT-D042", "text": "too few rows", "next": "add rows"}}', "failed"),
        ("Traceback\nMemoryError", "failed"),
        ("", "gone"),
    ],
)
def test_how_it_ended_without_a_result(page: Asked, said: str, phase: str) -> None:
    child = page.child(*WHOLE[:5], {"event": "saved", "step": 3})
    child.errors.write_text(said)
    state = Follower(child).state()
    assert state.phase == phase and not state.running
    shown = page.get(f"/runs/{child.id}").text
    assert f"phase-{phase}" in shown and 'id="resume"' in shown and 'id="stop"' not in shown
    if "error" in said:
        told = json.loads(said)["error"]
        assert told["text"] in shown and told["next"] in shown


def test_a_long_training_is_drawn_with_few_points(page: Asked) -> None:
    steps = [step(number, 1.0 / number) | {"steps": 20_000} for number in range(1, 20_001)]
    child = page.child(PLANNED, STARTED, *steps)
    state = Follower(child).state()
    assert state.step == 20_000 and len(state.loss) <= 4_000 and state.loss[-1] == (20_000, 1 / 20_000)
    shown = page.get(f"/runs/{child.id}").text
    assert len(shown) < 60_000


def test_names_in_a_run_are_text(page: Asked) -> None:
    evil = "<script>alert(1)</script>"
    planned = PLANNED | {"model": {"name": evil}, "data": {"name": evil}, "notices": [{"text": evil}]}
    child = page.child(planned, STARTED, step(1, 0.5))
    child.errors.write_text(f"{evil}\n")
    record = child.folder / "child.json"
    record.write_text(record.read_text().replace("m × d", evil).replace("runs/one", f"runs/{evil}"))
    for path in (f"/runs/{child.id}", "/runs", "/runs/lists"):
        shown = page.get(path).text
        assert "<script>alert" not in shown and "&lt;script&gt;alert" in shown, path


def test_a_report_is_shown_but_can_do_nothing(page: Asked, tmp_path: Path) -> None:
    child = page.child(*WHOLE)
    place = page.folder / "runs/one"
    place.mkdir(parents=True)
    (place / "report.html").write_text("<h1>done</h1><script>alert(1)</script>")
    answer = page.get(f"/runs/{child.id}/report")
    policy = answer.headers["content-security-policy"]
    assert answer.status_code == 200 and "sandbox" in policy and "script-src" not in policy
    assert "default-src 'none'" in policy
    (place / "report.html").unlink()
    (tmp_path / "secret.html").write_text("secret")
    (place / "report.html").symlink_to(tmp_path / "secret.html")
    assert "secret" not in page.get(f"/runs/{child.id}/report").text
    assert 'id="report"' not in page.get(f"/runs/{child.id}").text, "what cannot be opened is not offered"


@pytest.mark.parametrize("id", ["x", "%2e%2e", "20260101-000000-abcdef", "20260101-000000-abcdef%2f.."])
def test_other_names_are_no_runs(page: Asked, id: str) -> None:
    for path in (f"/runs/{id}", f"/runs/{id}/report", f"/runs/{id}/live", f"/compare/{id}"):
        assert page.get(path).status_code == 404, path
    assert page.post(f"/runs/{id}/stop").status_code == 404


def test_a_process_is_started_with_the_words_of_the_command_line(page: Asked, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    child = page.site.children.start("train", "t", ["--version"], "runs/x", page.folder)
    end = time.monotonic() + 60
    while child.running and time.monotonic() < end:
        time.sleep(0.05)
    assert child.events.read_text().startswith("trimtab ") and not child.running
    again = Children(page.site.children._folder)
    assert [found.id for found in again.all("train")] == [child.id] and again.all("compare") == ()


def test_what_a_plan_starts_is_the_plan(page: Asked, reviews: str, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def start(self: Children, *told: object):
        started.append(told)
        return page.child()

    monkeypatch.setattr(Children, "start", start)
    answer = page.post("/runs", data=reviews, goal="time", epochs="2", pick="lora:3", out="results/x")
    assert answer.status_code == 303 and answer.headers["location"].startswith("/runs/")
    ((kind, title, words, out, here),) = started
    assert (kind, title, out, here) == ("train", "demo × reviews.csv", "results/x", page.site.folders.chosen[0])
    line = shlex.join(["trimtab", *words])
    for expected in (
        f"train demo --data {reviews} --out results/x",
        "--method lora",
        "--top-layers 3",
        "--goal time",
    ):
        assert expected in line
    assert line.endswith("--lang en --json --events jsonl")


@pytest.mark.parametrize(
    ("fields", "code"),
    [({"out": "../elsewhere"}, "TT-W120"), ({"out": "full"}, "TT-W134"), ({"data": "/etc/passwd"}, "TT-W120"),
     ({"on": "laptop-16g"}, "TT-W132"), ({"epochs": "x"}, "TT-W123")],
)  # fmt: skip
def test_what_may_not_be_started(page: Asked, fields: dict[str, str], code: str) -> None:
    (page.folder / "full").mkdir()
    (page.folder / "full/file").write_text("x")
    answer = page.post("/runs", **({"pick": "head:"} | fields))
    assert answer.status_code == 400 and code in answer.text
    assert not page.site.children.all("train")


@pytest.fixture
def sleeper():
    """A process that says which signals it gets."""
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, lambda *_: print('asked', flush=True))\n"
        "print('ready', flush=True)\nwhile True: time.sleep(0.1)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def test_stop_is_a_signal_to_that_process_alone(page: Asked, sleeper: "subprocess.Popen[str]") -> None:
    child = page.child(*WHOLE[:4], pid=sleeper.pid)
    record = child.folder / "child.json"
    started = psutil.Process(sleeper.pid).create_time()
    record.write_text(json.dumps(json.loads(record.read_text()) | {"pid_started": started - 1000}))
    assert page.post(f"/runs/{child.id}/stop").status_code == 303
    assert not page.site.children.named(child.id).running, "an older process of that number"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"pid_started": started}))
    shown = page.get(f"/runs/{child.id}").text
    assert 'id="stop"' in shown and "sse-connect" in shown and 'id="resume"' not in shown
    assert page.post(f"/runs/{child.id}/resume").status_code == 400, "it runs"
    page.post(f"/runs/{child.id}/stop")
    assert sleeper.stdout is not None and sleeper.stdout.readline() == "asked\n"
    assert "Stopping and saving" in page.get(f"/runs/{child.id}").text
    sleeper.send_signal(signal.SIGKILL)
    sleeper.wait()
    assert "phase-gone" in page.get(f"/runs/{child.id}").text


def test_a_page_that_starts_anew_finds_what_runs(page: Asked, sleeper: "subprocess.Popen[str]") -> None:
    child = page.child(*WHOLE[:4], pid=sleeper.pid)
    record = child.folder / "child.json"
    started = psutil.Process(sleeper.pid).create_time()
    record.write_text(json.dumps(json.loads(record.read_text()) | {"pid_started": started}))
    other = Site(page.site.settings, children=Children(page.site.children._folder))
    (found,) = other.children.all("train")
    assert found.running and Followers().of(found).state().step == 2


def test_only_the_latest_goes_on(page: Asked) -> None:
    first = page.child(*WHOLE[:5], {"event": "saved", "step": 3})
    second = page.child(*WHOLE[:6], {"event": "saved", "step": 4}, {"event": "saved", "step": 4})
    assert first.id < second.id
    assert 'id="resume"' not in page.get(f"/runs/{first.id}").text
    assert 'id="resume"' in page.get(f"/runs/{second.id}").text
    assert page.post(f"/runs/{first.id}/resume").status_code == 400


def test_the_stream_tells_a_state_its_status_and_the_end(page: Asked) -> None:
    child = page.child(*WHOLE)
    answer = page.get(f"/runs/{child.id}/live")
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [block.split("\n", 1)[0] for block in answer.text.strip().split("\n\n")]
    assert events == ["event: state", "event: status", "event: over"]
    assert "data: Done" in answer.text and all(
        line.startswith(("event: ", "data: ")) for line in answer.text.splitlines() if line
    )


def test_an_empty_state_is_shown(page: Asked) -> None:
    child = page.child()
    assert Follower(child).state() == State(phase="gone", running=False)
    assert page.get(f"/runs/{child.id}").status_code == 200
