"""Rows laid end to end: the same loss, gradients and training as padded ones, and a refusal where a model would
mix them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM

from tiny_chat import chat_job, chat_model
from tiny_training import run, run_until
from trimtab import tuning
from trimtab.data.spec import LengthHistogram, padded_tokens
from trimtab.errors import ModelError, TrimtabError
from trimtab.estimation import estimate
from trimtab.estimation.question import longest_batch
from trimtab.evaluation import OBJECTIVES
from trimtab.evaluation.encode import Encoded, end_to_end
from trimtab.hardware import this_machine
from trimtab.methods import Schedule, Stage
from trimtab.training import Evaluated, Finished, Saved, Session
from trimtab.training.packing import use_packing
from trimtab.training.session import prepare

ANSWERS = OBJECTIVES["instruct"]
ROWS = np.array([3, 9, 4, 20, 11])


def loss_and_gradients(session: Session) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    session.model.eval()
    inputs, targets = session.inputs(ROWS)
    loss = ANSWERS.loss_sum(session.model, inputs, targets, session.job.strategy)
    names = {name: p for name, p in session.model.named_parameters() if p.requires_grad}
    gradients = torch.autograd.grad(loss, list(names.values()))
    return loss.detach(), dict(zip(names, gradients, strict=True))


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_loss_and_gradients_are_those_of_the_padded_batch(tmp_path: Path, method: str, recompute: bool) -> None:
    found = []
    for name, packed in (("padded", False), ("packed", True)):
        job, corpus = chat_job(tmp_path / name, method, packed=packed, recompute=recompute, micro_batch=4)
        found.append(loss_and_gradients(prepare(job, corpus)))
    (loss, gradients), (packed_loss, packed_gradients) = found
    assert loss == pytest.approx(float(packed_loss), rel=1e-5)
    assert gradients.keys() == packed_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(packed_gradients[name], gradient, rtol=1e-4, atol=1e-5, msg=name)


def without_dropout(model: Path) -> None:
    """What is dropped is drawn for a whole batch, and a packed one has another form."""
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    (model / "config.json").write_text(json.dumps(config | {"attention_dropout": 0.0}), encoding="utf-8")


def test_a_packed_training_is_the_padded_one(tmp_path: Path) -> None:
    scores = []
    for name, packed in (("padded", False), ("packed", True)):
        job, corpus = chat_job(tmp_path / name, "full", packed=packed)
        without_dropout(job.source.folder)
        events, _ = run(job, corpus)
        scores.append([event.score.main.value for event in events if isinstance(event, Evaluated)])
    assert scores[0] == pytest.approx(scores[1], rel=1e-3)
    assert len(scores[0]) > 1


def test_a_sequence_has_no_padding_but_at_its_end() -> None:
    rows = [torch.arange(1, 31), torch.arange(1, 4)]
    inputs = end_to_end(rows, pad_token_id=0)
    assert inputs["input_ids"].tolist() == [[*range(1, 31), 1, 2, 3, *[0] * 31]]
    assert inputs["position_ids"].tolist() == [[*range(30), 0, 1, 2, *range(31)]]
    assert inputs["cu_seq_lens_q"].tolist() == [0, 30, 33, 64]
    assert end_to_end([torch.arange(64)], pad_token_id=0)["cu_seq_lens_q"].tolist() == [0, 64]
    assert [padded_tokens(count) for count in (1, 64, 65)] == [64, 64, 128]


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt_neox", "phi"])
def test_families_keep_rows_apart(tmp_path: Path, family: str) -> None:
    model = tuning.load_language_model(chat_model(tmp_path, family), pad_token_id=0)
    use_packing(model, max_length=40)
    row, other = torch.arange(4, 14), torch.arange(7, 20)
    with torch.no_grad():
        together = model(**end_to_end([other, row], pad_token_id=0)).logits[0, len(other) : len(other) + len(row)]
        alone = model(input_ids=row[None]).logits[0]
        padded = model(
            input_ids=torch.nn.functional.pad(row, (0, 3))[None],
            attention_mask=torch.tensor([[1] * len(row) + [0] * 3]),
        ).logits[0, : len(row)]
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(padded, alone, rtol=1e-4, atol=1e-5)


def test_a_window_shorter_than_a_row_is_refused() -> None:
    config = MistralConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, sliding_window=16,
    )  # fmt: skip
    with pytest.raises(ModelError, match="TT-M076"):
        use_packing(MistralForCausalLM(config), max_length=17)
    use_packing(MistralForCausalLM(config), max_length=16)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_class_that_mixes_rows_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    model = tuning.load_language_model(chat_model(tmp_path, "llama"), pad_token_id=0)
    backbone = model.model
    whole = type(backbone).forward

    def deaf(self, *args, cu_seq_lens_q=None, **kwargs):  # type: ignore[no-untyped-def]
        return whole(self, *args, **kwargs)

    monkeypatch.setattr(type(backbone), "forward", deaf)
    model.to(dtype)
    with pytest.raises(ModelError, match="TT-M076"):
        use_packing(model, max_length=40)


def test_rows_of_one_token_and_rows_without_an_answer_have_no_place(tmp_path: Path) -> None:
    session = prepare(*chat_job(tmp_path, packed=True))
    encoded = Encoded(
        ids=np.array([5, 6, 7, 8, 9, 10], np.int32),
        starts=np.array([0, 1, 3, 6]),
        seconds=np.zeros(3, np.int32),
        labels=np.zeros(3, np.int64),
        learned=np.array([True, False, False, False, True, True]),
    )
    collator = session.collator.laid(session.job.strategy)
    assert collator.next_tokens(encoded, np.array([2, 0, 1])).tolist() == [[0, 1], [9, 10]]
    assert collator.next_tokens(encoded, np.array([0, 1])).shape == (2, 0)
    assert collator.batch(encoded, np.array([2, 0]))["cu_seq_lens_q"].tolist() == [0, 3, 4, 64]


def test_packed_stages_and_a_resume_that_packs_otherwise(tmp_path: Path) -> None:
    """Stages train as always; what has been trained padded does not go on packed."""
    stages = (Stage(first=1, last=2, epochs=1), Stage(first=0, last=2, epochs=1))
    schedule = Schedule(epochs=2, learning_rate=1e-3, stages=stages)
    job, corpus = chat_job(tmp_path, "full", packed=True, schedule=schedule)
    run_until(job, corpus, Saved)
    with pytest.raises(TrimtabError, match="TT-T"):
        run(replace(job, resume=True, strategy=replace(job.strategy, packed=False)), corpus)
    events, _ = run(replace(job, resume=True), corpus)
    assert isinstance(events[-1], Finished)


def test_packed_rows_are_predicted_with_what_fills_their_sequence(tmp_path: Path) -> None:
    job, _ = chat_job(tmp_path, packed=True)
    data = replace(job.data, lengths=LengthHistogram((*[0] * 20, 1000)), train_rows=1000)
    for rows, width in ((1, 64), (8, 24)):  # 8 rows of 20 tokens: 160, filled up to 192
        strategy = replace(job.strategy, batch=8, micro_batch=rows)
        assert longest_batch(strategy, data) == (rows, width)
        padded = estimate(replace(strategy, packed=False), job.spec, data, this_machine())
        packed = estimate(strategy, job.spec, data, this_machine())
        assert packed.time.step_seconds.value > padded.time.step_seconds.value
        assert packed.time.evaluate_seconds == padded.time.evaluate_seconds, "dev rows are padded"


def test_the_longest_rows_have_their_mean_length() -> None:
    lengths = LengthHistogram((0, 0, 3, 0, 2, 1))  # 2 2 2 4 4 5
    assert lengths.longest_mean(1, 128) == 5
    assert lengths.longest_mean(2, 128) == 4.5
    assert lengths.longest_mean(4, 128) == (5 + 4 + 4 + 2) / 4
    assert lengths.longest_mean(9, 3) == (3 * 3 + 2 * 3) / 6
