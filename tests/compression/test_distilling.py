"""Distillation from files to events: what is learned, from whom, and that it resumes to the bit."""

import gc
import json
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tiny_chat import chat_job
from tiny_distilling import INSIDE, SOFT, distil_job, distilled, tiny_teacher
from tiny_embed import embed_job
from tiny_models import tiny_model
from tiny_tagging import tag_job
from tiny_training import assert_equal, facts, tiny_job, trained
from trimtab.compression.augment import Noise
from trimtab.compression.distillation import DistillLoss, FromFile, Live
from trimtab.compression.distilling import DistilJob, Distillation
from trimtab.compression.layers import Seen, Watched
from trimtab.compression.soft_losses import kl_sum
from trimtab.compression.student import FewerLayers, OtherModel, OtherShape, Student
from trimtab.compression.teacher import TeacherAsked, ask, kept_outputs
from trimtab.compression.unlabelled import with_unlabelled
from trimtab.data import Corpus
from trimtab.errors import BadInput, ModelError, UsageError
from trimtab.evaluation import OBJECTIVES, open_artifact, save_artifact
from trimtab.models import read_spec
from trimtab.training import Event, Finished, Job, Saved, Session, Started, Step

Make = Callable[[Path], tuple[Job, Corpus]]
NARROW = OtherShape(layers=2, hidden=16, heads=2, ffn=24, seed=3)
JOBS: dict[str, Make] = {
    "classify": tiny_job,
    "tag": tag_job,
    "instruct": lambda folder: chat_job(folder, "full"),
    "embed": embed_job,
}


def dropped(job: DistilJob, teacher: Path, corpus: Corpus, last: type[Event], count: int) -> None:
    """A distillation that ends after `count` events of a class, as if the process had vanished."""
    events = iter(Distillation(job, open_artifact(teacher), corpus))
    for event in events:
        count -= isinstance(event, last)
        if count == 0:
            break
    events.close()  # type: ignore[attr-defined]


def losses(events: list[Event]) -> list[float]:
    return [event.loss for event in events if isinstance(event, Step)]


def finished(events: list[Event]) -> Finished:
    (event,) = (event for event in events if isinstance(event, Finished))
    return event


# -------------------------------------------------------------------- the loss of a batch


def prepared(job: DistilJob, teacher: Path, corpus: Corpus) -> Session:
    """The session before its first step, and the teacher still there."""
    distillation = Distillation(job, open_artifact(teacher), corpus)
    for event in (events := iter(distillation)):
        if isinstance(event, Started):
            break
    session = distillation.session
    assert session is not None
    events.close()  # type: ignore[attr-defined]
    return session


ROWS = np.array([3, 0, 7, 12])


@pytest.mark.parametrize("loss", [SOFT, DistillLoss(hard_share=0.2, soft_share=3.0, temperature=5.0)])
def test_the_loss_is_the_tasks_and_the_kl_of_the_teachers_outputs(loss: DistillLoss, tmp_path: Path) -> None:
    job, corpus = tiny_job(tmp_path, dropout=0.0)
    folder = tiny_teacher(tmp_path, job, corpus)
    session = prepared(distil_job(job, loss=loss), folder, corpus)
    teacher, task = open_artifact(folder), OBJECTIVES["classify"]
    examples = list(corpus.train)
    wanted = torch.from_numpy(teacher.logits(teacher.encode([examples[row] for row in ROWS])))
    inputs, targets = session.inputs(ROWS)
    found = session.objective.loss_sum(session.model, inputs, targets, job.strategy)
    plain = {name: x for name, x in inputs.items() if name in ("input_ids", "attention_mask", "token_type_ids")}
    given = session.model(**plain).logits
    temperature = loss.temperature
    kl = F.kl_div(F.log_softmax(given / temperature, 1), F.softmax(wanted / temperature, 1), reduction="batchmean")
    expected = loss.hard_share * F.cross_entropy(given, targets) + loss.soft_share * temperature**2 * kl
    torch.testing.assert_close(found / len(ROWS), expected, rtol=1e-4, atol=1e-5)
    assert task.weight(session.train, ROWS) == len(ROWS)


@pytest.mark.parametrize("name", list(JOBS))
def test_a_loss_is_the_same_however_a_batch_is_cut(name: str, tmp_path: Path) -> None:
    job, corpus = JOBS[name](tmp_path)
    loss = replace(INSIDE, soft_share=0.0 if name == "embed" else 0.5, hard_share=0.0 if name == "embed" else 0.5)
    session = prepared(distil_job(job, NARROW, loss), tiny_teacher(tmp_path, job, corpus), corpus)
    session.model.eval()

    def loss_of(rows: np.ndarray) -> float:
        return float(session.objective.loss_sum(session.model, *session.inputs(rows), job.strategy).detach())

    whole = loss_of(ROWS)
    assert whole > 0
    assert sum(loss_of(rows) for rows in np.split(ROWS, 2)) == pytest.approx(whole, rel=1e-4)


def test_a_student_that_is_its_teacher_has_nothing_to_learn_from_it(tmp_path: Path) -> None:
    for name, make in JOBS.items():
        job, corpus = make(tmp_path / name)
        loss = replace(INSIDE, hard_share=0.0)
        folder = tiny_teacher(tmp_path / name, job, corpus)
        session = prepared(distil_job(job, FewerLayers(layers=3), loss), folder, corpus)
        session.model.eval()
        found = session.objective.loss_sum(session.model, *session.inputs(ROWS), job.strategy)
        assert float(found.detach()) == pytest.approx(0.0, abs=1e-3), name


def test_live_and_asked_once_say_the_same(tmp_path: Path) -> None:
    for name in ("classify", "tag", "embed"):
        job, corpus = JOBS[name](tmp_path / name)
        teacher = open_artifact(tiny_teacher(tmp_path / name, job, corpus))
        kept = kept_outputs(teacher, teacher.facts.outputs or 32, corpus.train, "data", tmp_path / name)
        (asked,) = ask(teacher, corpus.train, kept)
        assert (asked.rows, asked.total) == (52, 52)
        task, encoded = OBJECTIVES[job.data.task], teacher.encode(corpus.train)
        collator = task.collator(teacher.tokenizer, job.strategy.max_length)
        inputs, targets = collator.batch(encoded, ROWS), task.targets(encoded, collator, ROWS)
        from_file = FromFile(kept.open())
        once = from_file.answer(task, inputs, from_file.beside(task, encoded, collator, ROWS), targets)
        live = Live(teacher.model, teacher.spec, watched=Watched()).answer(task, inputs, {}, targets)
        torch.testing.assert_close(once.given, live.given.float(), rtol=1e-4, atol=1e-5)
        assert live.seen == Seen()


def test_the_teacher_is_asked_once(tmp_path: Path) -> None:
    job, corpus = tiny_job(tmp_path)
    teacher = open_artifact(tiny_teacher(tmp_path, job, corpus))
    kept = kept_outputs(teacher, 2, corpus.train, corpus.fingerprint, tmp_path)
    assert [event.rows for event in ask(teacher, corpus.train, kept)] == [52]
    assert kept.open().shape == (52, 2) and kept.path.stat().st_size == 4 * 52 * 2
    before = kept.path.stat().st_mtime_ns
    (again,) = ask(teacher, corpus.train, kept)
    assert again == TeacherAsked(rows=52, total=52, seconds=0.0) and kept.path.stat().st_mtime_ns == before
    assert kept_outputs(teacher, 2, corpus.train, "other data", tmp_path) != kept
    other = replace(teacher, facts=replace(teacher.facts, files=(("model.safetensors", 1, "0"),)))
    assert kept_outputs(other, 2, corpus.train, corpus.fingerprint, tmp_path) != kept


def test_a_teacher_that_computes_no_numbers_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    job, corpus = tiny_job(tmp_path)
    teacher = open_artifact(tiny_teacher(tmp_path, job, corpus))
    with torch.no_grad():
        teacher.model.classifier.bias.fill_(float("nan"))
    with pytest.raises(ModelError, match="TT-C110"):
        list(Distillation(distil_job(job), teacher, corpus))
    assert not list(job.folder.glob("*teacher*"))


# -------------------------------------------------------------------- whole distillations


def longer(job: Job, epochs: int = 6) -> Job:
    schedule = replace(job.strategy.schedule, epochs=epochs, learning_rate=2e-3)
    return replace(job, strategy=replace(job.strategy, schedule=schedule))


def comes_nearer(events: list[Event], epochs: int = 6) -> bool:
    """Whether the loss of the last epoch is well below that of the first, every row counting once in either."""
    seen = losses(events)
    steps = len(seen) // epochs
    return float(np.mean(seen[-steps:])) < 0.8 * float(np.mean(seen[:steps]))


@pytest.mark.parametrize(("name", "loss"), [("classify", SOFT), ("classify", INSIDE), ("instruct", SOFT)])
def test_a_student_comes_nearer_to_its_teacher(name: str, loss: DistillLoss, tmp_path: Path) -> None:
    job, corpus = JOBS[name](tmp_path)
    ours = distil_job(longer(job), loss=replace(loss, hard_share=0.0))
    events, session = distilled(ours, tiny_teacher(tmp_path, job, corpus), corpus)
    assert comes_nearer(events)
    assert session.objective is OBJECTIVES[job.data.task]
    assert finished(events).run.steps == 6 * 13


def test_the_student_is_an_ordinary_artifact_without_the_projection(tmp_path: Path) -> None:
    job, corpus = tiny_job(tmp_path)
    teacher = tiny_teacher(tmp_path, job, corpus)
    session = prepared(distil_job(job, NARROW, INSIDE), teacher, corpus)
    name = "distilling_projection.weight"
    assert name in session.opened and name in session.optimizer.masters
    made = session.model.get_parameter(name).detach().clone()
    assert made.shape == (32, 16)

    _, session = distilled(distil_job(job, NARROW, INSIDE), teacher, corpus)
    assert name not in dict(session.model.named_parameters()) and name not in session.opened
    assert not torch.equal(session.optimizer.masters[name], made), "it has learned"
    session.open_all()
    out = tmp_path / "artifact"
    out.mkdir()
    before = session.objective.outputs(session.model, session.dev, session.collator)
    saved = replace(open_artifact(teacher).facts, strategy=job.strategy)
    save_artifact(out, saved, session.model, session.tokenizer, session.job.spec)
    opened = open_artifact(out)
    assert not [key for key in opened.model.state_dict() if "distilling" in key]
    np.testing.assert_allclose(opened.logits(session.dev), before, rtol=1e-5, atol=1e-5)


def test_a_teacher_that_is_asked_once_is_gone_while_the_student_learns(tmp_path: Path) -> None:
    job, corpus = tiny_job(tmp_path)
    folder = tiny_teacher(tmp_path, job, corpus)
    for loss, gone_at_start in ((SOFT, True), (INSIDE, False)):
        teacher = open_artifact(folder)
        model = weakref.ref(teacher.model)
        distillation = Distillation(
            replace(distil_job(job, loss=loss), folder=tmp_path / str(gone_at_start)), teacher, corpus
        )
        del teacher
        for event in distillation:
            if isinstance(event, Started):
                gc.collect()
                assert (model() is None) == gone_at_start
        gc.collect()
        assert model() is None


@pytest.mark.parametrize(
    ("name", "student", "loss"),
    [
        ("classify", FewerLayers(layers=2), SOFT),
        ("classify", NARROW, INSIDE),
        ("instruct", FewerLayers(layers=2), INSIDE),
    ],
    ids=["classify", "classify-projected", "instruct"],
)
def test_a_resumed_distillation_ends_with_the_same_bits(
    name: str, student: Student, loss: DistillLoss, tmp_path: Path
) -> None:
    job, corpus = JOBS[name](tmp_path)
    teacher = tiny_teacher(tmp_path, job, corpus)
    ours = distil_job(job, student, loss, save_steps=5)
    _, straight = distilled(replace(ours, folder=tmp_path / "straight"), teacher, corpus)
    dropped(ours, teacher, corpus, Saved, 3 if name == "instruct" else 2)
    events, resumed = distilled(replace(ours, resume=True), teacher, corpus)
    assert next(event for event in events if isinstance(event, Started)).resumed_step == 10
    assert all(event.seconds == 0.0 for event in events if isinstance(event, TeacherAsked))
    assert_equal(trained(resumed), trained(straight))


def test_a_distillation_is_not_resumed_with_another_loss_or_teacher(tmp_path: Path) -> None:
    job, corpus = tiny_job(tmp_path)
    teacher = tiny_teacher(tmp_path, job, corpus)
    ours = distil_job(job, save_steps=5)
    dropped(ours, teacher, corpus, Saved, 1)
    other = replace(ours, resume=True, loss=replace(SOFT, temperature=3.0))
    with pytest.raises(BadInput, match=r"TT-T021.*what is learned from the teacher"):
        distilled(other, teacher, corpus)
    another = tiny_teacher(tmp_path / "another", job, corpus, seed=5)
    with pytest.raises(BadInput, match=r"TT-T021.*what is learned from the teacher"):
        distilled(replace(ours, resume=True), another, corpus)


# -------------------------------------------------------------------- rows without labels


def test_texts_without_labels_are_learned_from_the_teacher_alone(tmp_path: Path) -> None:
    job, corpus = tiny_job(tmp_path, dropout=0.0)
    (tmp_path / "more.txt").write_text("good film\n\nbad plot and music\n", encoding="utf-8")
    noise = Noise(copies=2, seed=4)
    more = with_unlabelled(corpus, file=tmp_path / "more.txt", noise=noise, mask="[UNK]")
    assert (len(corpus.train), len(more.train), len(more.dev)) == (52, 52 + 2 + 104, 16)
    assert more.fingerprint != corpus.fingerprint
    assert with_unlabelled(corpus, noise=noise).fingerprint != more.fingerprint
    assert with_unlabelled(corpus) is corpus
    ours = replace(distil_job(job), data=facts(more, job.source))
    assert ours.data.train_rows == 158 and ours.data.label_counts == job.data.label_counts

    teacher = tiny_teacher(tmp_path, job, corpus)
    session = prepared(ours, teacher, more)
    assert session.train.labels.tolist()[52:] == [-1] * 106 and min(session.train.labels[:52]) == 0
    rows = np.array([0, 52, 53, 60])
    inputs, targets = session.inputs(rows)
    found = session.objective.loss_sum(session.model, inputs, targets, job.strategy)
    wanted = inputs.pop("teacher_outputs")
    given = session.model(**inputs).logits
    soft = kl_sum(given, wanted, SOFT.temperature)
    expected = 0.5 * F.cross_entropy(given[:1], targets[:1], reduction="sum") + 0.5 * soft
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    only = session.objective.loss_sum(session.model, *session.inputs(rows[1:]), job.strategy)
    only.backward()
    assert only.isfinite()

    events, _ = distilled(replace(ours, folder=tmp_path / "whole"), teacher, more)
    assert finished(events).run.steps == 2 * -(-158 // 4)


def test_rows_that_cannot_do_without_a_target_are_refused(tmp_path: Path) -> None:
    _, corpus = tag_job(tmp_path)
    with pytest.raises(UsageError, match="TT-C109"):
        with_unlabelled(corpus, noise=Noise())


# -------------------------------------------------------------------- what does not go together


def other_words(folder: Path) -> OtherModel:
    """A model whose tokenizer gives other ids."""
    source = tiny_model(folder / "other", "bert", layers=1)
    tokenizer = json.loads((source.folder / "tokenizer.json").read_text())
    vocab = tokenizer["model"]["vocab"]
    names = [name for name in vocab if not name.startswith("[")]
    for name, number in zip(names, reversed([vocab[name] for name in names]), strict=True):
        vocab[name] = number
    (source.folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return OtherModel(model=source)


def test_a_student_with_other_tokens_learns_from_outputs_alone(tmp_path: Path) -> None:
    job, corpus = tiny_job(tmp_path)
    teacher, student = tiny_teacher(tmp_path, job, corpus), other_words(tmp_path)
    with pytest.raises(ModelError, match="TT-C112"):
        distilled(distil_job(job, student, INSIDE), teacher, corpus)
    assert not (job.folder / "checkpoints").exists()
    ours = distil_job(longer(job), student, replace(SOFT, hard_share=0.0))
    events, session = distilled(replace(ours, data=facts(corpus, student.model)), teacher, corpus)
    assert session.model.config.num_hidden_layers == 1 and comes_nearer(events)


@pytest.mark.parametrize(
    ("loss", "code"),
    [
        (DistillLoss(hard_share=-1.0), "TT-C106"),
        (DistillLoss(soft_share=0.0), "TT-C106"),
        (DistillLoss(temperature=0.0), "TT-C107"),
        (DistillLoss(relation_heads=0), "TT-C107"),
    ],
)
def test_losses_that_are_none_are_refused(loss: DistillLoss, code: str) -> None:
    with pytest.raises(UsageError, match=code):
        loss.check()


def test_a_teacher_of_other_labels_is_refused(tmp_path: Path) -> None:
    job, corpus = tiny_job(tmp_path)
    teacher = open_artifact(tiny_teacher(tmp_path, job, corpus))
    turned = replace(teacher, facts=replace(teacher.facts, labels=("good", "bad")))
    with pytest.raises(ModelError, match=r"TT-C111.*good, bad.*bad, good"):
        distilled(distil_job(job), turned, corpus)


def test_a_live_teacher_reads_no_packed_rows(tmp_path: Path) -> None:
    job, corpus = chat_job(tmp_path, "full", packed=True)
    with pytest.raises(UsageError, match="TT-C113"):
        distilled(distil_job(job), tiny_teacher(tmp_path, job, corpus), corpus)


def test_vectors_of_another_width_are_refused(tmp_path: Path) -> None:
    job, corpus = embed_job(tmp_path)
    with pytest.raises(ModelError, match=r"TT-C114.*16.*32"):
        distilled(distil_job(job, NARROW), tiny_teacher(tmp_path, job, corpus), corpus)


def test_next_tokens_over_another_vocabulary_are_refused(tmp_path: Path) -> None:
    job, corpus = chat_job(tmp_path, "full")
    teacher = open_artifact(tiny_teacher(tmp_path, job, corpus))
    larger = replace(teacher, spec=replace(teacher.spec, vocab=65))
    with pytest.raises(ModelError, match=r"TT-C105.*64.*65"):
        distilled(distil_job(job, OtherModel(model=job.source)), larger, corpus)
    assert read_spec(job.source).vocab == 64


def test_another_student_in_the_same_folder_is_made_anew(tmp_path: Path) -> None:
    """A distillation that ended before its first checkpoint has left a student of its own kind."""
    job, corpus = tiny_job(tmp_path)
    teacher = tiny_teacher(tmp_path, job, corpus)
    dropped(distil_job(job, FewerLayers(layers=2)), teacher, corpus, Started, 1)
    _, session = distilled(distil_job(job, FewerLayers(layers=1)), teacher, corpus)
    assert session.model.config.num_hidden_layers == 1
    assert len(list(job.folder.glob("student-*"))) == 2 and len(list(job.folder.glob("teacher-*"))) == 1


def test_a_merged_teacher_is_the_same_when_a_run_is_resumed(tmp_path: Path) -> None:
    job, corpus = tiny_job(tmp_path)
    teacher = tiny_teacher(tmp_path, job, corpus, "lora")
    ours = distil_job(job, loss=INSIDE, save_steps=5)
    _, straight = distilled(replace(ours, folder=tmp_path / "straight"), teacher, corpus)
    dropped(ours, teacher, corpus, Saved, 1)
    _, resumed = distilled(replace(ours, resume=True), teacher, corpus)
    assert_equal(trained(resumed), trained(straight))
