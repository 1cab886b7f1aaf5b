"""The training inside a step: a student learns from the model the step began with, and becomes what the step
makes.

The plan, the loop, its events, resume and retreat are those of every training. Leaves out: which student
(steps/), and holding it to its teacher (carrying).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from trimtab import planning
from trimtab.artifacts import Base
from trimtab.compression.augment import Noise
from trimtab.compression.distillation import DistillLoss
from trimtab.compression.distilling import DistilJob, Distillation, teacher_facts
from trimtab.compression.recipe import Happening, Making, PlannedLesson
from trimtab.compression.student import OtherModel, Student
from trimtab.compression.unlabelled import with_unlabelled
from trimtab.compression.wanted import Lesson
from trimtab.data import Corpus, count_tokens, describe
from trimtab.data.spec import DataSpec
from trimtab.errors import ModelError
from trimtab.estimation import estimate
from trimtab.evaluation import Artifact, open_artifact, require_equal, save_artifact
from trimtab.models.spec import ModelSpec
from trimtab.planning import Plan, Request, Settings
from trimtab.training import Session

_GATE_ROWS = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Further:
    """Texts without labels to learn from besides: those of a file, and noisy `copies` of every training text."""

    file: Path | None = None
    copies: int = 0


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

    Raises NoPlan (exit 3), Diverged (4), Interrupted (130, 143) after a checkpoint in `making.work`; what
    `Distillation` raises.
    """
    teacher = making.open()
    corpus = _corpus(making, teacher, lesson, further or Further())
    data = _described(corpus, teacher, student)
    spec = student.spec(teacher.spec)
    if data.task == "embed" and spec.hidden != teacher.spec.hidden:  # nothing could be held to its teacher
        raise ModelError("TT-C114", student=spec.hidden, teacher=teacher.spec.hidden)
    job = _job(making, student, lesson, data)
    plan = _plan(making, spec, job, teacher, lesson.settings)
    yield PlannedLesson(plan=plan, model=spec, data=data, machine=making.machine)
    distillation = Distillation(replace(job, strategy=plan.chosen.estimate.strategy), teacher, corpus)
    del teacher
    yield from distillation
    _keep(making, distillation, base or making.facts.base, folder)


def _corpus(making: Making, teacher: Artifact, lesson: Lesson, further: Further) -> Corpus:
    assert making.corpus is not None, "a training has data"
    noise = Noise(copies=further.copies, seed=lesson.settings.seed) if further.copies else None
    return with_unlabelled(making.corpus, file=further.file, noise=noise, mask=teacher.tokenizer.mask_token)


def _described(corpus: Corpus, teacher: Artifact, student: Student) -> DataSpec:
    """Under the tokenizer of the student."""
    folder = student.model.folder if isinstance(student, OtherModel) else teacher.folder
    return describe(corpus, count_tokens(corpus.train, folder / "tokenizer.json"))


def _job(making: Making, student: Student, lesson: Lesson, data: DataSpec) -> DistilJob:
    """With the teacher's strategy, until there is a plan."""
    calibration = making.machine.calibration
    return DistilJob(
        student=student,
        data=data,
        strategy=making.facts.strategy,
        folder=making.work,
        loss=loss_of(lesson),
        threads=calibration.threads if calibration else 0,
        resume=lesson.resume,
        trust_remote_code=making.trust_remote_code,
    )


def loss_of(lesson: Lesson) -> DistillLoss:
    """What a lesson says of the loss."""
    return DistillLoss(
        hard_share=lesson.hard_share,
        soft_share=lesson.soft_share,
        temperature=lesson.temperature,
        hidden_share=lesson.hidden_share,
        attention_share=lesson.attention_share,
    )


def _plan(making: Making, spec: ModelSpec, job: DistilJob, teacher: Artifact, settings: Settings) -> Plan:
    """Full tuning of the student as the planner has it, texts cut and numbers stored as the teacher's, with what
    the teacher takes in the estimate. Raises NoPlan."""
    was = making.facts.strategy
    settings = replace(
        settings,
        max_length=settings.max_length or was.max_length,
        precision=settings.precision or was.precision,
    )
    made = planning.plan_for(
        Request(spec=spec, data=job.data, machine=making.machine, method="full", settings=settings)
    )
    taught = teacher_facts(job, teacher)
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
