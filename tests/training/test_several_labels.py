"""Training on rows of several labels: the loss against transformers' own, what is learned, said and kept."""

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tiny_models import WORDS, tiny_model
from tiny_training import facts, run, tiny_strategy
from trimtab.data import Corpus, Example, open_corpus
from trimtab.evaluation import OBJECTIVES, ArtifactFacts, Base, open_artifact, require_equal, save_artifact
from trimtab.evaluation.loss import several_labels_loss
from trimtab.evaluation.targets import SeveralLabels
from trimtab.methods import Schedule, Strategy
from trimtab.models import read_spec, weights_hash
from trimtab.training import Evaluated, Job

SEVERAL = OBJECTIVES["multilabel"]
LABELS = ("bad", "film", "good")


def several_job(folder: Path, **changed: object) -> tuple[Job, Corpus]:
    """Which of three words stand in the text?"""
    draw, data = random.Random(0), folder / "data"
    data.mkdir()
    for split, count in {"train": 64, "dev": 20}.items():
        lines = []
        for _ in range(count):
            there = [label for label in LABELS if draw.random() < 0.5]
            words = [*draw.choices(WORDS[12:], k=draw.randint(3, 8)), *there]
            draw.shuffle(words)
            lines.append(json.dumps({"text": " ".join(words), "labels": there}))
        (data / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    source = tiny_model(folder / "model", layers=2)
    corpus = open_corpus(str(data))
    strategy = tiny_strategy(source, schedule=Schedule(epochs=8, learning_rate=3e-3, warmup_share=0.1))
    job = Job(
        source=source, spec=read_spec(source), data=facts(corpus, source), strategy=replace(strategy, **changed),
        folder=folder / "out", threads=1,
    )  # fmt: skip
    return job, corpus


LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 1.0], [-1.0, 3.0, 0.0]])
TARGETS = torch.tensor([[0, 2], [-1, -1], [1, -1]])
HOT = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [(), (0.5, 1.0, 3.0)])
def test_the_loss_is_binary_cross_entropy_a_label(smoothing: float, weights: tuple[float, ...]) -> None:
    strategy = Strategy(method="full", parts=(), label_smoothing=smoothing, class_weights=weights)
    wanted = HOT * (1 - smoothing) + 0.5 * smoothing
    shares = torch.sigmoid(LOGITS)
    by_hand = -(wanted * shares.log() + (1 - wanted) * (1 - shares).log())
    by_hand = (by_hand * torch.tensor(weights or (1.0, 1.0, 1.0))).mean(1).sum()
    assert several_labels_loss(LOGITS, TARGETS, strategy).item() == pytest.approx(by_hand.item(), rel=1e-5)
    if not smoothing and not weights:
        theirs = F.binary_cross_entropy_with_logits(LOGITS, HOT) * len(LOGITS)
        assert several_labels_loss(LOGITS, TARGETS, strategy).item() == pytest.approx(theirs.item(), rel=1e-6)
        losses = SeveralLabels().losses(LOGITS.numpy(), TARGETS.numpy())
        assert losses.sum() == pytest.approx(theirs.item(), rel=1e-6)


def test_labels_are_learned_said_and_kept(tmp_path: Path) -> None:
    job, corpus = several_job(tmp_path)
    assert (corpus.task, corpus.labels) == ("multilabel", LABELS)
    events, session = run(job, corpus)
    scores = [event.score for event in events if isinstance(event, Evaluated)]
    best = events[-1].run.dev
    assert best.main.name == "micro_f1" and best.main.value == max(score.main.value for score in scores) > 0.75
    assert [entry.label for entry in best.classes] == list(LABELS)

    rows = session.dev.first(6)
    trained = SEVERAL.outputs(session.model, rows, session.collator)
    found = SEVERAL.findings(session.model, session.tokenizer, session.scored("dev", session.dev), corpus.dev)
    assert found.confusion is None and found.worst[0].loss == max(one.loss for one in found.worst)
    by_text = {example.texts: example.label for example in corpus.dev}
    for one in found.worst:
        assert one.expected == (", ".join(LABELS[n] for n in by_text[one.texts]) or "–")

    folder = tmp_path / "artifact"
    folder.mkdir()
    base = Base(
        name=str(job.source.folder), hub_id="", revision="", family="bert",
        weights_sha256=weights_hash(job.source.folder),
    )  # fmt: skip
    facts_of = ArtifactFacts(
        adapter=False, task="multilabel", labels=LABELS, columns=("text",), label_column="labels", outputs=3,
        base=base, strategy=job.strategy, trimtab_version="0",
    )  # fmt: skip
    save_artifact(folder, facts_of, session.model.eval(), session.tokenizer, job.spec)
    artifact = open_artifact(folder)
    require_equal(artifact, rows, trained)
    assert artifact.score(corpus.dev).main.value == pytest.approx(best.main.value)

    # Without Trimtab, as transformers' own pipeline of several labels has it.
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert model.config.problem_type == "multi_label_classification"
    text = "good film 3 story"
    inputs = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.inference_mode():
        shares = torch.sigmoid(model.eval()(**inputs).logits[0]).numpy()
    (said,) = artifact.predict([Example((text,), None)])
    expected = dict(zip(LABELS, shares, strict=True))
    assert said.label is None and dict(said.scores) == pytest.approx(expected, abs=1e-5)
    assert {label for label, _ in said.labels} == {LABELS[n] for n in np.flatnonzero(shares > 0.5)}
