"""Trainings in stages: each changes what it says and nothing else, ends when it says, and is resumed across its
boundaries with the same bits."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tiny_training import assert_equal, run, run_until, tiny_job, trained
from trimtab.data import Corpus
from trimtab.methods import Precision, Schedule, stages_from
from trimtab.metrics import Metric, Score
from trimtab.training import Evaluated, Finished, Job, Saved, StageStarted, Started, Step, Training, loop
from trimtab.training.optimizer import learning_rate_at
from trimtab.training.timetable import Timetable

STEPS = 13  # an epoch of the tiny job


def staged_job(
    folder: Path, text: str, method: str = "full", *, rate: float = 1e-3, **changed
) -> tuple[Job, Corpus]:
    job, corpus = tiny_job(folder, changed.pop("family", "bert"), method, **changed)
    lowest = job.strategy.lowest_layer(job.spec)
    stages = stages_from(text, lowest, job.spec.layers, 2)
    schedule = Schedule(epochs=2, learning_rate=rate, warmup_share=0.1, stages=stages)
    return replace(job, strategy=replace(job.strategy, schedule=schedule)), corpus


def layer_of(name: str) -> int:
    found = re.search(r"layers?\.(\d)\.", name)
    return int(found[1]) if found else -1 if "embed" in name else 9


def everything(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize(
    ("method", "text", "precision", "layers"),
    [
        ("full", "layers=embeddings-0; layers=1-2", "fp32", ({-1, 0}, {1, 2})),
        ("full", "layers=head; layers=2; layers=1-2", "bf16", (set(), {2}, {1, 2})),
        ("lora", "layers=1; layers=0-1", "fp32", ({1}, {0, 1})),
    ],
)
def test_a_stage_changes_its_layers_and_the_head_and_nothing_else(
    method: str, text: str, precision: Precision, layers: tuple[set[int], ...], tmp_path: Path
) -> None:
    job, corpus = staged_job(tmp_path, text, method, precision=precision)
    training = Training(job, corpus)
    before, changed = {}, []
    for event in training:
        if isinstance(event, StageStarted | Finished) and before:
            now = everything(training.session.model)
            changed.append({name for name in now if not torch.equal(now[name], before[name])})
        if isinstance(event, StageStarted):
            before = everything(training.session.model)
            opened = {name for name, p in training.session.model.named_parameters() if p.requires_grad}
            assert {layer_of(name) for name in opened} - {9} == layers[event.stage - 1]
            assert event.trainable_parameters == sum(before[name].numel() for name in opened)
            assert set(training.session.optimizer.masters) == opened, "others have no master"
        if isinstance(event, Step):
            keys = training.session.optimizer.state()
            assert {key.partition("/")[2] for key in keys if key.startswith("exp_avg/")} == opened, "nor states"
    assert len(changed) == len(layers)
    restored = changed.pop()  # after the last stage the best weights are back, whichever stage they are of
    for number, names in enumerate(changed):
        assert {layer_of(name) for name in names} - {9} == layers[number], f"stage {number}"
        assert any(layer_of(name) == 9 for name in names), "the head is trained in every stage"
    assert {layer_of(name) for name in restored} <= set.union(*layers, {9})
    assert all(trained(training.session)[name] is not None for name in restored), "all of it is saved"


INTERRUPTED = [
    ("full", "bottom-up", "fp32", 3, {}),  # the first stage has ended, the second has not begun
    ("full", "bottom-up", "bf16", 4, {}),  # the second has just begun
    ("full", "top-down", "bf16", 6, {"ema_decay": 0.9}),  # in the middle of it
    ("lora", "layers=0-1; layers=2", "fp32", 5, {}),
]


@pytest.mark.parametrize(("method", "text", "precision", "saved", "changed"), INTERRUPTED)
def test_a_resumed_training_ends_with_the_same_bits(
    method: str, text: str, precision: Precision, saved: int, changed: dict, tmp_path: Path
) -> None:
    job, corpus = staged_job(tmp_path, text, method, precision=precision, save_steps=5, **changed)
    straight_events, straight = run(replace(job, folder=tmp_path / "straight"), corpus)
    run_until(job, corpus, Saved, count=saved)
    events, resumed = run(replace(job, resume=True), corpus)
    (started,) = (event for event in events if isinstance(event, Started))
    steps = [5, 10, 13, 13, 15, 20, 25, 26]
    assert started.resumed_step == steps[saved - 1]
    assert_equal(trained(resumed), trained(straight))
    whole, rest = ([e.loss for e in found if isinstance(e, Step)] for found in (straight_events, events))
    assert whole[started.resumed_step :] == rest
    assert events[-1].run.stages == straight_events[-1].run.stages


def scripted_dev(monkeypatch: pytest.MonkeyPatch, values: list[float]) -> None:
    """Dev evaluations give these values of the main metric, one after the other."""
    left = iter(values)

    def scripted(session, split, name):
        metric = Metric(name="accuracy", value=next(left), low=0.0, high=1.0)
        return Score(split=name, n=len(split), loss=0.5, metrics=(metric,))

    monkeypatch.setattr(loop, "score_split", scripted)


def test_a_stage_ends_when_it_is_no_better_and_the_next_begins_from_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, corpus = staged_job(tmp_path, "layers=2,epochs=9,patience=2; layers=1-2,epochs=2")
    scripted_dev(monkeypatch, [0.5, 0.9, 0.7, 0.8, 0.6, 0.7, 0.9, 0.9])
    training, at_best, begins = Training(job, corpus), {}, []
    for event in training:
        if isinstance(event, Evaluated) and event.best:
            at_best = everything(training.session.model)
        if isinstance(event, StageStarted):
            begins.append((event.step, event.steps, everything(training.session.model)))
    assert [(step, steps) for step, steps, _ in begins] == [(0, 9 * STEPS), (4 * STEPS, 2 * STEPS)]
    assert_equal(begins[1][2], at_best)
    assert isinstance(event, Finished)
    assert (event.run.best_step, event.run.steps, event.run.stopped_early) == (2 * STEPS, 6 * STEPS, True)
    ends = [(stage.first, stage.steps, stage.stopped_early, stage.dev_metric) for stage in event.run.stages]
    assert ends == [(2, 4 * STEPS, True, 0.8), (1, 2 * STEPS, False, 0.7)]
    assert_equal(everything(training.session.model), at_best)  # layer 1 is again what it was at the start


@pytest.mark.parametrize("saved", [2, 4])
def test_the_best_weights_of_an_earlier_stage_survive_a_resume(
    saved: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept in the first stage, which knew nothing of layer 0: that one has to be what it was, too."""
    job, corpus = staged_job(tmp_path, "layers=1-2; layers=0,epochs=2", precision="bf16")
    scripted_dev(monkeypatch, [0.9, 0.5, 0.6, 0.9, 0.9])
    _, straight = run(replace(job, folder=tmp_path / "straight"), corpus)
    scripted_dev(monkeypatch, [0.9, 0.5, 0.6, 0.9, 0.9])
    run_until(job, corpus, Saved, count=saved)
    scripted_dev(monkeypatch, ([0.5, 0.6] if saved == 2 else []) + [0.9, 0.9])
    events, resumed = run(replace(job, resume=True), corpus)
    assert events[-1].run.best_step == STEPS
    assert_equal(everything(resumed.model), everything(straight.model))


def test_every_stage_warms_up_and_falls_by_itself(tmp_path: Path) -> None:
    job, corpus = staged_job(tmp_path, "layers=2,lr=0.5x; layers=0-2,lr=3e-4,epochs=2")
    events, _ = run(job, corpus)
    rates = [event.learning_rate for event in events if isinstance(event, Step)]
    first, second = job.strategy.stages
    expected = [learning_rate_at(first, step, STEPS) for step in range(1, STEPS + 1)]
    expected += [learning_rate_at(second, step, 2 * STEPS) for step in range(1, 2 * STEPS + 1)]
    assert rates == expected
    assert max(rates[:STEPS]) == pytest.approx(5e-4) and max(rates[STEPS:]) == pytest.approx(3e-4)
    assert [event.steps for event in events if isinstance(event, Step)] == [3 * STEPS] * (3 * STEPS)


def test_every_epoch_of_every_stage_has_its_own_order(tmp_path: Path) -> None:
    job, _ = staged_job(tmp_path, "layers=2,epochs=2; layers=0-2")
    progress = loop.Progress(micro_batch=4)
    epochs = []
    for step, ends in ((0, []), (STEPS, []), (2 * STEPS, [2 * STEPS]), (2 * STEPS + 1, [2 * STEPS])):
        progress.step, progress.stage_ends = step, ends
        epochs.append(Timetable(job.strategy, 52, progress).epoch)
    assert epochs == [0, 1, 2, 2]
