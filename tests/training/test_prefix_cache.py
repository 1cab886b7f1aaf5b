"""The frozen part run once: the same losses as when it is run in every step, the memory of it really given back."""

import gc
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tiny_training import assert_equal, run, run_until, tiny_job, trained
from trimtab.methods import Choices, method_named, parts_for
from trimtab.training import Evaluated, Finished, Notice, PrefixReady, Preflight, Step, Training


def cached(job):
    return replace(job, strategy=replace(job.strategy, prefix_cache=True))


def losses(events) -> list[float]:
    return [event.loss for event in events if isinstance(event, Step)]


def top_job(folder: Path, family: str, method: str, top: int | None, **changed):
    job, corpus = tiny_job(folder, family, method, **changed)
    if top is not None:
        preset = method_named(method)
        choices = Choices(top_layers=top, **({"rank": 4} if "rank" in preset.takes else {}))
        parts = parts_for(preset, job.data.task, job.spec, choices)
        job = replace(job, strategy=replace(job.strategy, parts=parts))
    return job, corpus


CASES = [("head", None), ("freeze", 1), ("freeze", 2), ("lora", 1), ("bitfit", 1), ("staged", 2)]


@pytest.mark.parametrize(("method", "top"), CASES)
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_the_loss_curve_is_that_of_the_whole_model(family: str, method: str, top: int | None, tmp_path: Path) -> None:
    job, corpus = top_job(tmp_path, family, method, top)
    whole, session = run(replace(job, folder=tmp_path / "whole"), corpus)
    events, other = run(cached(job), corpus)
    assert any(isinstance(event, PrefixReady) for event in events), [e for e in events if isinstance(e, Notice)]
    assert len(losses(whole)) >= 20
    assert losses(events) == pytest.approx(losses(whole), rel=1e-6)
    assert events[-1].run.dev.loss == pytest.approx(whole[-1].run.dev.loss, rel=1e-5)
    assert [e.score.loss for e in events if isinstance(e, Evaluated)] == pytest.approx(
        [e.score.loss for e in whole if isinstance(e, Evaluated)], rel=1e-5
    )
    for name, weight in trained(session).items():
        torch.testing.assert_close(other.model.get_parameter(name), weight, rtol=1e-4, atol=1e-6)
    everything = dict(session.model.named_parameters())
    assert everything.keys() == dict(other.model.named_parameters()).keys(), "the model is whole again"
