"""Exam of every method, and of all that keeps a state beside the weights: a training that is dropped after a
checkpoint and resumed ends with the same bits."""

from dataclasses import replace
from pathlib import Path

import pytest
from exam_cases import methods_of

from tiny_training import assert_equal, run, run_until, tiny_job, trained
from trimtab.data import Corpus
from trimtab.methods import METHODS, UPDATE_RULES, Precision, UpdateRule
from trimtab.training import Job, Saved, Started

cases = [(family, method.name, "fp32") for family in ("bert", "llama") for method in methods_of(family)]
cases += [("bert", method.name, "bf16") for method in METHODS] + [("bert", "full", "fp16")]


@pytest.mark.parametrize(("family", "method", "precision"), cases)
def test_a_resumed_training_ends_with_the_same_bits(
    family: str, method: str, precision: Precision, tmp_path: Path
) -> None:
    assert_resumes_alike(*tiny_job(tmp_path, family, method, precision=precision, save_steps=5), tmp_path)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_resumed_average_ends_with_the_same_bits(method: str, precision: Precision, tmp_path: Path) -> None:
    job, corpus = tiny_job(tmp_path, "bert", method, precision=precision, save_steps=5, ema_decay=0.9)
    assert_resumes_alike(job, corpus, tmp_path)


@pytest.mark.parametrize(("method", "precision"), [("full", "bf16"), ("lora", "fp32")])
def test_rates_by_layer_resume_with_the_same_bits(method: str, precision: Precision, tmp_path: Path) -> None:
    job, corpus = tiny_job(tmp_path, "bert", method, precision=precision, save_steps=5)
    schedule = replace(job.strategy.schedule, layer_decay=0.5)
    assert_resumes_alike(replace(job, strategy=replace(job.strategy, schedule=schedule)), corpus, tmp_path)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("rule", [rule for rule in UPDATE_RULES if not rule.gpu_only], ids=lambda rule: rule.name)
def test_every_update_rule_resumes_with_the_same_bits(
    rule: type[UpdateRule], precision: Precision, tmp_path: Path
) -> None:
    job, corpus = tiny_job(
        tmp_path, "bert", "full", hidden=64, precision=precision, save_steps=5, optimizer=rule(), ema_decay=0.9
    )
    assert_resumes_alike(job, corpus, tmp_path)


def assert_resumes_alike(job: Job, corpus: Corpus, tmp_path: Path) -> None:
    _, straight = run(replace(job, folder=tmp_path / "straight"), corpus)
    run_until(job, corpus, Saved, count=2)  # after step 10, in the middle of the first epoch
    events, resumed = run(replace(job, resume=True), corpus)
    started = next(event for event in events if isinstance(event, Started))
    assert started.resumed_step == 10
    assert_equal(trained(resumed), trained(straight))
