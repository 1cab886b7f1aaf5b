"""Steps of pruning on a model that was trained: what is left opens again, is trained again, and knows its task."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedModel

from tiny_artifacts import LABELS, TEXTS, moved_artifact, tiny_base
from tiny_training import run, tiny_job, tiny_strategy
from trimtab import tuning
from trimtab.artifacts import ArtifactFacts, base_of
from trimtab.compression.choose import Removal, choose, pruned_size, shares_in_steps
from trimtab.compression.importance import DevRows, importance
from trimtab.compression.worth import Importance
from trimtab.data.spec import Example
from trimtab.evaluation import OBJECTIVES, Opening, open_artifact, require_equal, save_artifact
from trimtab.models import ModelSource, ModelSpec, read_spec
from trimtab.models.layer_shapes import Kept, KeptLayer, LayerShapes
from trimtab.training import Session

WANTED = Removal(share=0.5, multiple=8)


def dev_rows(session: Session) -> DevRows:
    return DevRows(
        objective=session.objective,
        encoded=session.dev,
        collator=session.collator,
        strategy=session.job.strategy,
    )


def prune_model(
    model: PreTrainedModel, spec: ModelSpec, wanted: Removal, rows: DevRows, original: LayerShapes | None = None
) -> tuple[ModelSpec, Kept]:
    kept = choose(spec, importance(model, spec, rows), wanted, original)
    return tuning.shrink(model, spec, kept), kept


def kept_artifact(folder: Path, session: Session, spec: ModelSpec) -> Path:
    """The session's model as an artifact in `folder`."""
    data, strategy = session.job.data, session.job.strategy
    facts = ArtifactFacts(
        adapter=False,
        task=data.task,
        labels=data.labels,
        columns=("text",),
        label_column="label",
        outputs=data.outputs,
        base=base_of(session.job.source, session.job.spec.family),
        strategy=strategy,
        trimtab_version="0",
    )
    folder.mkdir()
    save_artifact(folder, facts, session.model, session.tokenizer, spec)
    return folder


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_a_pruned_model_is_an_artifact_that_can_be_trained_again(tmp_path: Path, family: str) -> None:
    job, corpus = tiny_job(tmp_path, family)
    _, session = run(job, corpus)
    left, _ = prune_model(session.model, job.spec, WANTED, dev_rows(session))
    predicted = pruned_size(job.spec, left.shapes, job.strategy, job.data.outputs)
    outputs = session.objective.outputs(session.model, session.dev, session.collator)
    folder = kept_artifact(tmp_path / "small", session, left)

    artifact = open_artifact(folder)
    require_equal(artifact, session.dev, outputs)
    assert sum(parameter.numel() for parameter in artifact.model.parameters()) == predicted.parameters
    assert artifact.spec.stored_bytes == predicted.weight_bytes

    source = ModelSource(folder=folder, name=str(folder))
    again = replace(job, source=source, spec=read_spec(source), folder=tmp_path / "again")
    assert again.spec.shapes == left.shapes
    _, recovered = run(again, corpus)
    rows = recovered.scored("train", recovered.train)
    pruned, trained = (session.objective.score(model, rows).loss for model in (artifact.model, recovered.model))
    assert trained < 0.95 * pruned


def test_steps_take_what_one_step_takes_in_all(tmp_path: Path) -> None:
    job, corpus = tiny_job(tmp_path, "bert")
    _, session = run(job, corpus)
    wanted, spec, original = replace(WANTED, layers=1), job.spec, job.spec.shapes
    sizes = []
    for share in shares_in_steps(WANTED.share, 2):
        spec, kept = prune_model(session.model, spec, replace(wanted, share=share), dev_rows(session), original)
        wanted, original = replace(wanted, layers=0), original.only(layer.number for layer in kept.layers)
        sizes.append((len(spec.shapes), spec.shapes.heads, spec.shapes.neurons))
    assert sizes == [(2, 6, 96), (2, 4, 64)]


def test_less_is_lost_than_by_what_is_worth_most(tmp_path: Path) -> None:
    """Importance finds what the task needs: with it turned round the loss is larger."""
    losses = []
    for sign in (1, -1):
        job, corpus = tiny_job(tmp_path / str(sign), "bert", dropout=0.0)
        _, session = run(job, corpus)
        worth = importance(session.model, job.spec, dev_rows(session))
        turned = Importance(
            groups=tuple(sign * layer for layer in worth.groups),
            neurons=tuple(sign * layer for layer in worth.neurons),
        )
        tuning.shrink(session.model, job.spec, choose(job.spec, turned, WANTED))
        score = session.objective.score(session.model, session.scored("dev", session.dev))
        losses.append(score.loss)
    assert losses[0] < losses[1]


@pytest.mark.parametrize("method", ["lora", "adapter", "bitfit", "ia3"])
def test_what_is_trained_beside_a_pruned_base_opens_again(tmp_path: Path, method: str) -> None:
    """Adapters of layers that are not alike, held to their base before it is loaded."""
    whole = tiny_base(tmp_path, "bert")
    model, spec = tuning.load_encoder(whole, pad_token_id=0), read_spec(whole)
    layers = (
        KeptLayer(number=0, groups=(1,), neurons=tuple(range(20))),
        KeptLayer(number=1, groups=(0, 2, 3), neurons=tuple(range(7, 64))),
    )
    tuning.shrink(model, spec, Kept(layers=layers))
    shutil.copytree(whole.folder, tmp_path / "small")
    model.save_pretrained(tmp_path / "small")
    base = ModelSource(folder=tmp_path / "small", name=str(tmp_path / "small"))
    artifact = open_artifact(moved_artifact(tmp_path / "out", base, method))
    assert not artifact.spec.shapes.even
    assert np.isfinite(artifact.logits(artifact.encode([Example((text,), 0) for text in TEXTS]))).all()


@pytest.mark.model
def test_a_real_encoder_is_as_large_as_was_said(tmp_path: Path, real_model: Callable[[str], Path]) -> None:
    source = ModelSource(folder=real_model("all-minilm-l6-v2"), name="minilm")
    objective, spec, strategy = OBJECTIVES["classify"], read_spec(source), tiny_strategy(source)
    tokenizer = objective.tokenizer(source)
    model = objective.model(Opening(source=source, outputs=2, pad_token_id=0, labels=LABELS))
    encoded = objective.encode([Example((text,), number % 2) for number, text in enumerate(TEXTS)], tokenizer, 24)
    rows = DevRows(
        objective=objective, encoded=encoded, collator=objective.collator(tokenizer, 24), strategy=strategy
    )
    left, _ = prune_model(model, spec, Removal(share=0.4), rows)
    size = pruned_size(spec, left.shapes, strategy, 2)
    model.save_pretrained(tmp_path / "small")
    small = ModelSource(folder=tmp_path / "small", name="small")
    again = objective.model(Opening(source=small, outputs=2, pad_token_id=0, labels=LABELS))
    assert sum(parameter.numel() for parameter in again.parameters()) == size.parameters
    assert (left.shapes.heads, size.weight_bytes) == (43, read_spec(small).stored_bytes)
    outputs = (objective.outputs(one, encoded, rows.collator) for one in (model, again))
    assert np.array_equal(*outputs)
