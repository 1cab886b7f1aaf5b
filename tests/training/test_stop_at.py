"""A time after which no step begins, and the best evaluation, which is not run again at the end."""

import time
from pathlib import Path

import pytest

from tiny_training import tiny_job
from trimtab.evaluation.objective import ScoredRows
from trimtab.training import Evaluated, Finished, Step, Training, score_split


def events_of(folder: Path, **changed: object) -> tuple[Training, list[object]]:
    job, corpus = tiny_job(folder, **changed)
    training = Training(job, corpus)
    return training, list(training)


def run_of(events: list[object]):
    (finished,) = (event for event in events if isinstance(event, Finished))
    return finished.run


@pytest.mark.parametrize("method", ["full", "staged"])
def test_after_the_time_a_step_is_ended_scored_and_kept(tmp_path: Path, method: str):
    _, events = events_of(tmp_path, method=method, stop_at=time.time())
    assert len([event for event in events if isinstance(event, Step)]) == 1
    assert len([event for event in events if isinstance(event, Evaluated)]) == 1
    run = run_of(events)
    assert run.steps == 1 and run.stopped_early and run.dev.n == 16


def test_a_time_that_is_far_changes_nothing(tmp_path: Path):
    _, with_time = events_of(tmp_path / "a", stop_at=time.time() + 3600)
    _, without = events_of(tmp_path / "b")
    one, other = run_of(with_time), run_of(without)
    assert [point.loss for point in one.history] == [point.loss for point in other.history]
    assert one.dev == other.dev and not one.stopped_early


def test_the_score_of_the_best_weights_is_that_of_their_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Scored again, by the model as it is left, they have the same."""
    training, events = events_of(tmp_path)
    run, session = run_of(events), training.session
    assert session is not None
    again = score_split(session, session.dev, "dev")
    assert again == run.dev
    evaluations = [event for event in events if isinstance(event, Evaluated)]
    assert run.dev == next(event.score for event in evaluations if event.step == run.best_step)


def test_dev_is_scored_once_an_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    scored: list[str] = []
    job, corpus = tiny_job(tmp_path)
    score = type(job.learned).score

    def counted(self: object, model: object, rows: ScoredRows):
        scored.append(rows.split)
        return score(self, model, rows)

    monkeypatch.setattr(type(job.learned), "score", counted)
    events = list(Training(job, corpus))
    evaluations = [event for event in events if isinstance(event, Evaluated)]
    assert scored.count("dev") == len(evaluations) and scored.count("test") == 1
