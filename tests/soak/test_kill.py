"""Twenty kills in one training; the weights at the end are those of a run that nobody touched."""

from dataclasses import replace
from pathlib import Path

import pytest

from tiny_training import assert_equal, run, tiny_job, trained
from training_child import kill_again_and_again
from trimtab.methods import Precision, Schedule


@pytest.mark.soak
@pytest.mark.parametrize(("precision", "seed"), [("fp32", 1), ("bf16", 2)])
def test_a_training_killed_twenty_times_ends_with_the_same_bits(
    precision: Precision, seed: int, tmp_path: Path
) -> None:
    schedule = Schedule(epochs=25, learning_rate=1e-3)
    job, corpus = tiny_job(tmp_path, schedule=schedule, precision=precision, save_steps=1)
    kill_again_and_again(job, tmp_path / "data", kills=20, seed=seed)
    _, resumed = run(replace(job, resume=True), corpus)
    _, straight = run(replace(job, folder=tmp_path / "straight"), corpus)
    assert_equal(trained(resumed), trained(straight))
