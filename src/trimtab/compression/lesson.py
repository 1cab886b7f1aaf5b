"""The training inside a step: a student learns from the model the step began with, and becomes what the step
makes.

The plan, the loop, its events, resume and retreat are those of every training. Leaves out: which student
(steps/), and holding it to its teacher (carrying).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from trimtab import planning
from trimtab.artifacts import Base
from trimtab.compression.augment import Noise
from trimtab.compression.distillation import DistillLoss
from trimtab.compression.distilling import DistilJob, Distillation, device, teacher_facts
from trimtab.compression.recipe import Happening, Making, PlannedLesson
from trimtab.compression.student import OtherModel, Student
from trimtab.compression.unlabelled import with_unlabelled
from trimtab.compression.wanted import AnswersOf, Lesson
from trimtab.compression.writing import AnswerLengths, AnswersWritten, answers_file, write_answers
from trimtab.compression.written import Answered, Guessed, Prompts, with_answers
from trimtab.data import Corpus, content_hash, count_tokens, describe
from trimtab.data.spec import WRITING_TOKENS, DataSpec
from trimtab.errors import DataError, Message, ModelError, UsageError, message
from trimtab.estimation import Writing, estimate
from trimtab.evaluation import Artifact, open_artifact, require_equal, save_artifact
from trimtab.models.spec import ModelSpec
from trimtab.planning import Plan, Request, Settings
from trimtab.training import Session

_GATE_ROWS = 32
_TOLD = 20  # times, of a writing
_GPU_TIMES = 4  # as many tokens at once as on a CPU


@dataclass(frozen=True, kw_only=True, slots=True)
class Further:
    """Texts without labels to learn from besides: those of a file, and noisy `copies` of every training text.
    `answers`: whose are learned by a chat model; those that the teacher writes have `answer_tokens` tokens at
    most, and a file of prompts is answered too."""

    file: Path | None = None
    copies: int = 0
    answers: AnswersOf = "data"
    answer_tokens: int = 512

    @property
    def writes(self) -> bool:
        return self.answers != "data"


def learn(
    making: Making,
    student: Student,
    lesson: Lesson,
    folder: Path,
    further: Further | None = None,
    *,
    base: Base | None = None,
) -> Iterator[Happening]:
    """Train `student` by what the parent of `making` says, and save the best of it as an artifact in `folder`.
    `base`: the model that it is of, where that is not the parent's.

    Raises UsageError TT-C600 for answers of a task that has none; DataError TT-C603 where none ended; NoPlan (exit
    3), Diverged (4), Interrupted (130, 143) after a checkpoint in `making.work`; what `Distillation` raises.
    """
    further = further or Further()
    if further.writes and making.facts.task != "instruct":
        raise UsageError("TT-C600", task=making.facts.task)
    teacher = making.open()
    sheet = _sheet(making, teacher, lesson, further) if further.writes else None
    corpus = _corpus(making, teacher, lesson, further) if sheet is None else sheet.planned()
    data = _described(corpus, teacher, student)
    spec = student.spec(teacher.spec)
    if data.task == "embed" and spec.hidden != teacher.spec.hidden:  # nothing could be held to its teacher
        raise ModelError("TT-C114", student=spec.hidden, teacher=teacher.spec.hidden)
    job = _job(making, student, lesson, data, further)
    plan = _plan(making, spec, job, teacher, lesson.settings, sheet)
    yield PlannedLesson(plan=plan, model=spec, data=data, machine=making.machine)
    if sheet is not None:
        guessed = not sheet.file.is_file()
        yield from _write(sheet, job)
        corpus = sheet.corpus()
        job = replace(job, data=_described(corpus, teacher, student))
        if guessed:  # rows decide epochs: one that goes on later knows them, and must come to the same
            plan = _plan(making, spec, job, teacher, lesson.settings, sheet)
            yield PlannedLesson(plan=plan, model=spec, data=job.data, machine=making.machine)
        del sheet  # which holds the teacher
    distillation = Distillation(replace(job, strategy=plan.chosen.estimate.strategy), teacher, corpus)
    del teacher
    yield from distillation
    _keep(making, distillation, base or making.facts.base, folder)


def _corpus(making: Making, teacher: Artifact, lesson: Lesson, further: Further) -> Corpus:
    assert making.corpus is not None, "a training has data"
    noise = Noise(copies=further.copies, seed=lesson.settings.seed) if further.copies else None
    return with_unlabelled(making.corpus, file=further.file, noise=noise, mask=teacher.tokenizer.mask_token)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sheet:
    """What the teacher is to write, on what, where, and whether the data's own answers are learned `beside`."""

    teacher: Artifact
    data: Corpus
    prompts: Prompts
    lengths: AnswerLengths
    file: Path
    beside: bool

    def corpus(self) -> Corpus:
        """To learn from, when it is written."""
        rows = Answered(self.prompts, self.file)
        return with_answers(self.data, rows, self.file.stem, beside=self.beside)

    def planned(self) -> Corpus:
        """To plan with, before."""
        if self.file.is_file():
            return self.corpus()
        rows = Guessed(self.prompts)
        return with_answers(self.data, rows, f"guessed {self.file.stem}", beside=self.beside)

    @property
    def cost(self) -> Writing | None:
        """What is left to write, for an estimate."""
        if self.file.is_file():
            return None
        lengths = self.lengths
        rows = len(Guessed(self.prompts))
        return Writing(rows=rows, most=lengths.most, whole=lengths.whole, at_once=lengths.at_once)


def _sheet(making: Making, teacher: Artifact, lesson: Lesson, further: Further) -> _Sheet:
    """Raises UsageError TT-C605 for noisy copies, which are no prompts."""
    assert making.corpus is not None, "a training has data"
    if further.copies:
        raise UsageError("TT-C605")
    data, file = making.corpus, further.file
    fingerprint = data.fingerprint if file is None else f"{data.fingerprint} {content_hash([file])}"
    strategy = making.facts.strategy
    whole = min(lesson.settings.max_length or strategy.max_length, teacher.spec.longest_text or 1 << 30)
    lengths = AnswerLengths(
        most=further.answer_tokens,
        whole=whole - strategy.virtual_tokens,
        at_once=WRITING_TOKENS if device().type == "cpu" else _GPU_TIMES * WRITING_TOKENS,
    )
    return _Sheet(
        teacher=teacher,
        data=data,
        prompts=Prompts(data.train, file, data.columns),
        lengths=lengths,
        file=answers_file(teacher, lengths, fingerprint, making.work),
        beside=further.answers == "both",
    )


def _write(sheet: _Sheet, job: DistilJob) -> Iterator[Happening]:
    """Have the teacher write, and say how far it is, and what cannot be learned of it."""
    if job.threads:
        torch.set_num_threads(job.threads)
    sheet.teacher.model.to(device())
    told = 0
    for event in write_answers(sheet.teacher, sheet.prompts, sheet.lengths, sheet.file):
        yield event
        if event.rows * _TOLD // max(1, event.total) > told:
            told = event.rows * _TOLD // event.total
            yield _progress(event)
    counts = Answered(sheet.prompts, sheet.file).counts
    facts = {"count": counts.prompts, "unfinished": counts.unfinished, "empty": counts.empty}
    facts |= {"most": sheet.lengths.most, "whole": sheet.lengths.whole}
    if not counts.kept:
        raise DataError("TT-C603", **facts)
    if counts.kept < counts.prompts:
        yield message("TT-C601", **facts)


def _progress(event: AnswersWritten) -> Message:
    return message("TT-C602", rows=event.rows, total=event.total, tokens=event.tokens, seconds=event.seconds)


def _described(corpus: Corpus, teacher: Artifact, student: Student) -> DataSpec:
    """Under the tokenizer of the student."""
    folder = student.model.folder if isinstance(student, OtherModel) else teacher.folder
    return describe(corpus, count_tokens(corpus.train, folder / "tokenizer.json"))


def _job(making: Making, student: Student, lesson: Lesson, data: DataSpec, further: Further) -> DistilJob:
    """With the teacher's strategy, until there is a plan."""
    calibration = making.machine.calibration
    return DistilJob(
        student=student,
        data=data,
        strategy=making.facts.strategy,
        folder=making.work,
        loss=loss_of(lesson, answers=further.writes),
        answers=further.writes,
        threads=calibration.threads if calibration else 0,
        resume=lesson.resume,
        trust_remote_code=making.trust_remote_code,
    )


def loss_of(lesson: Lesson, *, answers: bool = False) -> DistillLoss:
    """What a lesson says of the loss. `answers`: those that are learned are the teacher's own."""
    hard, soft = (1.0, 0.0) if answers else (0.5, 0.5)
    return DistillLoss(
        hard_share=hard if lesson.hard_share is None else lesson.hard_share,
        soft_share=soft if lesson.soft_share is None else lesson.soft_share,
        temperature=lesson.temperature,
        hidden_share=lesson.hidden_share,
        attention_share=lesson.attention_share,
    )


def _plan(
    making: Making, spec: ModelSpec, job: DistilJob, teacher: Artifact, settings: Settings, sheet: _Sheet | None
) -> Plan:
    """Full tuning of the student as the planner has it, texts cut and numbers stored as the teacher's, with what
    the teacher takes in the estimate. Raises NoPlan."""
    was = making.facts.strategy
    settings = replace(
        settings,
        max_length=settings.max_length or was.max_length,
        precision=settings.precision or was.precision,
        prefix_cache="off",  # full tuning of a student has nothing to run once
    )
    made = planning.plan_for(
        Request(spec=spec, data=job.data, machine=making.machine, method="full", settings=settings)
    )
    taught = teacher_facts(job, teacher, None if sheet is None else sheet.cost)
    better = estimate(made.chosen.estimate.strategy, spec, job.data, making.machine, teacher=taught)
    return planning.confirm(made, better, making.machine)


def _keep(making: Making, distillation: Distillation, base: Base, folder: Path) -> None:
    """Save, let the model go, open what was saved, and hold it to what the model computed."""
    session = distillation.session
    assert session is not None, "a training that finished has a session"
    rows = session.dev.first(_GATE_ROWS)
    trained = session.objective.outputs(session.model, rows, session.collator)
    _save(making, session, base, folder)
    del session
    distillation.release()
    require_equal(open_artifact(folder, trust_remote_code=making.trust_remote_code), rows, trained)


def _save(making: Making, session: Session, base: Base, folder: Path) -> None:
    facts = replace(making.facts, adapter=False, strategy=session.job.strategy, base=base, files=())
    folder.mkdir(parents=True, exist_ok=True)
    save_artifact(folder, facts, session.model, session.tokenizer, session.job.spec)
