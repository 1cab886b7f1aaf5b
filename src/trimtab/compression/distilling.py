"""Distillation: a teacher, data and a student to be; a trained student comes out, in the training's session.

    folder/student-KEY/      the student before it learned, where it was made here
    folder/teacher-KEY.f32   what the teacher said, where it is asked once
    folder/checkpoints/      the training's

It is a training like any other, of the student's folder with another objective: events, resume and retreat are the
loop's. Leaves out: choosing a strategy, saving the artifact, and holding it to the teacher.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from trimtab import estimation
from trimtab.compression.distillation import (
    Distilling,
    DistillLoss,
    FromFile,
    Live,
    Matched,
    Taught,
    without_projection,
)
from trimtab.compression.layers import Watched, has_queries
from trimtab.compression.soft_losses import SOFT_LOSSES
from trimtab.compression.student import Student
from trimtab.compression.teacher import TeacherOutputs, ask, kept_outputs, teacher_hash
from trimtab.data import Corpus
from trimtab.data.spec import DataSpec
from trimtab.errors import ModelError, UsageError
from trimtab.evaluation import OBJECTIVES, Artifact
from trimtab.evaluation.encode import Encoded
from trimtab.methods import Strategy
from trimtab.models import ModelSource, read_spec
from trimtab.models.spec import ModelSpec
from trimtab.training import Event, Finished, Job, Session, Training
from trimtab.training.meter import give_back_heap

_COMPARED_ROWS = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class DistilJob:
    """What to make of a teacher, on what, how, and where. `data` describes the corpus with all rows that are
    learned from (`unlabelled.with_unlabelled`, `written.with_answers`), under the student's tokenizer. `answers`:
    those of the corpus are the teacher's own, and it need say nothing more. The rest as in `training.Job`."""

    student: Student
    data: DataSpec
    strategy: Strategy
    folder: Path
    loss: DistillLoss = DistillLoss()  # noqa: RUF009 (frozen)
    answers: bool = False
    threads: int = 0
    save_seconds: float = 600.0
    save_steps: int = 0
    resume: bool = False
    allow_changed: bool = False
    trust_remote_code: bool = False

    def student_folder(self, teacher: Artifact) -> Path:
        """Where a student of this kind and of this teacher is made."""
        named = f"{self.student!r}\0{teacher_hash(teacher)}"
        return self.folder / f"student-{hashlib.sha256(named.encode()).hexdigest()[:16]}"

    @property
    def live(self) -> bool:
        """Whether the teacher stands beside the student in every step; else it is asked before, if at all."""
        return self.loss.looks_inside or (self.loss.asks and self.data.task not in SOFT_LOSSES)


def teacher_facts(
    job: DistilJob, teacher: Artifact, writing: estimation.Writing | None = None
) -> estimation.Teacher:
    """What an estimate (`estimation.estimate`) of the student's training has to know of its teacher. `writing`:
    the answers that it is still to write."""
    compared = job.student.spec(teacher.spec).layers if job.loss.hidden_share else 0
    return estimation.Teacher(
        spec=teacher.spec,
        precision=teacher.facts.strategy.precision,
        live=job.live,
        asked=job.loss.asks,
        compared=compared,
        writing=writing,
    )


class Distillation:
    """One distillation. Iterate over it once; afterwards `session` holds the best student, as its task has it:
    what `training.Training` leaves. Keep no other reference to the teacher: where it is asked once, its memory is
    given back before the student is loaded. An adapter whose layers become the student's is merged in place.

    Raises, while it is iterated: UsageError TT-C106, TT-C107, TT-C113 and what the student raises; ModelError
    TT-C105, TT-C111, TT-C112, TT-C114 where teacher, student and data do not go together, TT-C110 where
    the teacher computes no numbers; what a training raises.
    """

    def __init__(self, job: DistilJob, teacher: Artifact, corpus: Corpus) -> None:
        self.job = job
        self._teacher: Artifact | None = teacher
        self._corpus = corpus
        self.training: Training | None = None

    @property
    def session(self) -> Session | None:
        return None if self.training is None else self.training.session

    def __iter__(self) -> Iterator[Event]:
        job, teacher = self.job, self._teacher
        assert teacher is not None, "a distillation is iterated once"
        refuse(job, teacher, self._corpus)
        if job.threads:
            torch.set_num_threads(job.threads)
        source = job.student.source(teacher, job.student_folder(teacher))
        spec = read_spec(source)
        self._refuse_pair(teacher, source, spec)
        teacher.model.to(device())
        kept = None if job.live or not job.loss.asks else self._kept(teacher)
        if kept is not None:
            yield from ask(teacher, self._corpus.train, kept)
        objective = self._objective(teacher, spec, kept) if job.loss.asks else None
        self._teacher = teacher = None
        give_back_heap()
        self.training = Training(self._training_job(source, spec, objective), self._corpus)
        for event in self.training:
            if isinstance(event, Finished):
                self._settle(objective)
            yield event

    def release(self) -> None:
        """As `Training.release`."""
        if self.training is not None:
            self.training.release()

    def _refuse_pair(self, teacher: Artifact, source: ModelSource, spec: ModelSpec) -> None:
        job, task = self.job, OBJECTIVES[self.job.data.task]
        if job.live:
            tokenizer = task.tokenizer(source, trust_remote_code=job.trust_remote_code)
            rows = list(islice(self._corpus.train, _COMPARED_ROWS))
            length = job.strategy.max_length
            left, right = (task.encode(rows, one, length) for one in (teacher.tokenizer, tokenizer))
            if not _same(left, right):
                raise ModelError("TT-C112", student=source.name, teacher=str(teacher.folder))
        if job.live and job.data.task not in SOFT_LOSSES and spec.vocab != teacher.spec.vocab:
            raise ModelError("TT-C105", student=spec.vocab, teacher=teacher.spec.vocab)
        if job.data.task == "embed" and job.loss.soft_share and spec.hidden != teacher.spec.hidden:
            raise ModelError("TT-C114", student=spec.hidden, teacher=teacher.spec.hidden)

    def _kept(self, teacher: Artifact) -> TeacherOutputs:
        width = teacher.facts.outputs or teacher.spec.hidden
        return kept_outputs(teacher, width, self._corpus.train, self._corpus.fingerprint, self.job.folder)

    def _objective(self, teacher: Artifact, spec: ModelSpec, kept: TeacherOutputs | None) -> Distilling:
        job = self.job
        matched = _matched(job, spec, teacher.spec)
        taught: Taught = (
            Live(teacher.model, teacher.spec, matched.teacher_watched) if kept is None else FromFile(kept.open())
        )
        return Distilling(
            OBJECTIVES[job.data.task],
            job.loss,
            taught,
            matched,
            soft=SOFT_LOSSES.get(job.data.task),
            teacher_key=teacher_hash(teacher),
        )

    def _training_job(self, source: ModelSource, spec: ModelSpec, objective: Distilling | None) -> Job:
        job = self.job
        return Job(
            source=source,
            spec=spec,
            data=job.data,
            strategy=job.strategy,
            folder=job.folder,
            threads=job.threads,
            save_seconds=job.save_seconds,
            save_steps=job.save_steps,
            resume=job.resume,
            allow_changed=job.allow_changed,
            trust_remote_code=job.trust_remote_code,
            objective=objective,
        )

    def _settle(self, objective: Distilling | None) -> None:
        """The session's model is an ordinary one of its task again, and the teacher gone."""
        if objective is None:
            return
        session = self.session
        assert session is not None, "a training that finished has a session"
        session.objective = objective.task
        session.opened = without_projection(session.model, session.opened)
        objective.let_teacher_go()


def refuse(job: DistilJob, teacher: Artifact, corpus: Corpus) -> None:
    """What cannot be done, said before anything is made. Raises UsageError, ModelError TT-C111."""
    job.loss.check(answers=job.answers)
    job.student.spec(teacher.spec)
    facts = teacher.facts
    if (facts.task, facts.labels) != (corpus.task, corpus.labels):
        raise ModelError(
            "TT-C111",
            task=facts.task, labels=_listed(facts.labels),
            data_task=corpus.task, data_labels=_listed(corpus.labels),
        )  # fmt: skip
    virtual = job.strategy.virtual_tokens or facts.strategy.virtual_tokens
    if job.live and (job.strategy.packed or virtual):
        raise UsageError("TT-C113")


def _matched(job: DistilJob, student: ModelSpec, teacher: ModelSpec) -> Matched:
    layers = job.student.matched(student, teacher)
    everywhere = job.loss.hidden_share > 0
    related = job.loss.attention_share > 0
    whole = related and not (has_queries(student) and has_queries(teacher))
    return Matched(
        student=student,
        student_watched=Watched(
            tuple(range(student.layers)) if everywhere else (), student.layers - 1 if related else None, whole
        ),
        teacher_watched=Watched(layers if everywhere else (), layers[-1] if related else None, whole),
        teacher_width=teacher.hidden,
    )


def _same(left: Encoded, right: Encoded) -> bool:
    """Whether two tokenizers make the same tokens of the same texts."""
    return np.array_equal(left.ids, right.ids) and np.array_equal(left.starts, right.starts)


def _listed(labels: tuple[str, ...]) -> str:
    return ", ".join(labels[:8]) + (" ..." if len(labels) > 8 else "") or "-"


def device() -> torch.device:
    """Where a teacher answers: the accelerator, where there is one."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return torch.device("cpu") if found is None else found
