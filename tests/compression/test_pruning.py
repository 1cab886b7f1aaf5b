"""Steps of pruning on a model that was trained: what is left opens again, is trained again, and knows its task."""

from dataclasses import replace
from pathlib import Path

import pytest

from tiny_training import run, tiny_job
from trimtab import tuning
from trimtab.artifacts import ArtifactFacts, base_of
from trimtab.compression.choose import Wanted, choose, pruned_size, shares_in_steps
from trimtab.compression.importance import DevRows, importance
from trimtab.compression.pruning import next_step, prune_model
from trimtab.compression.worth import Importance
from trimtab.evaluation import open_artifact, require_equal, save_artifact
from trimtab.models import ModelSource, ModelSpec, read_spec
from trimtab.training import Session

WANTED = Wanted(share=0.5, multiple=8)


def dev_rows(session: Session) -> DevRows:
    return DevRows(
        objective=session.objective,
        encoded=session.dev,
        collator=session.collator,
        strategy=session.job.strategy,
    )


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
    step = prune_model(session.model, job.spec, WANTED, dev_rows(session))
    predicted = pruned_size(job.spec, step.spec.shapes, job.strategy, job.data.outputs)
    outputs = session.objective.outputs(session.model, session.dev, session.collator)
    folder = kept_artifact(tmp_path / "small", session, step.spec)

    artifact = open_artifact(folder)
    require_equal(artifact, session.dev, outputs)
    assert sum(parameter.numel() for parameter in artifact.model.parameters()) == predicted.parameters
    assert artifact.spec.stored_bytes == predicted.weight_bytes

    source = ModelSource(folder=folder, name=str(folder))
    again = replace(job, source=source, spec=read_spec(source), folder=tmp_path / "again")
    assert again.spec.shapes == step.spec.shapes
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
        step = prune_model(session.model, spec, replace(wanted, share=share), dev_rows(session), original)
        wanted, original = next_step(wanted, original, step)
        spec = step.spec
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
