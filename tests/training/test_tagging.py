"""Training to tag words: which token has a word's tag, what is trained, the loss of a batch, what is kept, the
artifact that comes of it, and the dry run."""

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from torch.nn import functional as F
from transformers import AutoModelForTokenClassification, AutoTokenizer

from tiny_models import tiny_model, tiny_tokenizer
from tiny_tagging import TAGS, tag_job, tag_strategy
from tiny_training import run
from trimtab import tuning
from trimtab.data import DataSpec, Example, LengthHistogram
from trimtab.data.words import sentence_of
from trimtab.errors import ArtifactError, DataError
from trimtab.estimation.estimate import Phase
from trimtab.estimation.memory import live_phases
from trimtab.estimation.question import Question, question_of
from trimtab.evaluation import OBJECTIVES, ArtifactFacts, Base, open_artifact, require_equal, save_artifact
from trimtab.evaluation.adapter_set import AdapterSet
from trimtab.evaluation.encode_words import encode_words
from trimtab.evaluation.prediction import Entity
from trimtab.hardware.machine import Device, Machine
from trimtab.methods import METHODS, Choices, Precision, Schedule, Strategy, method_named, parts_for
from trimtab.models import read_spec, shape_named, weights_hash
from trimtab.training import Evaluated, Job, Session
from trimtab.training.dry_run import dry_run, sites_of, traced
from trimtab.training.live import LiveBytes
from trimtab.training.session import make_trainable, prepare
from trimtab.training.step import forward_backward
from trimtab.training.traced_step import trace_step

TAGGED = OBJECTIVES["tag"]
EVERY = tuple(method.name for method in METHODS)
SENTENCES = [
    Example(("good", "film", "3", "7"), (1, 0, 2, 3)),
    Example(("don't", "", "zzz.", "8"), (0, 0, 1, 2)),  # three pieces; no token; two pieces
    Example(tuple("0123456789") * 3, (2, *(3,) * 29)),  # longer than is read
]


def test_a_words_tag_stands_at_its_first_token() -> None:
    """By the tokenizer's own word ids, token by token."""
    tokenizer = tiny_tokenizer()
    encoded = encode_words(SENTENCES, tokenizer, 12)
    assert encoded.words is not None and encoded.lengths.tolist() == [6, 8, 12]
    for row, example in enumerate(SENTENCES):
        found = tokenizer(list(example.texts), is_split_into_words=True, truncation=True, max_length=12)
        word_ids = found.word_ids()
        for word, tag in enumerate(example.label):
            at = encoded.words.starts[row] + word
            place = encoded.words.places[at]
            expected = word_ids.index(word) if word in word_ids else None
            assert (None if place < 0 else place - encoded.starts[row]) == expected
            assert encoded.words.tags[at] == tag
    assert (encoded.words.places[4:8] < 0).tolist() == [False, True, False, False]
    assert (encoded.words.places[8:] < 0).sum() == 20


@pytest.mark.parametrize("left", [False, True])
def test_a_batch_points_at_its_words(left: bool) -> None:
    tokenizer = tiny_tokenizer()
    encoded = encode_words(SENTENCES, tokenizer, 12)
    collator = replace(TAGGED.collator(tokenizer, 12), left=left)
    rows = np.array([2, 0, 1])
    words, places = collator.tagged_words(encoded, rows)
    flat = collator.batch(encoded, rows)["input_ids"].flatten().numpy()
    assert flat[places].tolist() == encoded.ids[encoded.words.places[words]].tolist()
    assert words.tolist() == [*range(8, 18), *range(4), 4, 6, 7]
    assert encoded.first(1).words.starts.tolist() == [0, 4] and len(encoded.first(1).words.tags) == 4


@pytest.mark.parametrize("method", EVERY)
@pytest.mark.parametrize("family", ["bert", "distilbert", "llama"])
def test_trained_and_total_parameters_are_the_predicted_ones(tmp_path: Path, family: str, method: str) -> None:
    source = tiny_model(tmp_path, family, layers=3)
    spec = read_spec(source)
    if method_named(method).refusal(spec, Choices()) is not None:
        pytest.skip("nothing to train in it")
    strategy = tag_strategy(source, method)
    model = tuning.apply(strategy, tuning.load_tagger(source, outputs=4, pad_token_id=0), spec)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == strategy.trainable_parameters(spec, 4)
    assert tuning.count_parameters(model) == strategy.total_parameters(spec, 4)
    shapes = sum(int(np.prod(shape)) * n for part in strategy.parts for shape, n in part.trained_shapes(spec, 4))
    assert shapes == strategy.trainable_parameters(spec, 4)


class Sums:
    """An optimiser as far as a step sees it."""

    loss_scale = 1.0

    def collect(self) -> None:
        pass


@pytest.mark.parametrize("micro_batch", [7, 1, 3])
def test_the_loss_is_the_mean_over_words_however_a_batch_is_cut(tmp_path: Path, micro_batch: int) -> None:
    job, corpus = tag_job(tmp_path, max_length=12)
    session = prepare(job, corpus)
    session.model.train(False)
    rows = np.arange(7)
    weight = session.objective.weight(session.train, rows)
    loss = 0.0
    for start in range(0, 7, micro_batch):
        inputs, targets = session.inputs(rows[start : start + micro_batch])
        loss += float(
            forward_backward(
                session.model, inputs, targets, objective=session.objective, strategy=job.strategy, weight=weight,
                optimizer=Sums(),
            )
        )  # fmt: skip
    # The same by transformers: labels at first tokens, -100 elsewhere.
    inputs = session.collator.batch(session.train, rows)
    places, tags = session.objective.targets(session.train, session.collator, rows)
    labels = torch.full_like(inputs["input_ids"], -100).flatten()
    labels[places] = tags
    assert weight == len(tags) == (labels >= 0).sum()
    plain = session.model(**inputs, labels=labels.view(7, -1)).loss
    assert loss == pytest.approx(plain.item(), rel=1e-5)


def artifact_of(job: Job, session: Session, folder: Path) -> Path:
    folder.mkdir()
    strategy = job.strategy
    facts = ArtifactFacts(
        adapter=any(part.adapter for part in strategy.parts),
        task="tag",
        labels=job.data.labels,
        columns=job.data.columns,
        label_column=job.data.label_column,
        outputs=job.data.outputs,
        base=Base(
            name=str(job.source.folder), hub_id="", revision="", family=job.spec.family,
            weights_sha256=weights_hash(job.source.folder),
        ),
        strategy=strategy,
        trimtab_version="0",
    )  # fmt: skip
    save_artifact(folder, facts, session.model.eval(), session.tokenizer, job.spec)
    return folder


@pytest.mark.parametrize(("method", "least"), [("full", 0.6), pytest.param("lora", 0.25, marks=pytest.mark.soak)])
def test_a_model_learns_to_tag_and_is_what_was_saved(tmp_path: Path, method: str, least: float) -> None:
    schedule = Schedule(epochs=8, learning_rate=1e-2, warmup_share=0.1)
    job, corpus = tag_job(tmp_path, method=method, schedule=schedule)
    events, session = run(job, corpus)
    scores = [event.score for event in events if isinstance(event, Evaluated)]
    best = events[-1].run
    assert best.dev.main.name == "entity_f1" and best.dev.n == len(corpus.dev)
    assert best.dev.main.value == max(score.main.value for score in scores) > least
    assert {entry.label for entry in best.dev.classes} == {"mood", "number"}

    rows = session.dev.first(6)
    trained = TAGGED.outputs(session.model, rows, session.collator)
    folder = artifact_of(job, session, tmp_path / "artifact")
    artifact = open_artifact(folder)
    require_equal(artifact, rows, trained)
    with pytest.raises(ArtifactError, match="TT-A007"):
        require_equal(artifact, rows, trained + 0.5)
    assert artifact.score(corpus.dev).main.value == pytest.approx(best.dev.main.value)

    sentence = sentence_of("good film, 3 7 story 5.")
    (found,) = artifact.predict([Example(sentence.words, None, sentence=sentence)])
    for one in found.entities:
        assert sentence.text[one.start : one.end] == one.text and one.type in ("mood", "number")
        assert 0 < one.probability <= 1
    assert method == "lora" or "5" in {one.text for one in found.entities}
    assert [p.entities for p in artifact.predict([Example((), None)])] == [()]

    # Without Trimtab: transformers and PEFT alone.
    if method == "lora":
        base = AutoModelForTokenClassification.from_pretrained(job.source.folder, num_labels=len(TAGS))
        model = PeftModel.from_pretrained(base, folder)
        assert model.peft_config["default"].task_type == "TOKEN_CLS"
    else:
        model = AutoModelForTokenClassification.from_pretrained(folder)
        assert tuple(model.config.id2label.values()) == job.data.labels
    words = list(next(iter(corpus.dev)).texts)
    inputs = AutoTokenizer.from_pretrained(folder)(words, is_split_into_words=True, return_tensors="pt")
    with torch.inference_mode():
        theirs = model.eval()(**inputs).logits[0, 1 : 1 + len(words)].numpy()
    (at,) = [TAGGED.outputs(session.model, session.dev.first(1), session.collator)]
    np.testing.assert_allclose(theirs, at, rtol=1e-4, atol=1e-4)


def test_a_tagger_is_plugged_into_a_base_by_name(tmp_path: Path) -> None:
    """As it is alone, to the last digit."""
    job, corpus = tag_job(tmp_path, method="lora")
    folder = artifact_of(job, prepare(job, corpus), tmp_path / "artifact")
    alone = list(open_artifact(folder).predict(corpus.dev))
    adapters = AdapterSet()
    adapters.load("names", folder)
    assert list(adapters.artifact("names").predict(corpus.dev)) == alone
    text = "good film 3 7"
    assert adapters.predict([text])[0].entities == tuple(alone_on(folder, text))


def alone_on(folder: Path, text: str) -> tuple[Entity, ...]:
    artifact = open_artifact(folder)
    (found,) = artifact.predict(TAGGED.asked((text,), None, ("tokens",)))
    assert found.entities is not None
    return found.entities


def test_words_beyond_the_cut_are_outside_and_count_as_missed(tmp_path: Path) -> None:
    job, corpus = tag_job(tmp_path, max_length=8)
    session = prepare(job, corpus)
    cut = session.objective.score(session.model, session.scored("dev", session.dev))
    entities = sum(tag != 0 and not TAGS[tag].startswith("I") for e in corpus.dev for tag in _numbers(e, corpus))
    assert sum(entry.support for entry in cut.classes) == entities
    assert (session.dev.words.places < 0).any()
    with pytest.raises(DataError, match="TT-D128"):
        session.objective.require_targets(encode_words([Example(("",), (0,))], session.tokenizer, 8), "dev", 8)


def _numbers(example: Example, corpus) -> list[int]:
    return [TAGS.index(corpus.labels[tag]) for tag in example.label]


def test_findings_are_the_worst_sentences_and_the_types(tmp_path: Path) -> None:
    job, corpus = tag_job(tmp_path)
    session = prepare(job, corpus)
    found = session.objective.findings(
        session.model, session.tokenizer, session.scored("dev", session.dev), corpus.dev
    )
    assert found.confusion.labels == ("mood", "number", "O")
    assert sum(map(sum, found.confusion.counts)) == sum(len(e.texts) for e in corpus.dev)
    losses = [one.loss for one in found.worst]
    assert losses == sorted(losses, reverse=True) and len(losses) == len(corpus.dev)
    # The mean loss of the worst sentence, by transformers.
    example = next(e for e in corpus.dev if " ".join(e.texts) == found.worst[0].texts[0])
    inputs = session.tokenizer(list(example.texts), is_split_into_words=True, return_tensors="pt")
    with torch.inference_mode():
        logits = session.model.eval()(**inputs).logits[0, 1 : 1 + len(example.texts)]
    assert losses[0] == pytest.approx(F.cross_entropy(logits, torch.tensor(example.label)).item(), rel=1e-4)


# -------------------------------------------------------------------- memory

ROWS, LENGTH, ALLOWED, FORMULA_ERROR = 8, 24, 0.03, 0.07


@pytest.mark.parametrize(
    ("family", "method", "precision"),
    [
        ("bert", "lora", "fp32"),
        *(
            pytest.param(*case, marks=pytest.mark.soak)
            for case in product(("bert", "llama"), ("full", "lora", "head"), ("fp32", "bf16"))
        ),
    ],
)
def test_a_dry_run_keeps_what_the_real_step_keeps(
    tmp_path: Path, family: str, method: str, precision: Precision
) -> None:
    source = tiny_model(tmp_path, family, layers=3)
    spec = read_spec(source)
    strategy = tag_strategy(source, method, precision=precision, batch=ROWS, micro_batch=ROWS, max_length=LENGTH)
    question = Question(
        spec=spec, strategy=strategy, task="tag", outputs=9, rows=ROWS, length=LENGTH, tokens=50, evaluated=ROWS,
        device="cpu", learned=LENGTH,
    )  # fmt: skip
    dry = {site.name: site.parts.total_bytes for site in traced(question)}
    ids = torch.randint(4, 40, (ROWS, LENGTH), generator=torch.Generator().manual_seed(1))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    targets = torch.stack([torch.arange(ids.numel()), torch.zeros(ids.numel(), dtype=torch.int64)])
    model = tuning.load_tagger(source, outputs=9, pad_token_id=0)
    model, optimizer = make_trainable(model, strategy, spec, torch.device("cpu"), torch.arange(50))
    live = LiveBytes()
    with live:
        live.count([*model.parameters(), *model.buffers(), *optimizer.masters.values()])
        trace_step(live, model, optimizer, strategy, spec, inputs, targets, TAGGED)
    real = {site.name: site.parts.total_bytes for site in sites_of(live)}
    for name in ("load", "evaluate", "collect"):  # a fake sparse gradient shows no storage
        dry.pop(name, None)
        real.pop(name, None)
    assert dry == pytest.approx(real, abs=ALLOWED * max(real.values()))


def totals(phases: tuple[Phase, ...]) -> dict[str, int]:
    return {phase.name: phase.parts.total_bytes for phase in phases}


@pytest.mark.parametrize(
    ("method", "labels"),
    [
        ("full", 200),
        *(
            pytest.param(*case, marks=pytest.mark.soak)
            for case in product(("full", "lora", "freeze", "head"), (9, 200))
        ),
    ],
)
def test_the_formula_is_near_the_dry_run(method: str, labels: int) -> None:
    """A real shape; few tags and many, whose logits weigh."""
    spec = shape_named("bert-base-uncased")
    data = DataSpec(
        name="d", task="tag", columns=("tokens",), label_column="tags", labels=tuple(map(str, range(labels))),
        label_counts=(), train_rows=1000, dev_rows=10, test_rows=0, vocabulary=4000,
        lengths=LengthHistogram((*[0] * 128, 1000)),
    )  # fmt: skip
    machine = Machine(name="c", device=Device(name="c", kind="cpu", memory_bytes=2**40, usable_bytes=2**40))
    parts = parts_for(method_named(method), "tag", spec, Choices())
    strategy = Strategy(method=method, parts=parts, batch=16, micro_batch=16, max_length=128)
    counted = totals(dry_run(question_of(strategy, spec, data, machine)))
    formula = totals(live_phases(strategy, spec, data, machine))
    peak = max(formula[name] for name in counted)
    assert peak == pytest.approx(max(counted.values()), rel=FORMULA_ERROR), (formula, counted)


def test_an_artifact_says_what_it_is(tmp_path: Path) -> None:
    job, corpus = tag_job(tmp_path, method="lora")
    folder = artifact_of(job, prepare(job, corpus), tmp_path / "artifact")
    facts = json.loads((folder / "artifact.json").read_text(encoding="utf-8"))
    assert facts["task"] == "tag" and facts["labels"] == list(job.data.labels)
    assert [part["part"] for part in facts["strategy"]["parts"]] == ["lora", "token-head"]
