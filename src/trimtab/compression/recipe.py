"""Recipe: one step of compression, as the room sees it. A new step is one class of its own file and one line in
`steps`."""

from abc import ABC, abstractmethod
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from trimtab.artifacts import ArtifactFacts, Compared, Engine, OneText, ReadAlike
from trimtab.compression.gate import Sight, compared, see, see_made_rows
from trimtab.compression.wanted import Floor, Wanted
from trimtab.data import Corpus
from trimtab.data.spec import DataSpec
from trimtab.errors import ArtifactError, Message
from trimtab.evaluation import Artifact, open_artifact
from trimtab.hardware import Machine
from trimtab.models.spec import ModelSpec
from trimtab.planning import Plan
from trimtab.training import Event

_ROUNDING = 1e-9  # of sums of floats: half a point of 0.85 is not to fail at exactly half a point


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedLesson:
    """A training inside a step is about to begin: its plan, and what that was made from."""

    plan: Plan
    model: ModelSpec
    data: DataSpec
    machine: Machine


Happening = Event | Message | PlannedLesson
"""What a step says while it runs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """What is to be remembered of how an artifact was made: as the fields of these names of its Change."""

    kept_whole: tuple[str, ...] = ()
    read_alike: tuple[ReadAlike, ...] = ()
    one_text: OneText | None = None


Steps = Generator[Happening, None, Made]
"""Of making an artifact."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Making:
    """What a recipe works with: the artifact it begins with, closed, since two models in memory are one too many;
    the data where there are any; and the empty `folder` for what it makes. `work`: a folder, which need not be
    there, for what an interrupted step goes on from. `before`: what the artifact gives, on dev where there are
    data; `floor`: what may be lost; `machine`: on which a training inside the step is planned."""

    parent: Path
    facts: ArtifactFacts
    corpus: Corpus | None
    folder: Path
    work: Path
    before: Sight
    floor: Floor | None
    machine: Machine
    trust_remote_code: bool = False

    def open(self) -> Artifact:
        """The artifact it begins with. Raises what `open_artifact` raises."""
        return open_artifact(self.parent, trust_remote_code=self.trust_remote_code)

    def compare(self, made: Artifact) -> Compared:
        """`made` beside the parent, on the rows that decide. Raises Diverged, DataError."""
        if self.corpus is None:
            return compared(made, self.before, see_made_rows(made))
        return compared(made, self.before, see(made, self.corpus.dev, self.before.main))

    def holds(self, found: Compared) -> bool:
        """Whether what was lost is within the floor; where there is none, or no metric, there is nothing to
        hold."""
        if self.floor is None or found.lost is None or found.before is None:
            return True
        allowed = self.floor.allowed(found.before, lower_is_better=found.lower_is_better)
        return found.lost <= allowed + _ROUNDING


class Recipe(ABC):
    """Abstract. Holds what it was asked (wanted.py), and nothing of a run."""

    floor: ClassVar[Floor | None]
    """What may be lost where the user says nothing; None: nothing is measured against it."""
    engines: ClassVar[tuple[Engine, ...]] = ("transformers",)
    """What may compute the artifact that it begins with."""

    @property
    @abstractmethod
    def wanted(self) -> Wanted:
        """What was asked."""

    @abstractmethod
    def check(self) -> None:
        """What contradicts itself in what was asked. Raises UsageError, before anything is opened."""

    @abstractmethod
    def make(self, making: Making) -> Steps:
        """Write the artifact into `making.folder`, saying what happens; what is to be remembered is the
        generator's return value. Raises TrimtabError."""

    def same_numbers(self, making: Making) -> bool:
        """Whether the outputs are to be the same but for rounding."""
        return False


def require_engine(recipe: Recipe, folder: Path, facts: ArtifactFacts) -> None:
    """Raises ArtifactError TT-C015 where a step cannot begin with what computes an artifact."""
    if facts.engine not in recipe.engines:
        raise ArtifactError(
            "TT-C015", folder=str(folder), engine=facts.engine, step=recipe.wanted.step, parent=facts.came_from
        )
