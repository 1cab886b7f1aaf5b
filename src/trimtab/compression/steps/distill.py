"""The step `distill`: a smaller model that learns from this one."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import ClassVar

from trimtab import tuning
from trimtab.compression.lesson import Further, learn
from trimtab.compression.recipe import Happening, Making, Recipe, require_transformers
from trimtab.compression.student import FewerLayers, OtherModel, OtherShape, Student
from trimtab.compression.wanted import Distil, Floor
from trimtab.errors import UsageError


class Distilling(Recipe):
    """Final."""

    floor: ClassVar[Floor | None] = Floor(share=0.05)

    def __init__(self, wanted: Distil) -> None:
        self._wanted = wanted

    @property
    def wanted(self) -> Distil:
        return self._wanted

    def make(self, making: Making) -> Iterator[Happening]:
        """Raises what `learn` raises, and UsageError TT-C040 where it is said of two students, or of none, which
        it is to be."""
        require_transformers(making, self._wanted.step)
        wanted = self._wanted
        further = Further(
            file=None if wanted.unlabelled is None else Path(wanted.unlabelled).expanduser(),
            copies=wanted.copies,
        )
        yield from learn(making, _student(wanted), wanted.lesson, making.folder, further)


def _student(wanted: Distil) -> Student:
    layers = wanted.layers or len(wanted.chosen)
    if sum((bool(layers), wanted.student is not None, wanted.shape is not None)) != 1:
        raise UsageError("TT-C040")
    if wanted.student is not None:
        return OtherModel(model=tuning.locate_unpacked(wanted.student))
    if wanted.shape is not None:
        return OtherShape(**asdict(wanted.shape), seed=wanted.lesson.settings.seed)
    return FewerLayers(layers=layers, chosen=wanted.chosen)
