"""The step `distill`: a smaller model that learns from this one."""

from dataclasses import asdict
from pathlib import Path
from typing import ClassVar

from trimtab import tuning
from trimtab.artifacts import base_of
from trimtab.compression.lesson import Further, learn, loss_of
from trimtab.compression.recipe import Made, Making, Recipe, Steps
from trimtab.compression.student import FewerLayers, OtherModel, OtherShape, Student
from trimtab.compression.wanted import Distil, Floor
from trimtab.errors import UsageError
from trimtab.models import read_spec


class DistilStep(Recipe):
    """Final."""

    floor: ClassVar[Floor | None] = Floor(share=0.05)

    def __init__(self, wanted: Distil) -> None:
        self._wanted = wanted

    @property
    def wanted(self) -> Distil:
        return self._wanted

    def check(self) -> None:
        """Raises UsageError TT-C040 where it is said of two students, or of none, which it is to be; TT-C047 for a
        number of copies that is none, TT-C604 for answers of no tokens, what `DistillLoss.check` raises."""
        wanted = self._wanted
        kinds = (wanted.layers or len(wanted.chosen), wanted.student is not None, wanted.shape is not None)
        if sum(map(bool, kinds)) != 1:
            raise UsageError("TT-C040")
        if wanted.copies < 0:
            raise UsageError("TT-C047", copies=wanted.copies)
        if wanted.answer_tokens < 1:
            raise UsageError("TT-C604", tokens=wanted.answer_tokens)
        loss_of(wanted.lesson, answers=wanted.writes).check(answers=wanted.writes)

    def make(self, making: Making) -> Steps:
        """Raises what `learn` raises; ModelError for a student that cannot be opened."""
        wanted = self._wanted
        further = Further(
            file=None if wanted.unlabelled is None else Path(wanted.unlabelled).expanduser(),
            copies=wanted.copies,
            answers=wanted.answers,
            answer_tokens=wanted.answer_tokens,
        )
        student, base = _student(wanted, making.trust_remote_code), None
        if isinstance(student, OtherModel):
            base = base_of(student.model, read_spec(student.model).family)
        yield from learn(making, student, wanted.lesson, making.folder, further, base=base)
        return Made()


def _student(wanted: Distil, trust_remote_code: bool) -> Student:
    layers = wanted.layers or len(wanted.chosen)
    if wanted.student is not None:
        return OtherModel(model=tuning.locate_unpacked(wanted.student, trust_remote_code=trust_remote_code))
    if wanted.shape is not None:
        return OtherShape(**asdict(wanted.shape), seed=wanted.lesson.settings.seed)
    return FewerLayers(layers=layers, chosen=wanted.chosen)
