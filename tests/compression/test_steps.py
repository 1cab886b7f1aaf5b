"""The steps that train, whole: a teacher's artifact goes in, a smaller one that stands alone comes out."""

import gc
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tiny_artifacts import TEXTS, moved_artifact, tiny_base
from tiny_training import write_data
from trimtab.compression.wanted import Distil, Floor, Lesson, Prune, Quantize, Shape, parse_shape
from trimtab.data import Example
from trimtab.errors import Message, TrimtabError, UsageError
from trimtab.evaluation import open_artifact
from trimtab.evaluation.timing import time_models
from trimtab.planning import Settings
from trimtab.study import Compressed, CompressRequest, Planned, TrainRequest, compress, ledger, train
from trimtab.training import Finished, Saved, Started

ROWS = [Example((text,), 0) for text in TEXTS]
LESSON = Lesson(settings=Settings(epochs=2, batch=8, learning_rate=5e-3, seed=3))


@pytest.fixture(autouse=True)
def calibrated_home(calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = shutil.copytree(calibration, tmp_path / "home")
    monkeypatch.setenv("TRIMTAB_HOME", str(home))


def asked(folder: Path, out: Path, wanted: Distil | Prune | Quantize, **more: object) -> CompressRequest:
    data = str(write_data(out.parent / "data"))
    return CompressRequest(folder=str(folder), out=str(out), wanted=wanted, data=data, force=True, **more)  # type: ignore[arg-type]


def said(events: list, code: str) -> list[Message]:
    return [one for one in events if isinstance(one, Message) and one.code == code]


def outputs(folder: Path) -> np.ndarray:
    artifact = open_artifact(folder)
    return artifact.logits(artifact.encode(ROWS))


@pytest.mark.parametrize("method", ["full", pytest.param("lora", marks=pytest.mark.soak)])
def test_a_student_of_fewer_layers(method: str, tmp_path: Path) -> None:
    folder = moved_artifact(tmp_path / "a", tiny_base(tmp_path, layers=3), method)
    events = list(compress(asked(folder, tmp_path / "out", Distil(chosen=(0, 2), lesson=LESSON))))
    planned = next(one for one in events if isinstance(one, Planned))
    assert planned.model.layers == 2 and planned.plan.chosen.estimate.time.teacher_seconds is not None
    started = next(one for one in events if isinstance(one, Started))
    made = open_artifact(tmp_path / "out")
    assert started.total_parameters == planned.plan.chosen.estimate.total_parameters
    assert sum(one.numel() for one in made.model.parameters()) == started.total_parameters
    assert (made.spec.layers, made.facts.adapter, made.facts.origin) == (2, False, "compressed")
    (change,) = made.facts.changes
    assert change.step == "distill" and change.settings[:2] == ("--keep-layers", "0,2")
    assert [one.split for one in change.compared] == ["dev", "test"]
    finished = next(one for one in events if isinstance(one, Finished))
    assert change.compared[0].after == pytest.approx(finished.run.dev.main.value)
    store = ledger()
    told = {entry.quantity: (entry.method, entry.predicted, entry.measured) for entry in store.entries}
    estimate = planned.plan.chosen.estimate
    memory = ("distill", estimate.memory.peak_bytes.value, finished.run.peak_memory_bytes)
    assert told["memory"] == memory and told["time"][2] == finished.run.seconds
    assert [(one.folder, one.rows) for one in store.variants] == [
        (str(tmp_path / "out"), change.compared[-1].rows)
    ]
    done = events[-1]
    assert isinstance(done, Compressed) and [row.quantity for row in done.rows] == ["memory", "time", "step"]
    assert not list(tmp_path.glob(".*"))
    assert sorted(file.name for file in (tmp_path / "out").glob("*.safetensors")) == ["model.safetensors"]


def test_a_store_that_cannot_be_written_costs_no_model(tmp_path: Path) -> None:
    (tmp_path / "home" / "ledger.db").write_bytes(b"a diary, and no database\n" * 100)
    folder = moved_artifact(tmp_path / "a", tiny_base(tmp_path, layers=2), "full")
    with pytest.raises(TrimtabError, match="TT-S001"):
        list(compress(asked(folder, tmp_path / "out", Distil(layers=1, lesson=LESSON))))
    assert open_artifact(tmp_path / "out").spec.layers == 1


def test_a_student_of_another_shape(tmp_path: Path) -> None:
    folder = moved_artifact(tmp_path / "a", tiny_base(tmp_path, layers=2), "full")
    shape = parse_shape("layers=1, hidden=16, heads=2, ffn=24")
    assert str(shape) == "layers=1,hidden=16,heads=2,ffn=24"
    *_, done = compress(asked(folder, tmp_path / "out", Distil(shape=shape, lesson=LESSON)))
    spec = open_artifact(tmp_path / "out").spec
    assert (spec.layers, spec.hidden, spec.heads, spec.ffn) == (1, 16, 2, 24)
    assert isinstance(done, Compressed) and "--shape layers=1,hidden=16,heads=2,ffn=24" in done.command
    for typed in ("layers=1", "layers=1,hidden=16,heads=2,ffn=x", "layers=1,hidden=16,heads=2,ffn=1,more=2", ""):
        with pytest.raises(UsageError, match="TT-C044"):
            parse_shape(typed)


def test_an_interrupted_step_goes_on_to_the_same_student(tmp_path: Path) -> None:
    folder = moved_artifact(tmp_path / "a", tiny_base(tmp_path, layers=2), "full")
    wanted = Distil(layers=1, lesson=LESSON)
    *_, whole = compress(asked(folder, tmp_path / "whole", wanted))
    stopped = compress(asked(folder, tmp_path / "out", wanted))
    for event in stopped:
        if isinstance(event, Saved):
            break
    stopped.close()  # type: ignore[attr-defined]
    assert not (tmp_path / "out").exists() and (tmp_path / ".out.work").is_dir()
    with pytest.raises(TrimtabError, match="TT-T022"):
        list(compress(asked(folder, tmp_path / "out", wanted)))
    going_on = Distil(layers=1, lesson=Lesson(settings=LESSON.settings, resume=True))
    events = list(compress(asked(folder, tmp_path / "out", going_on)))
    assert next(one for one in events if isinstance(one, Started)).resumed_step > 0
    assert isinstance(whole, Compressed) and not (tmp_path / ".out.work").exists()
    assert np.array_equal(outputs(tmp_path / "out"), outputs(tmp_path / "whole"))


@pytest.mark.parametrize(
    "wanted",
    [
        Prune(share=0.4, recovers=False),
        Prune(share=0.5, steps=2, dropped_layers=1, lesson=LESSON),
        pytest.param(Prune(share=0.5, even=True, lesson=LESSON), marks=pytest.mark.soak),
    ],
    ids=["at once", "in steps", "even"],
)
def test_a_pruned_model_has_the_size_that_was_said(wanted: Prune, tmp_path: Path) -> None:
    source = tiny_base(tmp_path, layers=3, hidden=64)
    folder = moved_artifact(tmp_path / "a", source, "full")
    events = list(compress(asked(folder, tmp_path / "out", wanted)))
    said = [one for one in events if isinstance(one, Message) and one.code == "TT-C043"]
    assert len(said) == wanted.steps
    made = open_artifact(tmp_path / "out")
    assert sum(one.numel() for one in made.model.parameters()) == said[-1].fact("after")
    assert made.spec.layers == 3 - wanted.dropped_layers
    before = open_artifact(folder).spec.shapes
    kept = (3 - wanted.dropped_layers) / 3
    assert made.spec.shapes.heads <= round((1 - wanted.share) * kept * before.heads) + made.spec.layers
    assert made.spec.shapes.neurons < before.neurons * kept
    done = events[-1]
    assert isinstance(done, Compressed)
    header = 32 * 1024
    assert 0 <= done.change.weight_bytes_after - int(said[-1].fact("size")) < header
    assert (np.abs(outputs(tmp_path / "out") - outputs(folder)) > 0).any()


def test_what_another_order_left_is_not_taken(tmp_path: Path) -> None:
    """An order that was refused leaves what it trained; another one begins with its own pruned model."""
    folder = moved_artifact(tmp_path / "a", tiny_base(tmp_path, layers=2, hidden=64), "full")
    strict = replace(asked(folder, tmp_path / "out", Prune(share=0.6, lesson=LESSON)), force=False)
    with pytest.raises(TrimtabError, match="TT-C045") as caught:
        list(compress(replace(strict, floor=Floor(points=-100.0))))
    assert "--resume --force" in caught.value.message.next_step()
    assert (tmp_path / ".out.work").is_dir() and not (tmp_path / "out").exists()
    *_, done = compress(asked(folder, tmp_path / "out", Prune(share=0.2, lesson=LESSON)))
    assert isinstance(done, Compressed) and done.change.forced
    assert open_artifact(tmp_path / "out").spec.shapes.neurons > 0.6 * open_artifact(folder).spec.shapes.neurons


def test_steps_without_training_go_all_the_way(tmp_path: Path) -> None:
    folder = moved_artifact(tmp_path / "a", tiny_base(tmp_path, layers=2, hidden=64), "full")
    for steps in (1, 2):
        wanted = Prune(share=0.5, steps=steps, recovers=False)
        list(compress(asked(folder, tmp_path / str(steps), wanted)))
    once, twice = (open_artifact(tmp_path / str(steps)).spec.shapes for steps in (1, 2))
    assert once == twice


def test_pruning_to_a_size(tmp_path: Path) -> None:
    source = tiny_base(tmp_path, layers=2, hidden=64)
    folder = moved_artifact(tmp_path / "a", source, "full")
    size = (folder / "model.safetensors").stat().st_size
    wanted = Prune(weight_bytes=round(0.85 * size), recovers=False)
    *_, done = compress(asked(folder, tmp_path / "out", wanted))
    assert isinstance(done, Compressed)
    assert 0.7 * size < done.change.weight_bytes_after < 0.87 * size
    with pytest.raises(UsageError, match="TT-C042"):
        list(compress(asked(folder, tmp_path / "none", Prune(weight_bytes=1000, recovers=False))))
    assert not (tmp_path / "none").exists()


@pytest.fixture
def one_core() -> Iterator[None]:
    """Threads that wait for each other on a busy machine take a hundred times as long: with one, half of the
    passes are not interrupted."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    yield
    os.sched_setaffinity(0, allowed)


@pytest.mark.soak  # it is timed: a busy machine makes it fail
@pytest.mark.usefixtures("one_core")
def test_pruning_to_a_latency(tmp_path: Path) -> None:
    """What a text takes is what it was pruned for, and is remembered."""
    folder = moved_artifact(tmp_path / "a", tiny_base(tmp_path, layers=2, hidden=512), "full")
    before = time_models([open_artifact(folder)], length=13, batch=1, rounds=50)[0].median_seconds
    wanted = Prune(seconds=0.75 * before, recovers=False)
    *events, done = compress(asked(folder, tmp_path / "out", wanted))
    tried = said(events, "TT-C122")
    assert isinstance(done, Compressed) and 1 <= len(tried) <= 5
    assert any(float(one.fact("seconds")) <= float(one.fact("wanted")) for one in tried)  # type: ignore[arg-type]
    timed = open_artifact(tmp_path / "out").facts.changes[-1].one_text
    assert timed is not None and timed == done.change.one_text and timed.seconds_after < timed.seconds_before
    assert f"--latency {750 * before:g}ms" in done.command


ONE_EPOCH = replace(LESSON, settings=replace(LESSON.settings, epochs=1))
UNTIL = Prune(share=0.75, steps=3, until_floor=True, lesson=ONE_EPOCH)


def test_pruning_until_the_floor_keeps_the_last_that_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted after its first part, it goes on to the same."""
    folder = moved_artifact(tmp_path / "a", tiny_base(tmp_path, layers=2, hidden=64), "full")
    all_of_it = replace(asked(folder, tmp_path / "all", UNTIL), floor=Floor(points=100.0))
    events = list(compress(all_of_it))
    assert [one.fact("share") for one in said(events, "TT-C118")] == pytest.approx([0.25, 0.5, 0.75])
    assert open_artifact(tmp_path / "all").spec.shapes.heads == 2

    stopped = compress(replace(all_of_it, out=str(tmp_path / "again")))
    for event in stopped:
        if isinstance(event, Message) and event.code == "TT-C118":
            break
    stopped.close()  # type: ignore[attr-defined]
    assert not (tmp_path / "again").exists()
    going_on = replace(UNTIL, lesson=replace(ONE_EPOCH, resume=True))
    events = list(compress(replace(all_of_it, out=str(tmp_path / "again"), wanted=going_on)))
    assert sum(isinstance(one, Started) for one in events) == 2
    assert np.array_equal(outputs(tmp_path / "again"), outputs(tmp_path / "all"))
    assert not list(tmp_path.glob(".*"))


def test_parts_leave_nothing_in_memory(tmp_path: Path) -> None:
    """In bf16, where the optimiser has numbers of its own."""
    source = tiny_base(tmp_path, layers=2, hidden=64)
    folder = moved_artifact(tmp_path / "a", source, "full", precision="bf16")
    request = replace(asked(folder, tmp_path / "out", UNTIL), floor=Floor(points=100.0))
    living = []
    for event in compress(request):
        if isinstance(event, Message) and event.code == "TT-C118":
            gc.collect()
            living.append(sum(one.numel() for one in gc.get_objects() if isinstance(one, torch.Tensor)))
    assert len(living) == 3 and max(living) - min(living) < 1000


def test_beyond_the_floor_the_part_before_is_kept(tmp_path: Path) -> None:
    """Of a model that knows its task, which hardly learns again."""
    source, data = tiny_base(tmp_path, layers=2, hidden=64), write_data(tmp_path / "data")
    *_, _trained = train(
        TrainRequest(
            model=str(source.folder), data=str(data), out=str(tmp_path / "a"), method="full",
            settings=Settings(epochs=10, batch=8, learning_rate=2e-3, seed=3),
        )
    )  # fmt: skip
    hardly = replace(LESSON, settings=replace(LESSON.settings, epochs=1, learning_rate=1e-7))
    wanted = Prune(share=0.9, steps=3, until_floor=True, lesson=hardly)
    request = replace(asked(tmp_path / "a", tmp_path / "out", wanted), floor=Floor(points=100.0))
    lost = [
        float(one.fact("before")) - float(one.fact("after"))  # type: ignore[arg-type]
        for one in said(list(compress(request)), "TT-C118")
    ]
    assert lost[0] < lost[-1]
    kept = next(number for number, more in enumerate(lost[1:]) if more > lost[0])
    shutil.rmtree(tmp_path / "out")
    tight = replace(request, floor=Floor(points=100 * max(0.0, lost[0])))
    *events, done = compress(tight)
    assert len(said(events, "TT-C118")) == kept + 1 and len(said(events, "TT-C119")) == 1
    assert isinstance(done, Compressed) and done.change.compared[0].lost == pytest.approx(lost[kept])
    assert open_artifact(tmp_path / "out").spec.shapes.heads == round((1 - 0.3 * (kept + 1)) * 8)
    assert not list(tmp_path.glob(".out*"))
    with pytest.raises(TrimtabError, match="TT-C121"):
        list(compress(replace(tight, out=str(tmp_path / "none"), floor=Floor(points=-1000.0))))
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        (Distil(), "TT-C040"),
        (Distil(layers=1, student="demo"), "TT-C040"),
        (Distil(layers=9), "TT-C100"),
        (Distil(layers=1, shape=Shape(layers=1, hidden=8, heads=1, ffn=8)), "TT-C040"),
        (Distil(shape=Shape(layers=1, hidden=8, heads=3, ffn=8)), "TT-C104"),
        (Prune(), "TT-C041"),
        (Prune(share=0.1, weight_bytes=10), "TT-C041"),
        (Prune(share=0.1, steps=0), "TT-C041"),
        (Prune(share=1.5, recovers=False), "TT-C207"),
        (Prune(share=0.1, seconds=0.001), "TT-C041"),
        (Prune(seconds=0.001, steps=2), "TT-C041"),
        (Prune(until_floor=True, recovers=False), "TT-C115"),
        (Prune(until_floor=True, weight_bytes=10), "TT-C115"),
        (Prune(until_floor=True, seconds=0.001), "TT-C115"),
        (Prune(seconds=60.0, recovers=False), "TT-C116"),
        (Prune(seconds=1e-9, recovers=False), "TT-C117"),
    ],
)
def test_what_makes_no_sense_is_refused(wanted: Distil | Prune, code: str, tmp_path: Path) -> None:
    folder = moved_artifact(tmp_path / "a", tiny_base(tmp_path, layers=2), "full")
    with pytest.raises(UsageError, match=code):
        list(compress(asked(folder, tmp_path / "out", wanted)))
    assert not (tmp_path / "out").exists()
