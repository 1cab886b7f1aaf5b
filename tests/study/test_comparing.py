"""The verb `compare` on tiny models and data, with real processes: what it finds, writes, and goes on from."""

import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tiny_models import tiny_model
from tiny_training import write_data
from trimtab import study
from trimtab.app.cli import run
from trimtab.errors import BadInput, UsageError
from trimtab.planning import Limits, Settings
from trimtab.study.bakeoff import Bakeoff, BakeoffDone, BakeoffStarted, TrialDone, TrialStarted
from trimtab.study.comparing import open_bakeoff
from trimtab.study.workshop import Answered, Crashed, run_apart

METHODS = ("full", "head")


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, calibration: Path) -> Iterator[Path]:
    """A home of this file's own, on a machine that is measured."""
    folder = shutil.copytree(calibration, tmp_path_factory.mktemp("home") / "home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIMTAB_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bakeoff")
    write_data(folder / "data")
    tiny_model(folder / "model", "bert", layers=2, hidden=32)
    return folder


def request(place: Path, out: Path, **changed: object) -> study.CompareRequest:
    asked: dict[str, object] = {
        "models": (str(place / "model"),), "data": str(place / "data"), "out": str(out), "methods": METHODS,
        "limits": Limits(seconds=60.0), "seeds": 1, "settings": Settings(epochs=2, batch=4),
    }  # fmt: skip
    return study.CompareRequest(**(asked | changed))


def finished(events: list[object]) -> Bakeoff:
    assert isinstance(events[-1], BakeoffDone)
    return events[-1].bakeoff


@pytest.fixture(scope="module")
def baked(place: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[object]]:
    out = tmp_path_factory.mktemp("out") / "bake"
    return out, list(study.compare(request(place, out)))


def test_the_chosen_one_is_the_best_on_dev_and_an_artifact(baked: tuple[Path, list[object]], place: Path):
    out, events = baked
    bakeoff = finished(events)
    measured = bakeoff.measured
    assert measured[0] is bakeoff.chosen and bakeoff.chosen.status == "chosen"
    assert bakeoff.chosen.best.dev.merit == max(one.best.dev.merit for one in measured)
    score = study.evaluate(bakeoff.chosen.best.folder, str(place / "data"))
    assert score.main.value == pytest.approx(bakeoff.chosen.best.test.value)
    assert Path(bakeoff.chosen.best.folder).is_relative_to(out)


def test_every_strategy_has_its_standing_and_its_reason(baked: tuple[Path, list[object]]):
    bakeoff = finished(baked[1])
    assert {one.entrant.method for one in bakeoff.standings} == set(METHODS)
    assert all(one.reason.text("en") and one.reason.text("zh") for one in bakeoff.standings)
    tried = [one.result for one in baked[1] if isinstance(one, TrialDone)]
    assert sum(len(one.trials) for one in bakeoff.standings) == len(tried)
    assert all(result.failure is None and result.dev is not None for result in tried)


def test_predicted_stands_beside_measured(baked: tuple[Path, list[object]]):
    best = finished(baked[1]).chosen.best
    assert best.peak_memory_bytes > 0 and best.predicted_memory_bytes > 0
    assert best.train_seconds > 0 and best.predicted_seconds > 0
    assert len(study.ledger().entries) >= 2


def test_the_files_say_the_same(baked: tuple[Path, list[object]]):
    out, events = baked
    bakeoff = finished(events)
    told = json.loads((out / "comparison.json").read_text(encoding="utf-8"))
    assert bakeoff.chosen.entrant.name in json.dumps(told)
    assert bakeoff.chosen.entrant.name in (out / "comparison.html").read_text(encoding="utf-8")
    assert (out / "comparison.csv").read_text(encoding="utf-8").count("\n") >= len(bakeoff.standings)


def test_asked_again_it_runs_nothing_and_answers_the_same(baked: tuple[Path, list[object]], place: Path):
    out, events = baked
    again = list(study.compare(request(place, out)))
    assert not [one for one in again if isinstance(one, TrialStarted)]
    assert next(one for one in again if isinstance(one, BakeoffStarted)).resumed > 0
    before, after = finished(events), finished(again)
    assert [one.entrant.name for one in after.standings] == [one.entrant.name for one in before.standings]
    assert after.chosen.best == before.chosen.best


def test_the_command_line_asks_the_same(
    baked: tuple[Path, list[object]], place: Path, capsys: pytest.CaptureFixture[str]
):
    out, events = baked
    words = ["compare", str(place / "model"), "--data", str(place / "data"), "--out", str(out), "--time", "60s"]
    words += ["--methods", "full,head", "--seeds", "1", "--epochs", "2", "--batch", "4"]
    assert run([*words, "--json"], os.environ) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["chosen"] == finished(events).chosen.entrant.name
    assert run([*words, "--lang", "zh"], os.environ | {"COLUMNS": "80"}) == 0
    assert finished(events).chosen.entrant.name in capsys.readouterr().out


def test_a_folder_that_was_deleted_begins_another(baked: tuple[Path, list[object]], place: Path, tmp_path: Path):
    identities = []
    for _ in range(2):
        shutil.rmtree(tmp_path / "bake", ignore_errors=True)
        identities.append(open_bakeoff(request(place, tmp_path / "bake")).identity)
    assert identities[0] != identities[1]
    assert open_bakeoff(request(place, tmp_path / "bake")).identity == identities[1]


def test_another_question_in_the_same_folder_is_refused(baked: tuple[Path, list[object]], place: Path):
    with pytest.raises(BadInput, match="TT-B002"):
        study.compare(request(place, baked[0], limits=Limits(seconds=61.0)))


def test_what_cannot_be_is_refused_before_anything_is_written(place: Path, tmp_path: Path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    with pytest.raises(BadInput, match="TT-B001"):
        study.compare(request(place, tmp_path / "full"))
    for changed, code in (
        ({"methods": ("nonsense",)}, "TT-"),
        ({"seeds": 0}, "TT-B005"),
        ({"limits": Limits(seconds=0.0)}, "TT-B006"),
        ({"models": ()}, "TT-U015"),
    ):
        with pytest.raises(UsageError, match=code):
            study.compare(request(place, tmp_path / "new", **changed))
    assert not (tmp_path / "new").exists()


def _bake(asked: study.CompareRequest, told) -> None:
    for event in study.compare(asked):
        if isinstance(event, TrialStarted | TrialDone):
            trial = event.trial if isinstance(event, TrialStarted) else event.result.trial
            told.put((os.getpid(), type(event).__name__, trial.key))


def _started(asked: study.CompareRequest, told) -> multiprocessing.Process:
    process = multiprocessing.get_context("spawn").Process(target=_bake, args=(asked, told))
    process.start()
    return process


@pytest.mark.soak
def test_killed_in_the_middle_it_goes_on_and_loses_the_trial_in_flight_alone(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("trimtab.store.trials.LEASE_SECONDS", 0.5)
    asked = request(place, tmp_path / "bake")
    told = multiprocessing.get_context("spawn").Queue()
    process = _started(asked, told)
    finished_before = set()
    while len(finished_before) < 3:
        _, kind, key = told.get(timeout=60)
        if kind == "TrialDone":
            finished_before.add(key)
    told.get(timeout=60)  # the next one has begun
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    time.sleep(1.0)
    events = list(study.compare(asked))
    again = {one.trial.key for one in events if isinstance(one, TrialStarted)}
    assert not again & finished_before
    assert finished(events).chosen.best.dev is not None


@pytest.mark.soak
def test_two_processes_share_the_trials(place: Path, tmp_path: Path):
    asked = request(place, tmp_path / "bake")
    told = multiprocessing.get_context("spawn").Queue()
    workers = [_started(asked, told) for _ in range(2)]
    for worker in workers:
        worker.join(timeout=180)
        assert worker.exitcode == 0
    heard = []
    while not told.empty():
        heard.append(told.get())
    begun = [(pid, key) for pid, kind, key in heard if kind == "TrialStarted"]
    assert len({key for _, key in begun}) == len(begun), "no trial ran twice"
    assert len({pid for pid, _ in begun}) == 2, "both worked"


def test_a_process_that_dies_is_an_answer():
    events = list(run_apart("os:_exit", 7))  # takes an order and a `tell` it has no place for
    assert isinstance(events[-1], Crashed) and "exit" in events[-1].why


def test_what_a_process_answers_comes_back():
    events = list(run_apart("operator:contains", (), fresh=True))
    assert isinstance(events[-1], Answered) and events[-1].answer is False
