"""Recipe: one step of compression, as the room sees it. A new step is one class of its own file and one line in
`recipes.py`."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from trimtab.artifacts import Compared
from trimtab.compression.gate import Sight, compared, see, see_made_rows
from trimtab.compression.wanted import Floor, Wanted
from trimtab.data import Corpus
from trimtab.errors import ArtifactError, Message
from trimtab.evaluation import Artifact
from trimtab.training import Event


@dataclass(frozen=True, kw_only=True, slots=True)
class Making:
    """What a recipe works with: the open artifact it begins with, the data where there are any, and the empty
    folder for what it makes. `before`: what `parent` gives, on dev where there are data; `floor`: what may be
    lost."""

    parent: Artifact
    corpus: Corpus | None
    folder: Path
    before: Sight
    floor: Floor | None

    def compare(self, made: Artifact) -> Compared:
        """`made` beside `parent`, on the rows that decide. Raises Diverged, DataError."""
        if self.corpus is None:
            return compared(made, self.before, see_made_rows(made))
        return compared(made, self.before, see(made, self.corpus.dev, self.before.main))

    def holds(self, found: Compared) -> bool:
        """Whether what was lost is within the floor; where there is none, or no metric, there is nothing to
        hold."""
        if self.floor is None or found.lost is None or found.before is None:
            return True
        return found.lost <= self.floor.allowed(found.before) + _ROUNDING


_ROUNDING = 1e-9  # of sums of floats: half a point of 0.85 is not to fail at exactly half a point


class Recipe(ABC):
    """Abstract. Holds what it was asked (wanted.py), and nothing of a run."""

    floor: ClassVar[Floor | None]
    """What may be lost where the user says nothing; None: nothing is measured against it."""
    same_numbers: ClassVar[bool] = False
    """Whether the outputs are to be the same but for rounding."""

    @property
    @abstractmethod
    def wanted(self) -> Wanted:
        """What was asked."""

    @abstractmethod
    def make(self, making: Making) -> Iterator[Event | Message]:
        """Write the artifact into `making.folder`, saying what happens. Raises TrimtabError."""


def require_transformers(parent: Artifact, step: str) -> None:
    """Raises ArtifactError TT-C015 where what a step begins with is run by another engine."""
    facts = parent.facts
    if facts.engine != "transformers":
        came_from = facts.changes[-1].parent if facts.changes else facts.base.name
        raise ArtifactError("TT-C015", folder=str(parent.folder), engine=facts.engine, step=step, parent=came_from)
