"""The frozen part run once: the same losses as when it is run in every step, the memory of it really given back."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tiny_training import run, tiny_job
from trimtab.methods import Choices, method_named, parts_for
from trimtab.training import Evaluated, Notice, PrefixReady, Step


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


CASES = [("head", None), ("freeze", 1), ("freeze", 2), ("lora", 1), ("adapter", 2), ("staged", 2)]


@pytest.mark.parametrize(
    ("family", "method", "top"),
    [*((family, *case) for family in ("bert", "llama") for case in CASES), ("bert", "bitfit", 1)],
)
def test_the_loss_curve_is_that_of_the_whole_model(
    family: str, method: str, top: int | None, tmp_path: Path
) -> None:
    job, corpus = top_job(tmp_path, family, method, top)
    gentle = replace(job.strategy.schedule, learning_rate=job.strategy.schedule.learning_rate / 10)
    job = replace(job, strategy=replace(job.strategy, schedule=gentle))
    whole, session = run(replace(job, folder=tmp_path / "whole"), corpus)
    events, other = run(cached(job), corpus)
    assert any(isinstance(event, PrefixReady) for event in events), [e for e in events if isinstance(e, Notice)]
    assert len(losses(whole)) >= 20
    assert losses(events) == pytest.approx(losses(whole), rel=1e-6, abs=1e-6)
    found, wanted = ([e.score.loss for e in all_of if isinstance(e, Evaluated)] for all_of in (events, whole))
    assert found == pytest.approx(wanted, rel=1e-5)
    assert events[-1].run.dev.loss == pytest.approx(whole[-1].run.dev.loss, rel=1e-5)
    left_alone = {name: p for name, p in session.model.named_parameters() if name not in session.opened}
    for name, weight in left_alone.items():
        assert torch.equal(other.model.get_parameter(name), weight), f"{name} is what it was"
    assert dict(session.model.named_parameters()).keys() == dict(other.model.named_parameters()).keys()
    assert not (job.folder / "prefix").exists()


FAMILIES = ("roberta", "distilbert", "electra", "qwen2", "qwen3", "mistral", "gemma", "gpt_neox", "phi")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_runs_in_two_parts(family: str, precision: str, tmp_path: Path) -> None:
    job, corpus = top_job(tmp_path, family, "lora", 1, precision=precision)
    whole, _ = run(replace(job, folder=tmp_path / "whole"), corpus)
    events, session = run(cached(job), corpus)
    (ready,) = (event for event in events if isinstance(event, PrefixReady))
    number = {"fp32": 4, "bf16": 2}[precision]
    assert ready.bytes == number * job.spec.hidden * (len(session.train.ids) + len(session.dev.ids))
    assert losses(events)[0] == pytest.approx(losses(whole)[0], rel={"fp32": 1e-6, "bf16": 5e-2}[precision])
