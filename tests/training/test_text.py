"""Continued pre-training: blocks and losses beside transformers' own, what is trained, and what comes of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from tiny_text import text_job
from tiny_training import run
from trimtab.errors import ModelError
from trimtab.estimation.question import question_of
from trimtab.evaluation import OBJECTIVES, ArtifactFacts, Base, open_artifact, require_equal, save_artifact
from trimtab.evaluation.plain_text import encode_blocks
from trimtab.hardware.machine import Device, Machine
from trimtab.models import weights_hash
from trimtab.training import Evaluated
from trimtab.training.session import prepare

TEXT = OBJECTIVES["text"]


def grouped(texts: list[str], tokenizer, length: int) -> list[list[int]]:
    """As transformers' run_clm.py groups texts, with the end of text behind each; the rest is a short block."""
    stream = [token for text in texts for token in (*tokenizer(text)["input_ids"], tokenizer.eos_token_id)]
    return [stream[start : start + length] for start in range(0, len(stream), length)]


@pytest.mark.parametrize("length", [8, 24, 10_000])
def test_blocks_are_those_of_one_long_text(tmp_path: Path, length: int) -> None:
    job, corpus = text_job(tmp_path)
    tokenizer = TEXT.tokenizer(job.source)
    encoded = encode_blocks(corpus.train, tokenizer, length)
    blocks = [block for block in grouped([e.texts[0] for e in corpus.train], tokenizer, length) if len(block) > 1]
    assert [encoded.ids[a:b].tolist() for a, b in zip(encoded.starts, encoded.starts[1:], strict=False)] == blocks
    assert encoded.learned is not None and encoded.learned.all()
    cut = job.data.cut_at(length)
    assert cut.train_rows == len(encoded) and job.data.longest_row == len(encoded.ids)
    assert TEXT.weight(encoded, np.arange(len(encoded))) == len(encoded.ids) - len(encoded)


@pytest.mark.parametrize("tied", [False, True])
def test_the_loss_is_transformers_own(tmp_path: Path, tied: bool) -> None:
    job, corpus = text_job(tmp_path, tied=tied)
    session = prepare(job, corpus)
    session.model.eval()
    rows = np.arange(3)
    inputs, targets = session.inputs(rows)
    loss = TEXT.loss_sum(session.model, inputs, targets, job.strategy) / TEXT.weight(session.train, rows)
    plain = session.model(**inputs, labels=inputs["input_ids"]).loss
    torch.testing.assert_close(loss, plain, rtol=1e-5, atol=1e-5)
    loss.backward()
    assert all(p.grad is not None for p in session.model.parameters() if p.requires_grad)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_perplexity_falls_and_what_came_before_is_scored(tmp_path: Path, method: str) -> None:
    job, corpus = text_job(tmp_path, method)
    events, session = run(job, corpus)
    scores = [event.score for event in events if isinstance(event, Evaluated)]
    assert [metric.name for metric in scores[0].metrics] == ["perplexity", "loss", "token_accuracy"]
    done = events[-1].run
    assert done.untrained_metric == scores[0].main.value and done.dev.main.value < 0.8 * done.untrained_metric
    found = TEXT.findings(session.model, session.tokenizer, session.scored("dev", session.dev), corpus.dev)
    assert len(found.samples) == 4 and all(sample.prompt and sample.expected for sample in found.samples)
    # Perplexity of the dev blocks by transformers alone.
    losses, tokens = 0.0, 0
    with torch.inference_mode():
        for start, end in zip(session.dev.starts, session.dev.starts[1:], strict=False):
            ids = torch.tensor([session.dev.ids[start:end].tolist()])
            losses += float(session.model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
            tokens += ids.shape[1] - 1
    assert done.dev.main.value == pytest.approx(np.exp(losses / tokens), rel=1e-4)

    folder = tmp_path / "artifact"
    folder.mkdir()
    base = Base(name=str(job.source.folder), hub_id="", revision="", family=job.spec.family,
                weights_sha256=weights_hash(job.source.folder))  # fmt: skip
    artifact_facts = ArtifactFacts(
        adapter=method == "lora", task="text", labels=(), columns=("text",), label_column="", outputs=0,
        base=base, strategy=job.strategy, trimtab_version="0",
    )  # fmt: skip
    trained = TEXT.outputs(session.model, session.dev.first(2), session.collator)
    save_artifact(folder, artifact_facts, session.model, session.tokenizer, job.spec)
    artifact = open_artifact(folder)
    require_equal(artifact, session.dev.first(2), trained)
    assert artifact.score(corpus.dev).main.value == pytest.approx(done.dev.main.value)
    (written,) = artifact.predict(TEXT.asked(("good bad fine",), None, ("text",)))
    assert written.text
    if method == "full":
        theirs = AutoModelForCausalLM.from_pretrained(folder).eval()
        ids = torch.tensor([[*session.tokenizer("good bad fine")["input_ids"]]])
        plain = theirs.generate(ids, do_sample=False, max_new_tokens=8, pad_token_id=0)
        begun = session.tokenizer.decode(plain[0, ids.shape[1] :], skip_special_tokens=True)
        assert begun and written.text.startswith(begun)


def test_the_largest_step_is_a_batch_of_whole_blocks(tmp_path: Path) -> None:
    job, _ = text_job(tmp_path)
    machine = Machine(name="cpu", device=Device(name="cpu", kind="cpu", memory_bytes=1, usable_bytes=1))
    question = question_of(job.strategy, job.spec, job.data, machine)
    assert (question.task, question.rows, question.length, question.learned) == ("text", 4, 24, 23)


def test_a_tokenizer_without_an_end_of_text_is_refused(tmp_path: Path) -> None:
    from tiny_models import tiny_model

    with pytest.raises(ModelError, match="TT-M069"):
        TEXT.tokenizer(replace(tiny_model(tmp_path, "llama")))
