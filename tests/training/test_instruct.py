"""Training on conversations: what is trained, the loss of a batch, what is kept, and the artifact that comes of
it."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer

from tiny_chat import METHODS, chat_job, chat_model, chat_strategy
from tiny_training import run
from trimtab import tuning
from trimtab.data import Conversation, Example, Turn
from trimtab.errors import ArtifactError, DataError, ModelError
from trimtab.evaluation import OBJECTIVES, ArtifactFacts, Base, open_artifact, require_equal, save_artifact
from trimtab.evaluation.vocabulary import require_same_logits
from trimtab.models import read_spec, weights_hash
from trimtab.training import Evaluated, Job, Session
from trimtab.training.session import prepare
from trimtab.training.step import forward_backward

ANSWERS = OBJECTIVES["instruct"]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt_neox", "phi"])
def test_trained_and_total_parameters_are_the_predicted_ones(
    tmp_path: Path, family: str, method: str, tied: bool
) -> None:
    if tied and family == "phi":
        pytest.skip("phi has a bias in its head, and never shares it")
    source = chat_model(tmp_path, family, tied=tied, layers=3)
    spec = read_spec(source)
    assert spec.tied_embeddings == tied
    strategy = chat_strategy(source, method)
    model = tuning.apply(strategy, tuning.load_language_model(source, pad_token_id=0), spec)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained == strategy.trainable_parameters(spec, 0)
    assert sum(p.numel() for p in model.parameters()) == strategy.total_parameters(spec, 0)
    head = model.get_output_embeddings().weight
    assert head.requires_grad == (method == "full")


def test_a_folder_without_a_language_model_head_is_refused(tmp_path: Path) -> None:
    from transformers import AutoModel

    source = chat_model(tmp_path, "llama")
    AutoModel.from_pretrained(tmp_path).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="lm_head"):
        tuning.load_language_model(source, pad_token_id=0)


def test_a_class_that_changes_its_logits_in_an_unknown_way_is_refused(tmp_path: Path) -> None:
    model = tuning.load_language_model(chat_model(tmp_path, "llama"), pad_token_id=0)
    require_same_logits(model)
    model.lm_head.register_forward_hook(lambda module, args, output: output * 1.5)
    with pytest.raises(ModelError, match="TT-M043"):
        require_same_logits(model)


def test_a_cut_that_leaves_no_answer_is_refused_before_the_model_loads(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tuning, "load_language_model", None)
    job, corpus = chat_job(tmp_path, max_length=3)
    with pytest.raises(DataError) as caught:
        prepare(job, corpus)
    assert caught.value.code == "TT-D107" and "train" in str(caught.value)


class Sums:
    """An optimiser as far as a step sees it."""

    loss_scale = 1.0

    def collect(self) -> None:
        pass


def batch_loss(session: Session, rows: np.ndarray, micro_batch: int) -> tuple[float, dict[str, torch.Tensor]]:
    session.model.zero_grad()
    weight = session.objective.weight(session.train, rows)
    loss = 0.0
    for start in range(0, len(rows), micro_batch):
        inputs, targets = session.inputs(rows[start : start + micro_batch])
        loss += float(
            forward_backward(
                session.model,
                inputs,
                targets,
                objective=session.objective,
                strategy=session.job.strategy,
                weight=weight,
                optimizer=Sums(),
            )
        )
    grads = {n: p.grad.to_dense().clone() for n, p in session.model.named_parameters() if p.grad is not None}
    return loss, grads


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_loss_of_a_batch_is_the_mean_over_its_answer_tokens_however_it_is_cut(
    tmp_path: Path, method: str
) -> None:
    job, corpus = chat_job(tmp_path, method, tied=True)
    session = prepare(job, corpus)
    session.model.train(False)
    rows = np.arange(7)
    loss, grads = batch_loss(session, rows, 7)
    for micro_batch in (1, 2, 4):
        cut_loss, cut_grads = batch_loss(session, rows, micro_batch)
        assert cut_loss == pytest.approx(loss, rel=1e-5)
        for name, grad in grads.items():
            torch.testing.assert_close(cut_grads[name], grad, rtol=1e-4, atol=1e-6)
    # The same by transformers' own logits and labels.
    inputs = session.collator.batch(session.train, rows)
    labels = torch.full_like(inputs["input_ids"], -100).flatten()
    places, tokens = session.objective.targets(session.train, session.collator, rows)
    labels[places + 1] = tokens
    logits = session.model(**inputs).logits[:, :-1].flatten(0, 1)
    plain = F.cross_entropy(logits, labels.view(7, -1)[:, 1:].flatten(), ignore_index=-100)
    assert plain.item() == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_a_model_learns_to_answer_and_to_stop_and_what_came_before_is_scored(tmp_path: Path, method: str) -> None:
    job, corpus = chat_job(tmp_path, method)
    job = replace(job, strategy=replace(job.strategy, schedule=replace(job.strategy.schedule, epochs=4)))
    events, _ = run(job, corpus)
    scores = [event for event in events if isinstance(event, Evaluated)]
    assert scores[0].step == 0 and scores[0].best and len(scores) == 5
    done = events[-1].run
    assert done.untrained_metric == scores[0].score.loss
    assert done.dev.main.name == "loss" and done.dev.main.lower_is_better
    assert done.dev.loss == pytest.approx(min(event.score.loss for event in scores), rel=1e-5)
    assert done.dev.loss < done.untrained_metric - 0.5
    assert done.best_step == min(scores, key=lambda event: event.score.loss).step > 0


def test_a_training_that_makes_nothing_better_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    job, corpus = chat_job(tmp_path, "full")
    schedule = replace(job.strategy.schedule, learning_rate=3.0, epochs=1)  # ruinous
    before = prepare(job, corpus).model.state_dict()
    events, session = run(
        replace(job, strategy=replace(job.strategy, schedule=schedule, max_grad_norm=0.0)), corpus
    )
    assert events[-1].run.best_step == 0
    for name, weight in session.model.state_dict().items():
        assert torch.equal(weight, before[name]), name


def artifact_of(job: Job, session: Session, folder: Path) -> None:
    facts = ArtifactFacts(
        adapter=any(part.adapter for part in job.strategy.parts),
        task="instruct",
        labels=(),
        columns=("prompt",),
        label_column="completion",
        outputs=0,
        base=Base(
            name=str(job.source.folder),
            hub_id="",
            revision="",
            family=job.spec.family,
            weights_sha256=weights_hash(job.source.folder),
        ),
        strategy=job.strategy,
        trimtab_version="0",
    )
    folder.mkdir()
    save_artifact(folder, facts, session.model, session.tokenizer, job.spec)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_the_artifact_opens_alone_and_elsewhere_and_computes_the_same(
    tmp_path: Path, method: str, tied: bool
) -> None:
    job, corpus = chat_job(tmp_path, method, tied=tied)
    _, session = run(job, corpus)
    rows = session.dev.first(6)
    trained = ANSWERS.outputs(session.model, rows, session.collator)
    folder = tmp_path / "artifact"
    artifact_of(job, session, folder)
    artifact = open_artifact(folder)
    require_equal(artifact, rows, trained)
    assert artifact.tokenizer.chat_template == session.tokenizer.chat_template
    dev = artifact.score(corpus.dev)
    assert dev.loss == pytest.approx(ANSWERS.score(session.model, session.scored("dev", session.dev)).loss)
    asked = Example((), None, Conversation((Turn("user", "good film 3 great"),)))
    (written,) = artifact.predict([asked])
    assert written.text is not None and written.label is None
    with pytest.raises(ArtifactError, match="TT-A007"):
        require_equal(artifact, rows, trained + 0.5)

    # Without Trimtab: transformers and PEFT alone, with the template that lies in the folder.
    if method == "lora":
        base = AutoModelForCausalLM.from_pretrained(job.source.folder)
        model = PeftModel.from_pretrained(base, folder)
        assert model.peft_config["default"].task_type == "CAUSAL_LM"
        assert model.peft_config["default"].modules_to_save is None
    else:
        model = AutoModelForCausalLM.from_pretrained(folder)
        assert model.generation_config.eos_token_id == [artifact.tokenizer.eos_token_id]
    for row, (start, end) in enumerate(itertools.pairwise(rows.starts)):
        with torch.inference_mode():
            theirs = model.eval()(input_ids=torch.tensor([rows.ids[start:end].tolist()])).logits[0].numpy()
        last = np.flatnonzero(rows.learned[start:end])[-1]
        np.testing.assert_allclose(trained[row], theirs[last - 1], rtol=1e-4, atol=1e-4)
    assert (
        AutoTokenizer.from_pretrained(folder)
        .apply_chat_template([{"role": "user", "content": "good"}], tokenize=False, add_generation_prompt=True)
        .endswith("<|assistant|>\n")
    )


def test_generation_stops_where_the_turn_ends(tmp_path: Path) -> None:
    job, corpus = chat_job(tmp_path, "full")
    strategy = replace(job.strategy, schedule=replace(job.strategy.schedule, epochs=12))
    _, session = run(replace(job, strategy=strategy), corpus)
    rows = session.scored("dev", session.dev)
    findings = ANSWERS.findings(session.model, session.tokenizer, rows, corpus.dev)
    assert len(findings.samples) == 4
    assert all(sample.ended and sample.tokens <= 8 for sample in findings.samples)
    assert all("[SEP]" not in sample.written for sample in findings.samples)


def test_a_resumed_training_does_not_score_the_untrained_model_again(tmp_path: Path) -> None:
    from tiny_training import run_until
    from trimtab.training import Step

    job, corpus = chat_job(tmp_path, "lora")
    run_until(replace(job, save_steps=1), corpus, Step, 3)
    events, _ = run(replace(job, resume=True), corpus)
    steps = [event.step for event in events if isinstance(event, Evaluated)]
    assert steps == [13, 26]
    assert events[-1].run.untrained_metric is not None
