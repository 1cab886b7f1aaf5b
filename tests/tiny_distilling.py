"""A tiny distillation out of a tiny training: its model with weights moved at random is the teacher."""

from pathlib import Path

from tiny_artifacts import moved_artifact
from trimtab.compression.distillation import DistillLoss
from trimtab.compression.distilling import DistilJob, Distillation
from trimtab.compression.student import FewerLayers, Student
from trimtab.data import Corpus
from trimtab.evaluation import Artifact, open_artifact
from trimtab.training import Event, Job, Session

SOFT = DistillLoss()
INSIDE = DistillLoss(hidden_share=1.0, attention_share=1.0)


def tiny_teacher(folder: Path, job: Job, corpus: Corpus, method: str = "full", **changed: object) -> Path:
    """The job's model as an artifact in `folder`/teacher; `changed` fields of its strategy."""
    return moved_artifact(
        folder / "teacher", job.source, method, labels=corpus.labels, task=corpus.task,
        max_length=job.strategy.max_length, **changed,
    )  # fmt: skip


def distil_job(job: Job, student: Student | None = None, loss: DistillLoss = SOFT, **changed: object) -> DistilJob:
    """The same data, strategy and folder as the job's, for a student."""
    return DistilJob(
        student=student or FewerLayers(layers=2),
        data=job.data,
        strategy=job.strategy,
        folder=job.folder,
        loss=loss,
        threads=1,
        **changed,  # type: ignore[arg-type]
    )


def distilled(job: DistilJob, teacher: Path | Artifact, corpus: Corpus) -> tuple[list[Event], Session]:
    """A whole distillation."""
    opened = open_artifact(teacher) if isinstance(teacher, Path) else teacher
    distillation = Distillation(job, opened, corpus)
    events = list(distillation)
    assert distillation.session is not None
    return events, distillation.session
