"""The promises of the loop: the global batch is kept whatever fits, nothing non-finite is applied, the best
weights win."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModel

from tiny_training import assert_equal, facts, run, tiny_job, tiny_strategy, trained, write_data
from trimtab.data import Corpus, open_corpus
from trimtab.errors import BadInput, Diverged, ModelError, TrimtabError
from trimtab.methods import AdamW, Schedule
from trimtab.metrics import Metric, Score
from trimtab.training import (
    Evaluated,
    Event,
    Job,
    Notice,
    Preflight,
    Saved,
    Session,
    Step,
    Training,
    checkpoint,
    loop,
)
from trimtab.training.checkpoint import Checkpoints

# Adam divides by the gradient's own size, so a gradient that is all rounding moves a weight by the whole
# learning rate. A large epsilon lets such weights be compared.
CALM = AdamW(epsilon=1e-2)


def losses_of(events: list[Event]) -> list[float]:
    return [event.loss for event in events if isinstance(event, Step)]


def codes_of(events: list[Event]) -> list[str]:
    return [event.message.code for event in events if isinstance(event, Notice)]


def rows_that_fit(monkeypatch: pytest.MonkeyPatch, most: int, *, from_call: int = 1) -> None:
    """From that call of the step on, more rows than `most` end in out of memory."""
    real, calls = loop.forward_backward, 0

    def limited(model, inputs, labels, **rest):
        nonlocal calls
        calls += 1
        if len(labels) > most and calls >= from_call:
            raise torch.OutOfMemoryError("injected")
        return real(model, inputs, labels, **rest)

    monkeypatch.setattr(loop, "forward_backward", limited)


@pytest.mark.parametrize("micro_batch", [4, 2, 3])
def test_the_result_does_not_depend_on_the_micro_batch(tmp_path: Path, micro_batch: int) -> None:
    job, corpus = tiny_job(tmp_path, dropout=0.0, batch=8, micro_batch=8, optimizer=CALM)
    whole_events, whole = run(job, corpus)
    cut = replace(job, folder=tmp_path / "cut", strategy=replace(job.strategy, micro_batch=micro_batch))
    cut_events, pieces = run(cut, corpus)
    assert losses_of(cut_events) == pytest.approx(losses_of(whole_events), abs=1e-6)
    expected = trained(whole)
    for name, weight in trained(pieces).items():
        torch.testing.assert_close(weight, expected[name], atol=1e-6, rtol=0, msg=lambda text, n=name: n + text)


def test_retreat_gives_the_weights_of_that_micro_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, corpus = tiny_job(tmp_path, batch=8, micro_batch=8)
    planned = replace(job, folder=tmp_path / "planned", strategy=replace(job.strategy, micro_batch=2))
    _, expected = run(planned, corpus)
    rows_that_fit(monkeypatch, 3)  # 8 and 4 do not fit, 2 do
    events, retreated = run(job, corpus)
    assert codes_of(events) == ["TT-T031", "TT-T031"]
    notes = [event.message for event in events if isinstance(event, Notice)]
    assert [(n.fact("before"), n.fact("after"), n.fact("batch")) for n in notes] == [(8, 4, 8), (4, 2, 8)]
    assert any(isinstance(event, Preflight) and event.rows == 8 for event in events)
    assert_equal(trained(retreated), trained(expected))
    assert retreated.job.strategy.batch == 8


def test_retreat_in_the_middle_of_a_step_drops_the_gradients_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, corpus = tiny_job(tmp_path, dropout=0.0, batch=8, micro_batch=4, optimizer=CALM)
    _, straight = run(replace(job, folder=tmp_path / "straight"), corpus)
    rows_that_fit(monkeypatch, 2, from_call=6)  # the second half of the second step
    events, retreated = run(job, corpus)
    assert codes_of(events) == ["TT-T031"]
    expected = trained(straight)
    for name, weight in trained(retreated).items():
        torch.testing.assert_close(weight, expected[name], atol=1e-6, rtol=0)


def test_retreat_draws_the_same_dropout_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory runs out in backward, when masks are drawn and gradients half made: neither may be left."""
    job, corpus = tiny_job(tmp_path, batch=8, micro_batch=8)
    planned = replace(job, folder=tmp_path / "planned", strategy=replace(job.strategy, micro_batch=4))
    _, expected = run(planned, corpus)
    real, calls = loop.forward_backward, 0

    def late(model, inputs, labels, **rest):
        nonlocal calls
        calls += 1
        loss = real(model, inputs, labels, **rest)
        if calls == 2:  # the first step; the preflight was the first call
            raise torch.OutOfMemoryError("injected")
        return loss

    monkeypatch.setattr(loop, "forward_backward", late)
    events, retreated = run(job, corpus)
    assert codes_of(events) == ["TT-T031"]
    assert_equal(trained(retreated), trained(expected))


def test_one_row_that_does_not_fit_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, corpus = tiny_job(tmp_path)
    rows_that_fit(monkeypatch, 0)
    with pytest.raises(TrimtabError) as caught:
        run(job, corpus)
    assert caught.value.code == "TT-T030"
    assert caught.value.message.fact("tokens") <= 24


def test_another_runtime_error_is_not_taken_for_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, corpus = tiny_job(tmp_path)

    def broken(*args: object, **rest: object) -> None:
        raise RuntimeError("size mismatch")

    monkeypatch.setattr(loop, "forward_backward", broken)
    with pytest.raises(RuntimeError, match="size mismatch"):
        run(job, corpus)


def masters_of(session: Session) -> dict[str, torch.Tensor]:
    """The fp32 weights as a checkpoint names them."""
    return session.optimizer.weights()


def diverge(job: Job, corpus: Corpus) -> tuple[Diverged, dict[str, torch.Tensor]]:
    training = Training(job, corpus)
    with pytest.raises(Diverged) as caught:
        list(training)
    assert training.session is not None
    return caught.value, masters_of(training.session)


def test_a_huge_learning_rate_stops_before_the_update(tmp_path: Path) -> None:
    schedule = Schedule(epochs=2, learning_rate=1e30, warmup_share=0.0)
    job, corpus = tiny_job(tmp_path, schedule=schedule, save_steps=1)
    error, weights = diverge(job, corpus)
    assert (error.exit_code, error.code) == (4, "TT-T040")
    kept, damaged = Checkpoints(job.checkpoints).newest()
    assert kept is not None and not damaged
    assert error.message.fact("kept") == str(kept.path)
    assert kept.progress.step == error.message.fact("step") - 1
    masters = {name: kept.tensors[name] for name in weights}
    assert all(torch.isfinite(tensor).all() for tensor in masters.values())
    assert_equal(weights, masters)  # the step that diverged was not applied


Spoil = Callable[[torch.nn.Module, torch.Tensor], torch.Tensor]


def _nan_loss(model: torch.nn.Module, loss: torch.Tensor) -> torch.Tensor:
    return loss * float("nan")


def _nan_gradient(model: torch.nn.Module, loss: torch.Tensor) -> torch.Tensor:
    gradient = next(p.grad for p in model.parameters() if p.grad is not None)
    gradient.view(-1)[0] = float("nan")
    return loss


@pytest.mark.parametrize("spoil", [_nan_loss, _nan_gradient])
def test_nan_is_not_applied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Spoil) -> None:
    job, corpus = tiny_job(tmp_path, save_steps=1)
    real, calls = loop.forward_backward, 0

    def spoilt(model, inputs, labels, **rest):
        nonlocal calls
        calls += 1
        loss = real(model, inputs, labels, **rest)
        return spoil(model, loss) if calls == 5 else loss  # the preflight is the first call

    monkeypatch.setattr(loop, "forward_backward", spoilt)
    error, weights = diverge(job, corpus)
    assert error.message.fact("step") == 4
    kept, _ = Checkpoints(job.checkpoints).newest()
    assert kept is not None and kept.progress.step == 3
    assert_equal(weights, {name: kept.tensors[name] for name in weights})


def test_fp16_overflow_in_the_preflight_leaves_the_weights_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trimtab.training.optimizer._FIRST_FP16_SCALE", 2.0**40)
    job, corpus = tiny_job(tmp_path, precision="fp16")
    events, session = run(job, corpus)
    assert all(torch.isfinite(weight).all() for weight in trained(session).values())
    assert session.optimizer.loss_scale < 2.0**40
    assert len(losses_of(events)) == 26


def scripted_dev(monkeypatch: pytest.MonkeyPatch, values: list[float]) -> None:
    """Dev evaluations give these values of the main metric, one after the other."""
    left = iter(values)

    def scripted(session, split, name):
        metric = Metric(name="accuracy", value=next(left), low=0.0, high=1.0)
        return Score(split=name, n=len(split), loss=0.5, metrics=(metric,))

    monkeypatch.setattr(loop, "score_split", scripted)


def test_early_stop_brings_back_the_best_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = Schedule(epochs=9, learning_rate=1e-3, patience=2)
    job, corpus = tiny_job(tmp_path, schedule=schedule)
    scripted_dev(monkeypatch, [0.5, 0.9, 0.7, 0.8, 0.9, 0.9])
    training = Training(job, corpus)
    at_best, events = {}, []
    for event in training:
        events.append(event)
        if isinstance(event, Evaluated) and event.best:
            at_best = trained(training.session)
    run_facts = events[-1].run
    assert [event.best for event in events if isinstance(event, Evaluated)] == [True, True, False, False]
    assert (run_facts.best_step, run_facts.steps, run_facts.stopped_early) == (26, 52, True)
    assert_equal(trained(training.session), at_best)


def test_a_resumed_early_stop_does_not_train_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = Schedule(epochs=9, learning_rate=1e-3, patience=1)
    job, corpus = tiny_job(tmp_path, schedule=schedule)
    scripted_dev(monkeypatch, [0.9, 0.8, 0.9, 0.9, 0.9, 0.9])
    events = iter(Training(job, corpus))
    saved = 0
    for event in events:
        saved += isinstance(event, Saved)
        if saved == 2:
            break
    events.close()
    resumed, session = run(replace(job, resume=True), corpus)
    assert losses_of(resumed) == []
    assert (resumed[-1].run.best_step, resumed[-1].run.steps) == (13, 26)
    kept, _ = Checkpoints(job.checkpoints).newest()
    assert kept is not None
    best = checkpoint.load_best(kept.path)
    assert_equal(masters_of(session), best)


def test_a_second_training_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    job, corpus = tiny_job(tmp_path)
    first = iter(Training(job, corpus))
    next(first)
    with pytest.raises(BadInput) as caught:
        run(job, corpus)
    assert caught.value.code == "TT-T010"
    first.close()
    run(job, corpus)  # the lock is gone with the first


@pytest.mark.parametrize("task", ["pair", "regress"])
def test_pairs_and_regressions_go_through_the_same_loop(tmp_path: Path, task: str) -> None:
    data = write_data(tmp_path / "other", pair=task == "pair")
    if task == "regress":
        for file in data.iterdir():
            text = file.read_text().replace(",good\n", ",0.75\n").replace(",good\r\n", ",0.75\r\n")
            file.write_text(text.replace(",bad\r\n", ",-1.5\r\n").replace(",bad\n", ",-1.5\n"))
    columns = ("first", "second") if task == "pair" else ("text",)
    corpus = open_corpus(str(data), task=task, text=columns)
    job, _ = tiny_job(tmp_path)
    job = replace(job, data=facts(corpus, job.source), strategy=tiny_strategy(job.source, "full", max_length=48))
    events, session = run(job, corpus)
    assert events[-1].run.dev.metrics[0].name == {"pair": "accuracy", "regress": "pearson"}[task]
    assert session.train.seconds.any() == (task == "pair")
    assert session.model.config.num_labels == (2 if task == "pair" else 1)


def test_a_resume_on_changed_data_keeps_what_words_have_learned(tmp_path: Path) -> None:
    """Full tuning, then other texts: a word that only the old ones hold keeps its trained row."""
    job, corpus = tiny_job(tmp_path)
    events = iter(Training(job, corpus))
    for event in events:
        if isinstance(event, Saved):
            break
    events.close()
    kept, _ = Checkpoints(job.checkpoints).newest()
    assert kept is not None
    name = "bert.embeddings.word_embeddings.weight"
    rows, master = kept.tensors[f"rows/{name}"], kept.tensors[f"master/{name}"]
    data = tmp_path / "data" / "train.csv"
    lines = data.read_text().splitlines()
    data.write_text("\n".join([*lines[:1], *lines[1 : len(lines) // 3]]) + "\n")
    changed = open_corpus(str(tmp_path / "data"))
    other = replace(job, data=facts(changed, job.source), resume=True)
    with pytest.raises(BadInput) as caught:
        run(other, changed)
    assert caught.value.code == "TT-T021"
    _, session = run(replace(other, allow_changed=True), changed)
    unread = [place for place, row in enumerate(rows) if row not in session.optimizer.weights()[f"rows/{name}"]]
    weight = dict(session.model.named_parameters())[name]
    assert unread and torch.equal(weight[rows[unread]], master[unread])


def test_memory_that_runs_out_outside_a_step_is_no_surprise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, corpus = tiny_job(tmp_path)

    def full(*of: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes")

    monkeypatch.setattr("trimtab.training.optimizer.Optimizer.reserve", full)
    with pytest.raises(MemoryError, match="not enough memory"):
        run(job, corpus)


def test_a_token_beyond_the_vocabulary_is_refused(tmp_path: Path) -> None:
    job, corpus = tiny_job(tmp_path)
    with pytest.raises(ModelError) as caught:
        run(replace(job, spec=replace(job.spec, vocab=8)), corpus)
    assert caught.value.code == "TT-T005"


def test_the_longest_text_a_roberta_takes_is_the_longest_it_is_given(tmp_path: Path) -> None:
    """Its positions begin after the padding id: the first rows of their table are never read."""
    job, _ = tiny_job(tmp_path, "roberta")
    spec = job.spec
    assert spec.pad_token_id is not None
    assert spec.longest_text == spec.max_positions - spec.pad_token_id - 1
    config = AutoConfig.from_pretrained(job.source.folder)
    model = AutoModel.from_config(config).eval()
    model(torch.full((1, spec.longest_text), 5))
    with pytest.raises((IndexError, RuntimeError)):
        model(torch.full((1, spec.longest_text + 1), 5))
