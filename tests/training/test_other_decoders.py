"""Families that the exams leave out for time: a whole training each, and what it leaves."""

from pathlib import Path

import pytest
import torch

from tiny_models import tiny_tokenizer
from tiny_training import run, tiny_job
from trimtab import tuning
from trimtab.models import read_spec
from trimtab.training import Finished


@pytest.mark.parametrize("method", ["full", "lora", "freeze"])
@pytest.mark.parametrize("family", ["gpt_neox", "phi"])
def test_a_decoder_of_another_family_trains(family: str, method: str, tmp_path: Path) -> None:
    job, corpus = tiny_job(tmp_path, family, method)
    events, session = run(job, corpus)
    assert isinstance(events[-1], Finished)
    first, last = (events[-1].run.history[number].loss for number in (0, -1))
    assert last < first
    trained = sum(parameter.numel() for parameter in session.model.parameters() if parameter.requires_grad)
    assert trained == job.strategy.trainable_parameters(job.spec, 2)


@pytest.mark.parametrize("family", ["gpt_neox", "phi"])
def test_its_saved_model_is_read_as_it_was(family: str, tmp_path: Path) -> None:
    job, corpus = tiny_job(tmp_path, family, "full")
    _, session = run(job, corpus)
    session.model.save_pretrained(tmp_path / "saved")
    tiny_tokenizer(family).save_pretrained(tmp_path / "saved")
    source = type(job.source)(folder=tmp_path / "saved", name="saved")
    assert read_spec(source).backbone_parameters == job.spec.backbone_parameters
    again = tuning.load_classifier(source, outputs=2, pad_token_id=0)
    saved = dict(again.named_parameters())
    assert all(torch.equal(parameter, saved[name]) for name, parameter in session.model.named_parameters())
