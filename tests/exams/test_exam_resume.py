"""Exam of every method: a training that is dropped after a checkpoint and resumed ends with the same bits."""

from dataclasses import replace
from pathlib import Path

import pytest
from exam_cases import methods_of

from tiny_training import assert_equal, run, run_until, tiny_job, trained
from trimtab.methods import METHODS, Precision
from trimtab.training import Saved, Started

cases = [(family, method.name, "fp32") for family in ("bert", "llama") for method in methods_of(family)]
cases += [("bert", method.name, "bf16") for method in METHODS] + [("bert", "full", "fp16")]


@pytest.mark.parametrize(("family", "method", "precision"), cases)
def test_a_resumed_training_ends_with_the_same_bits(
    family: str, method: str, precision: Precision, tmp_path: Path
) -> None:
    job, corpus = tiny_job(tmp_path, family, method, precision=precision, save_steps=5)
    _, straight = run(replace(job, folder=tmp_path / "straight"), corpus)
    run_until(job, corpus, Saved, count=2)  # after step 10, in the middle of the first epoch
    events, resumed = run(replace(job, resume=True), corpus)
    started = next(event for event in events if isinstance(event, Started))
    assert started.resumed_step == 10
    assert_equal(trained(resumed), trained(straight))
