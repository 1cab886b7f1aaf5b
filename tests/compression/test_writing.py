"""Answers that a teacher writes: which they are, that they are written once, and that a student learns them."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_language import language_folder

from tiny_artifacts import moved_artifact
from tiny_chat import chat_job, chat_model, write_talks
from tiny_distilling import distil_job, tiny_teacher
from tiny_training import facts, tiny_job
from trimtab.compression.distillation import DistillLoss
from trimtab.compression.distilling import Distillation
from trimtab.compression.student import OtherModel
from trimtab.compression.wanted import Distil, Lesson
from trimtab.compression.writing import AnswerLengths, AnswersWritten, answers_file, write_answers
from trimtab.compression.written import Answered, Guessed, Prompts, read_answers, with_answers
from trimtab.data import Corpus, Turn, open_corpus
from trimtab.errors import DataError, Message, ModelError, TrimtabError, UsageError
from trimtab.evaluation import OBJECTIVES, Artifact, open_artifact
from trimtab.evaluation.chat import prompt_ids
from trimtab.evaluation.generate import stop_tokens
from trimtab.methods import Schedule
from trimtab.models import ModelSource, read_spec
from trimtab.planning import Settings
from trimtab.study import Compressed, CompressRequest, Planned, compress
from trimtab.training import Saved, Started, Step

LENGTHS = AnswerLengths(most=12, whole=40, at_once=160)  # several batches
LESSON = Lesson(settings=Settings(epochs=1, batch=8, learning_rate=5e-3, seed=3))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Some of its answers end, some do not."""
    folder = tmp_path_factory.mktemp("teacher")
    source = chat_model(folder / "model", layers=3)
    return open_artifact(moved_artifact(folder / "a", source, "full", task="instruct"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return open_corpus(str(write_talks(tmp_path_factory.mktemp("talks"))))


def written(teacher: Artifact, corpus: Corpus, folder: Path, lengths: AnswerLengths = LENGTHS) -> Path:
    file = answers_file(teacher, lengths, corpus.fingerprint, folder)
    list(write_answers(teacher, Prompts(corpus.train), lengths, file))
    return file


def generated(teacher: Artifact, turns: tuple[Turn, ...], most: int) -> tuple[list[int], bool]:
    """One prompt, by transformers alone: the tokens before the end, and whether it was met."""
    ids = prompt_ids(teacher.tokenizer, turns)
    ends = stop_tokens(teacher.tokenizer)
    found = teacher.model.generate(
        torch.tensor([ids]), max_new_tokens=most, do_sample=False, eos_token_id=ends, pad_token_id=0
    )[0, len(ids) :].tolist()
    ended = found[-1] in ends
    return (found[:-1] if ended else found), ended


# -------------------------------------------------------------------- what is written


def test_answers_are_the_likeliest_tokens_of_each_prompt(
    teacher: Artifact, corpus: Corpus, tmp_path: Path
) -> None:
    answers = list(read_answers(written(teacher, corpus, tmp_path)))
    prompts = list(Prompts(corpus.train))
    assert len(answers) == len(prompts) == 52
    for turns, answer in zip(prompts, answers, strict=True):
        room = min(LENGTHS.most, LENGTHS.whole - len(prompt_ids(teacher.tokenizer, turns)))
        ids, ended = generated(teacher, turns, room)
        assert (answer.ended, answer.tokens) == (ended, len(ids) + ended)
        assert answer.text == teacher.tokenizer.decode(ids, skip_special_tokens=True).strip()
    assert 5 < sum(answer.ended for answer in answers) < 47


def test_a_prompt_without_room_is_not_asked(teacher: Artifact, corpus: Corpus, tmp_path: Path) -> None:
    prompts = [len(prompt_ids(teacher.tokenizer, turns)) for turns in Prompts(corpus.train)]
    whole = int(np.median(prompts))
    answers = list(read_answers(written(teacher, corpus, tmp_path, replace(LENGTHS, whole=whole))))
    for length, answer in zip(prompts, answers, strict=True):
        assert answer.tokens <= max(0, whole - length) and (length < whole or not answer.ended)
    assert {answer.tokens > 0 for length, answer in zip(prompts, answers, strict=True) if length < whole} == {True}


def test_an_interrupted_writing_ends_in_the_same_file(teacher: Artifact, corpus: Corpus, tmp_path: Path) -> None:
    whole = written(teacher, corpus, tmp_path / "whole").read_bytes()
    file = answers_file(teacher, LENGTHS, corpus.fingerprint, tmp_path / "torn")
    prompts, asked = Prompts(corpus.train), 0
    while not file.is_file():  # one batch each time, and half a line of the next
        writing: Iterator[AnswersWritten] = write_answers(teacher, prompts, LENGTHS, file)
        for event in writing:
            assert event.rows > asked or event.rows == event.total
            asked = event.rows
            if event.rows < event.total:
                writing.close()  # type: ignore[attr-defined]
                with (tmp_path / "torn" / f"{file.name}.part").open("ab") as part:
                    part.write(b'{"row": 1, "te')
    assert file.read_bytes() == whole and [one.name for one in file.parent.iterdir()] == [file.name]


def test_what_is_written_is_not_written_again(teacher: Artifact, corpus: Corpus, tmp_path: Path) -> None:
    file = written(teacher, corpus, tmp_path)
    file.write_text(file.read_text().replace('"ended": true', '"ended": false'))
    (event,) = write_answers(teacher, Prompts(corpus.train), LENGTHS, file)
    assert (event.rows, event.total, event.tokens) == (52, 52, 0)
    assert Answered(Prompts(corpus.train), file).counts.unfinished == 52


def test_other_teachers_prompts_and_lengths_have_other_files(
    teacher: Artifact, corpus: Corpus, tmp_path: Path
) -> None:
    files = {
        answers_file(of, lengths, fingerprint, tmp_path)
        for of in (teacher, replace(teacher, facts=replace(teacher.facts, files=())))
        for lengths in (LENGTHS, replace(LENGTHS, most=13), replace(LENGTHS, whole=41))
        for fingerprint in ("one", "two")
    }
    assert len(files) == 12


# -------------------------------------------------------------------- what is learned


def test_only_answers_that_ended_are_learned(teacher: Artifact, corpus: Corpus, tmp_path: Path) -> None:
    file, prompts = written(teacher, corpus, tmp_path), Prompts(corpus.train)
    rows, lines = Answered(prompts, file), [json.loads(line) for line in file.read_text().splitlines()]
    kept = [line for line in lines if line["ended"] and line["text"]]
    assert [line["row"] for line in lines] == list(range(52)) and 0 < len(kept) < 52
    alone, both = (with_answers(corpus, rows, "key", beside=beside) for beside in (False, True))
    assert len(alone.train) == len(kept) and len(both.train) == 52 + len(kept)
    asked = list(corpus.train)
    for line, learned in zip(kept, alone.train, strict=True):
        talk, source = learned.conversation, asked[line["row"]].conversation
        assert talk is not None and source is not None
        assert talk.prompt == source.prompt and talk.answer == line["text"]
    assert list(both.train) == [*corpus.train, *alone.train]
    assert list(alone.dev) == list(corpus.dev)
    assert len({corpus.fingerprint, alone.fingerprint, both.fingerprint}) == 3


def test_prompts_of_a_file_are_answered_too(teacher: Artifact, corpus: Corpus, tmp_path: Path) -> None:
    more = tmp_path / "more.txt"
    more.write_text("good film\nbad plot\n", encoding="utf-8")
    prompts = Prompts(corpus.train, more, corpus.columns)
    assert list(prompts)[52:] == [(Turn("user", "good film"),), (Turn("user", "bad plot"),)]
    guessed = [example.conversation for example in Guessed(prompts)]
    first = next(iter(corpus.train)).conversation
    assert len(guessed) == len(Guessed(prompts)) == 54 and first is not None
    assert guessed[52] is not None and guessed[52].answer == first.answer
    file = tmp_path / "answers.jsonl"
    *_, done = write_answers(teacher, prompts, LENGTHS, file)
    assert done.total == 54 and len(list(read_answers(file))) == 54


# -------------------------------------------------------------------- steps, whole


@pytest.fixture(autouse=True)
def calibrated_home(calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_HOME", str(shutil.copytree(calibration, tmp_path / "home")))


def asked(teacher: Artifact, tmp_path: Path, wanted: Distil, **more: object) -> CompressRequest:
    data = str(write_talks(tmp_path / "data"))
    request = CompressRequest(
        folder=str(teacher.folder), out=str(tmp_path / "out"), wanted=wanted, data=data, force=True
    )
    return replace(request, **more)  # type: ignore[arg-type]


def kinds(events: list[object]) -> tuple[Planned, Started, Compressed]:
    planned, started = (next(one for one in events if isinstance(one, kind)) for kind in (Planned, Started))
    done = events[-1]
    assert isinstance(planned, Planned) and isinstance(started, Started) and isinstance(done, Compressed)
    return planned, started, done


def byte_student(tmp_path: Path) -> Path:
    """Another tokenizer, another vocabulary, another template."""
    return language_folder(tmp_path / "bytes", hidden_size=32, num_hidden_layers=1)


def test_a_student_of_another_tokenizer_learns_what_its_teacher_wrote(teacher: Artifact, tmp_path: Path) -> None:
    student = byte_student(tmp_path)
    wanted = Distil(student=str(student), answers="teacher", answer_tokens=12, lesson=LESSON)
    long = replace(wanted, lesson=replace(LESSON, settings=replace(LESSON.settings, max_length=100)))
    events: list[object] = list(compress(asked(teacher, tmp_path, long)))
    planned, started, done = kinds(events)
    said = {one.code: one for one in events if isinstance(one, Message)}
    kept = 52 - said["TT-C601"].fact("unfinished") - said["TT-C601"].fact("empty")  # type: ignore[operator]
    assert started.rows == kept and said["TT-C602"].fact("total") == 52
    time = planned.plan.chosen.estimate.time
    assert time.teacher_seconds is not None and time.teacher_seconds.value > 0
    assert "--answers teacher --answer-tokens 12" in done.command and "--soft" not in done.command
    assert not list(tmp_path.glob(".out*"))
    found = done.change.compared[0]
    before, after = answer_loss(teacher, tmp_path), answer_loss(open_artifact(tmp_path / "out"), tmp_path)
    assert (found.metric, found.rows, found.compared_outputs) == ("answer_loss", 12, 0)
    assert found.before == pytest.approx(before, rel=1e-4) and found.after == pytest.approx(after, rel=1e-4)
    assert found.low is not None and found.low < after - before < (found.high or 0)


def answer_loss(artifact: Artifact, tmp_path: Path) -> float:
    """Mean over the answers of dev of -log p, from the whole logits."""
    talks = list(open_corpus(str(tmp_path / "data")).dev)
    encoded, total = artifact.encode(talks), 0.0
    assert encoded.learned is not None and encoded.lengths.max() < artifact.facts.strategy.max_length
    for start, end in zip(encoded.starts, encoded.starts[1:], strict=False):
        ids = torch.from_numpy(encoded.ids[start:end].astype(np.int64))
        with torch.no_grad():
            logs = artifact.model(ids[None]).logits[0].log_softmax(-1)
        taken = np.flatnonzero(encoded.learned[start + 1 : end])
        total -= float(logs[taken, ids[taken + 1]].sum())
    return total / len(talks)


def test_a_student_of_another_tokenizer_comes_nearer_to_its_teacher(
    teacher: Artifact, corpus: Corpus, tmp_path: Path
) -> None:
    """What the teacher writes to prompts that the student has not seen becomes likelier."""
    longer = replace(LENGTHS, most=36, whole=76, at_once=4096)
    file = written(teacher, corpus, tmp_path, longer)
    unseen = answers_file(teacher, longer, "dev", tmp_path)
    list(write_answers(teacher, Prompts(corpus.dev), longer, unseen))
    learned = with_answers(corpus, Answered(Prompts(corpus.train), file), file.stem, beside=False)
    job, student = chat_job(tmp_path / "job", "full")[0], byte_student(tmp_path)
    source = ModelSource(folder=student, name=str(student))
    schedule = Schedule(epochs=6, learning_rate=1e-2, warmup_share=0.1)
    ours = distil_job(
        replace(
            job,
            data=facts(learned, source),
            strategy=replace(job.strategy, max_length=200, schedule=schedule),
        ),
        OtherModel(model=source),
        DistillLoss(hard_share=1.0, soft_share=0.0),
        answers=True,
    )
    assert not ours.live and read_spec(source).vocab != teacher.spec.vocab
    distillation = Distillation(ours, teacher, learned)
    losses = [event.loss for event in distillation if isinstance(event, Step)]
    session = distillation.session
    assert session is not None and session.objective is OBJECTIVES["instruct"]
    rows = session.objective.encode(Answered(Prompts(corpus.dev), unseen), session.tokenizer, 200)
    after = session.objective.score(session.model, session.scored("dev", rows))
    assert after.n >= 3 and after.loss < 0.8 * losses[0], (after.loss, losses[0], len(losses))


def test_tokens_are_compared_on_top_where_it_is_asked(teacher: Artifact, tmp_path: Path) -> None:
    soft = replace(LESSON, hard_share=0.5, soft_share=0.5)
    wanted = Distil(layers=2, answers="both", answer_tokens=12, lesson=soft)
    _, started, done = kinds(list(compress(asked(teacher, tmp_path, wanted))))
    assert 52 < started.rows < 104 and "--soft 0.5" in done.command
    assert done.change.compared[0].metric == "loss" and done.change.compared[0].compared_outputs == 12
    (tmp_path / "other").mkdir()
    other = replace(wanted, layers=None, student=str(byte_student(tmp_path)))
    with pytest.raises(ModelError, match="TT-C112"):
        list(compress(replace(asked(teacher, tmp_path, other), out=str(tmp_path / "none"))))


def test_a_stopped_step_goes_on_with_what_was_written(teacher: Artifact, tmp_path: Path) -> None:
    request = asked(teacher, tmp_path, Distil(layers=1, answers="teacher", answer_tokens=12, lesson=LESSON))
    stopped = compress(request)
    for event in stopped:
        if isinstance(event, Started):
            break
    stopped.close()  # type: ignore[attr-defined]
    events: list[object] = list(compress(request))
    written = next(one for one in events if isinstance(one, AnswersWritten))
    assert (written.rows, written.tokens) == (52, 0)
    planned, started, _ = kinds(events)
    assert planned.data.train_rows == started.rows < 52, "the plan knows which answers ended"
    assert planned.plan.chosen.estimate.time.teacher_seconds is None


def test_an_interrupted_training_on_written_answers_goes_on(teacher: Artifact, tmp_path: Path) -> None:
    """How many answers end is not known before they are written: epochs, which follow from it, are those of the
    first run."""
    free = replace(LESSON, settings=replace(LESSON.settings, epochs=None))
    request = asked(teacher, tmp_path, Distil(layers=1, answers="teacher", answer_tokens=12, lesson=free))
    planned, steps = [], 0
    stopped = compress(request)
    for event in stopped:
        planned += [event] if isinstance(event, Planned) else []
        steps += isinstance(event, Step)
        if isinstance(event, Saved) and steps:  # it is saved untrained too
            break
    stopped.close()  # type: ignore[attr-defined]
    guessed, known = (one.data.train_rows for one in planned)
    assert guessed == 52 > known
    on = replace(request, wanted=replace(request.wanted, lesson=replace(free, resume=True)))
    again, started, _ = kinds(list(compress(on)))
    assert started.resumed_step > 0
    assert again.plan.chosen.estimate.strategy == planned[-1].plan.chosen.estimate.strategy


@pytest.mark.parametrize(
    ("wanted", "kind", "code"),
    [
        (Distil(layers=1, answers="teacher", answer_tokens=0), UsageError, "TT-C604"),
        (Distil(layers=1, answers="both", copies=2), UsageError, "TT-C605"),
        (Distil(layers=1, answers="teacher", answer_tokens=1, lesson=LESSON), DataError, "TT-C603"),
        (
            Distil(layers=1, answers="teacher", lesson=replace(LESSON, hard_share=0.0, soft_share=0.0)),
            UsageError,
            "TT-C106",
        ),
        (Distil(layers=1, unlabelled="more.txt"), UsageError, "TT-C109"),
    ],
)
def test_what_makes_no_sense_is_refused(
    wanted: Distil, kind: type[TrimtabError], code: str, teacher: Artifact, tmp_path: Path
) -> None:
    (tmp_path / "more.txt").write_text("good film\n", encoding="utf-8")
    more = wanted.unlabelled and str(tmp_path / wanted.unlabelled)
    with pytest.raises(kind, match=code):
        list(compress(asked(teacher, tmp_path, replace(wanted, unlabelled=more))))
    assert not (tmp_path / "out").exists()


def test_a_model_that_writes_no_answers_is_refused(tmp_path: Path) -> None:
    job, corpus = tiny_job(tmp_path)
    folder = tiny_teacher(tmp_path, job, corpus)
    wanted = Distil(layers=1, answers="teacher")
    with pytest.raises(UsageError, match=r"TT-C600.*classify"):
        request = CompressRequest(
            folder=str(folder), out=str(tmp_path / "out"), wanted=wanted, data=str(tmp_path / "data")
        )
        list(compress(request))
