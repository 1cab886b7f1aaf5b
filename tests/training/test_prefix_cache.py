"""The frozen part, run once: the same losses as in every step, and its memory given back."""

import gc
import os
import signal
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tiny_chat import chat_job
from tiny_embed import embed_job
from tiny_models import tiny_model
from tiny_tagging import tag_job
from tiny_training import (
    assert_equal,
    facts,
    run,
    run_until,
    tiny_job,
    tiny_strategy,
    trained,
    write_data,
)
from trimtab.data import count_tokens, describe, open_corpus
from trimtab.errors import Interrupted, UsageError
from trimtab.estimation.memory import live_phases
from trimtab.estimation.prefix import KEPT_BYTES, prefix_bytes, released_bytes
from trimtab.estimation.question import questions_of
from trimtab.hardware import this_machine
from trimtab.methods import Choices, method_named, parts_for, stages_from
from trimtab.models import ModelSource, read_spec
from trimtab.planning import Settings, plan
from trimtab.training import (
    Evaluated,
    Job,
    Notice,
    PrefixProgress,
    PrefixReady,
    Saved,
    Started,
    Step,
    Training,
    prefix_cache,
)
from trimtab.training.dry_run import dry_run


def cached(job):
    return replace(job, strategy=replace(job.strategy, prefix_cache=True))


def short(job):
    """Of one epoch."""
    return replace(job, strategy=replace(job.strategy, schedule=replace(job.strategy.schedule, epochs=1)))


def ready_in(events) -> list[PrefixReady]:
    return [event for event in events if isinstance(event, PrefixReady)]


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


SOAK = pytest.mark.soak
CASES = [("head", None), ("freeze", 1), ("lora", 1), ("staged", 2)]
MORE = [("freeze", 2), ("adapter", 2), ("lora", 2)]


@pytest.mark.parametrize(
    ("family", "method", "top"),
    [
        *((family, *case) for family in ("bert", "llama") for case in CASES),
        *(pytest.param(family, *case, marks=SOAK) for family in ("bert", "llama") for case in MORE),
        pytest.param("bert", "bitfit", 1, marks=SOAK),
    ],
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


FAMILIES = ("roberta", "distilbert", "electra", "qwen2", "qwen3", "mistral", "gpt_neox", "phi")


@pytest.mark.parametrize(
    ("family", "precision"),
    [
        ("gemma", "fp32"),
        ("roberta", "bf16"),
        *(pytest.param(family, "fp32", marks=SOAK) for family in FAMILIES),
        pytest.param("gemma", "bf16", marks=SOAK),
    ],
)
def test_every_family_runs_in_two_parts(family: str, precision: str, tmp_path: Path) -> None:
    job, corpus = top_job(tmp_path, family, "lora", 1, precision=precision)
    whole, _ = run(replace(job, folder=tmp_path / "whole"), corpus)
    events, session = run(cached(job), corpus)
    (ready,) = (event for event in events if isinstance(event, PrefixReady))
    number = {"fp32": 4, "bf16": 2}[precision]
    assert ready.bytes == number * job.spec.hidden * (len(session.train.ids) + len(session.dev.ids))
    assert losses(events)[0] == pytest.approx(losses(whole)[0], rel={"fp32": 1e-6, "bf16": 5e-2}[precision])


# -------------------------------------------------------------------- what is predicted


@pytest.mark.parametrize(
    ("family", "method", "top"),
    [("bert", "freeze", 1), ("llama", "lora", 2), pytest.param("bert", "head", None, marks=SOAK)],
)
def test_the_formula_is_near_the_dry_run(family: str, method: str, top: int | None, tmp_path: Path) -> None:
    job, _ = top_job(tmp_path, family, method, top, hidden=64)
    machine, strategy = this_machine(), cached(job).strategy
    (question,) = questions_of(strategy, job.spec, job.data, machine)
    dry = {phase.name: phase.parts for phase in dry_run(question)}
    formula = {phase.name: phase.parts for phase in live_phases(strategy, job.spec, job.data, machine)}
    depth = job.strategy.lowest_layer(job.spec)
    for name, parts in dry.items():
        assert parts.weights_bytes == pytest.approx(formula[name].weights_bytes, abs=100), name
        of_step = formula[name].total_bytes - formula[name].prefix_bytes
        assert parts.total_bytes == pytest.approx(of_step, rel=0.4), name
    whole = {phase.name: phase.parts for phase in live_phases(job.strategy, job.spec, job.data, machine)}
    released = whole["optimizer"].weights_bytes - formula["optimizer"].weights_bytes
    assert released == released_bytes(strategy, job.spec, depth) > 0


def test_bytes_are_predicted_exactly_where_both_splits_are_counted(tmp_path: Path) -> None:
    job, corpus = top_job(tmp_path, "bert", "freeze", 1)
    tokenizer = job.source.folder / "tokenizer.json"
    counted = describe(corpus, count_tokens(corpus.train, tokenizer), dev=count_tokens(corpus.dev, tokenizer))
    events, _ = run(cached(job), corpus)
    (ready,) = ready_in(events)
    assert ready.bytes == prefix_bytes(cached(job).strategy, job.spec, counted)
    assert events[-1].run.prefix_bytes == ready.bytes
    assert 0 < events[-1].run.prefix_seconds < events[-1].run.seconds


def test_a_plan_runs_it_once_where_that_is_quicker(tmp_path: Path) -> None:
    job, _ = top_job(tmp_path, "bert", "freeze", 1)

    def planned(choice: str, method: str = "freeze", **changed):
        settings = Settings(prefix_cache=choice, **changed)
        return plan(job.spec, job.data, this_machine(), method=method, settings=settings).chosen.estimate

    once, always = planned("auto", epochs=5), planned("off", epochs=5)
    assert once.strategy.prefix_cache
    assert not always.strategy.prefix_cache
    assert once.time.total_seconds.value < always.time.total_seconds.value
    assert once.prefix_bytes > 0
    assert always.prefix_bytes == 0
    assert not planned("auto", "full").strategy.prefix_cache, "nothing lies below what is trained"
    with pytest.raises(UsageError) as refused:
        planned("on", "full")
    assert refused.value.code == "TT-P364"


# -------------------------------------------------------------------- memory, files, other runs


def test_lower_weights_are_given_back_while_the_rest_is_trained(tmp_path: Path) -> None:
    job, corpus = top_job(tmp_path, "bert", "freeze", 1)
    training, lower, steps = Training(cached(job), corpus), [], 0
    for event in training:
        if isinstance(event, Started):
            named = dict(training.session.model.named_parameters())
            lower = [weakref.ref(p) for name, p in named.items() if "embeddings" in name or ".layer.1." in name]
            del named
        if isinstance(event, Step):
            steps += 1
            if steps == 3:
                gc.collect()
                assert lower
                assert not [one for one in lower if one() is not None], "somebody holds them"
    assert steps >= 20


def test_the_head_of_a_language_model_keeps_its_shared_table(tmp_path: Path) -> None:
    job, corpus = chat_job(tmp_path, "lora", tied=True)
    whole, _, events, session = both(on_top(job), corpus)
    assert ready_in(events)
    assert losses(events) == pytest.approx(losses(whole), rel=1e-6, abs=1e-6)
    assert session.model.get_output_embeddings().weight is session.model.get_input_embeddings().weight


@pytest.mark.parametrize("task", ["tag", "embed", "packed", pytest.param("pair", marks=SOAK)])
def test_other_tasks_read_states_as_they_read_ids(task: str, tmp_path: Path) -> None:
    makers = {
        "tag": lambda: tag_job(tmp_path, method="lora"),
        "embed": lambda: embed_job(tmp_path, method="lora"),
        "packed": lambda: chat_job(tmp_path, "lora", packed=True),
        "pair": lambda: pair_job(tmp_path),
    }
    job, corpus = makers[task]()
    whole, _, events, _ = both(on_top(job), corpus)
    assert ready_in(events)
    assert losses(events) == pytest.approx(losses(whole), rel=1e-5, abs=2e-6)


def on_top(job):
    """LoRA in the highest layer."""
    parts = parts_for(method_named("lora"), job.data.task, job.spec, Choices(top_layers=1, rank=4))
    return replace(job, strategy=replace(job.strategy, parts=parts))


def both(job, corpus):
    """Events and session of a training by the whole model, and of one whose frozen part is run once."""
    return *run(replace(job, folder=job.folder.parent / "whole"), corpus), *run(cached(job), corpus)


def pair_job(folder: Path):
    data, source = write_data(folder / "pairs", pair=True), tiny_model(folder / "model", "bert", layers=3)
    corpus = open_corpus(str(data), text=("first", "second"))
    job = Job(
        source=source, spec=read_spec(source), data=facts(corpus, source),
        strategy=tiny_strategy(source, "lora", max_length=40), folder=folder / "out", threads=1,
    )  # fmt: skip
    return job, corpus


def test_a_later_run_finds_what_an_earlier_one_made_and_nothing_else(tmp_path: Path) -> None:
    job, corpus = top_job(tmp_path, "bert", "lora", 1)
    job = replace(short(cached(job)), prefix_folder=tmp_path / "kept")

    def reused(name: str, **changed) -> bool:
        events, session = run(
            replace(job, folder=tmp_path / name, strategy=replace(job.strategy, **changed)), corpus
        )
        weights[name] = trained(session)
        return ready_in(events)[0].reused

    weights: dict[str, dict[str, torch.Tensor]] = {}
    assert not reused("first")
    assert reused("again")
    assert_equal(weights["first"], weights["again"])
    assert reused("seed", seed=3), "it decides nothing below what is trained"
    assert not reused("short", max_length=12), "other tokens"
    assert not reused("low", precision="bf16"), "other numbers"
    tiny_model(job.source.folder, "bert", layers=3, seed=9)
    assert not reused("changed"), "other weights under the same name"


@pytest.mark.parametrize(
    "damage", ["flipped", *(pytest.param(damage, marks=SOAK) for damage in ("short", "no facts"))]
)
def test_damaged_states_are_made_again(damage: str, tmp_path: Path) -> None:
    job, corpus = top_job(tmp_path, "bert", "lora", 1)
    job = replace(short(cached(job)), prefix_folder=tmp_path / "kept")
    _, one = run(replace(job, folder=tmp_path / "first"), corpus)
    files = list((tmp_path / "kept").rglob("states.bin"))
    assert len(files) == 2
    for file in files:
        content = bytearray(file.read_bytes())
        if damage == "flipped":
            content[len(content) // 2] ^= 1
        file.write_bytes(content[:-8] if damage == "short" else content)
        if damage == "no facts":
            (file.parent / "facts.json").unlink()
    again, other = run(replace(job, folder=tmp_path / "again"), corpus)
    assert not ready_in(again)[0].reused
    assert_equal(trained(one), trained(other))


def test_states_too_many_for_memory_are_read_from_their_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, corpus = top_job(tmp_path, "bert", "lora", 1)
    job = short(cached(job))
    events, one = run(replace(job, folder=tmp_path / "held"), corpus)
    monkeypatch.setattr(prefix_cache, "HELD_BYTES", 100)
    others, other = run(job, corpus)
    assert losses(events) == losses(others)
    assert_equal(trained(one), trained(other))


def test_where_nothing_can_be_kept_the_whole_model_is_trained(tmp_path: Path) -> None:
    job, corpus = top_job(tmp_path, "bert", "lora", 1)
    (tmp_path / "file").write_text("no folder")
    whole, one = run(replace(job, folder=tmp_path / "whole"), corpus)
    events, other = run(replace(cached(job), prefix_folder=tmp_path / "file" / "below"), corpus)
    assert [event.message.code for event in events if isinstance(event, Notice)] == ["TT-T200"]
    assert losses(events) == losses(whole)
    assert_equal(trained(one), trained(other))


def test_the_least_used_states_make_room(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    for number, name in enumerate(("old", "new")):
        (folder / name).mkdir(parents=True)
        (folder / name / "facts.json").write_text("{}")
        os.utime(folder / name, (number, number))
    prefix_cache.require_room(folder, KEPT_BYTES - 3)
    assert [entry.name for entry in folder.iterdir()] == ["new"], "one of 2 bytes may stay"
    with pytest.raises(OSError, match="No space left"):
        prefix_cache.require_room(folder, 2**60)


def test_what_a_killed_build_left_goes_after_a_day(tmp_path: Path) -> None:
    old, new = tmp_path / ".abc-1", tmp_path / ".abc-2"
    for beside in (old, new):
        beside.mkdir()
        (beside / "states.bin").write_bytes(b"half")
    for path in (old / "states.bin", old):
        os.utime(path, (0, 0))
    prefix_cache.require_room(tmp_path, 0)
    assert not old.exists() and new.exists()


# -------------------------------------------------------------------- stops, stages


def test_a_resumed_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    job, corpus = top_job(tmp_path, "llama", "freeze", 1, save_steps=5)
    job = cached(job)
    whole, straight = run(replace(job, folder=tmp_path / "straight"), corpus)
    run_until(job, corpus, Saved, count=2)
    events, resumed = run(replace(job, resume=True), corpus)
    assert ready_in(events)
    assert losses(events) == losses(whole)[-len(losses(events)) :]
    assert_equal(trained(resumed), trained(straight))


def test_a_killed_build_leaves_nothing_that_is_read(tmp_path: Path) -> None:
    job, corpus = top_job(tmp_path, "bert", "freeze", 1)
    job = replace(short(cached(job)), prefix_folder=tmp_path / "kept")
    _, straight = run(replace(job, folder=tmp_path / "straight", prefix_folder=None), corpus)
    left = tmp_path / "kept" / ".half-written"  # as a kill leaves it
    left.mkdir(parents=True)
    (left / "states.bin").write_bytes(b"half")
    run_until(job, corpus, PrefixProgress)
    assert not list((tmp_path / "kept").glob("[!.]*")), "nothing of a build that was dropped"
    events, again = run(job, corpus)
    assert not ready_in(events)[0].reused
    assert_equal(trained(again), trained(straight))


def test_a_stop_while_it_is_built_is_heard(tmp_path: Path) -> None:
    job, corpus = top_job(tmp_path, "bert", "freeze", 1)
    job = short(job)

    def stopped() -> None:
        for event in Training(cached(job), corpus):
            if isinstance(event, PrefixProgress):
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted):
        stopped()
    _, straight = run(replace(cached(job), folder=tmp_path / "straight"), corpus)
    _, resumed = run(replace(cached(job), resume=True), corpus)
    assert_equal(trained(resumed), trained(straight))


STAGES = [
    ("full", "layers=2; layers=1-2", [2, 1]),
    ("full", "layers=embeddings-1; layers=2", [2]),  # the second on what the first has trained
    pytest.param("lora", "layers=2; layers=0-2; layers=2", [2, 2], marks=SOAK),
]


@pytest.mark.parametrize(("method", "text", "depths"), STAGES)
def test_every_stage_has_states_of_its_own(method: str, text: str, depths: list[int], tmp_path: Path) -> None:
    job, corpus = tiny_job(tmp_path, "bert", method)
    stages = stages_from(text, job.strategy.lowest_layer(job.spec), job.spec.layers, 2)
    schedule = replace(job.strategy.schedule, stages=stages, learning_rate=1e-4)
    job = replace(job, strategy=replace(job.strategy, schedule=schedule), save_steps=5)
    whole, _ = run(replace(job, folder=tmp_path / "whole"), corpus)
    events, straight = run(replace(cached(job), folder=tmp_path / "straight"), corpus)
    assert [event.depth for event in ready_in(events)] == depths, [e for e in events if isinstance(e, Notice)]
    assert losses(events) == pytest.approx(losses(whole), rel=1e-5, abs=2e-6)
    run_until(cached(job), corpus, Saved, count=5)  # in the second stage
    _, resumed = run(replace(cached(job), resume=True), corpus)
    assert_equal(trained(resumed), trained(straight))


@pytest.mark.model
def test_a_real_encoder_learns_the_same(real_model, shared, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for split, rows in (("train", 84), ("dev", 16), ("test", 16)):
        lines = (Path(shared("sst2")) / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()[:rows]
        (folder / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    corpus, source = open_corpus(str(folder)), ModelSource(folder=real_model("all-minilm-l6-v2"), name="minilm")
    strategy = replace(tiny_strategy(source, "head"), batch=4, micro_batch=4, max_length=32)
    strategy = replace(strategy, schedule=replace(strategy.schedule, epochs=1, learning_rate=5e-4))
    job = Job(
        source=source, spec=read_spec(source), data=facts(corpus, source), strategy=strategy,
        folder=tmp_path / "out", threads=1,
    )  # fmt: skip
    whole, _, events, _ = both(on_top(job), corpus)
    assert ready_in(events)[0].depth == 5
    assert len(losses(events)) >= 20
    assert losses(events) == pytest.approx(losses(whole), rel=1e-6, abs=1e-6)
    assert events[-1].run.dev.loss == pytest.approx(whole[-1].run.dev.loss, rel=1e-5)
