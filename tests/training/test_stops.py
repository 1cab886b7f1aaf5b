"""Real processes: stopped politely they leave a checkpoint and the right exit status, killed they lose nothing
but the step in hand."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from tiny_training import assert_equal, run, tiny_job, trained
from training_child import kill_again_and_again, start, steps_done
from trimtab.methods import Schedule
from trimtab.training import Started, Step
from trimtab.training.checkpoint import Checkpoints


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_training_leaves_a_checkpoint_and_can_go_on(
    number: signal.Signals, status: int, tmp_path: Path
) -> None:
    job, corpus = tiny_job(tmp_path)  # no checkpoint is due before step 13
    child = start(job, tmp_path / "data", tmp_path / "steps")
    told = steps_done(child, tmp_path / "steps", 3)
    os.kill(child.pid or 0, number)
    child.join()
    assert child.exitcode == status
    found, damaged = Checkpoints(job.checkpoints).newest()
    assert found is not None and damaged == ()
    assert told <= found.progress.step < 26
    events, resumed = run(replace(job, resume=True), corpus)
    started = next(event for event in events if isinstance(event, Started))
    assert started.resumed_step == found.progress.step
    assert sum(isinstance(event, Step) for event in events) == 26 - found.progress.step
    _, straight = run(replace(job, folder=tmp_path / "straight"), corpus)
    assert_equal(trained(resumed), trained(straight))


def test_a_training_killed_three_times_ends_with_the_same_bits(tmp_path: Path) -> None:
    schedule = Schedule(epochs=5, learning_rate=1e-3)
    job, corpus = tiny_job(tmp_path, schedule=schedule, save_steps=1)
    kill_again_and_again(job, tmp_path / "data", kills=3, seed=0)
    _, resumed = run(replace(job, resume=True), corpus)
    assert not list(job.checkpoints.glob(".step-*"))
    _, straight = run(replace(job, folder=tmp_path / "straight"), corpus)
    assert_equal(trained(resumed), trained(straight))
