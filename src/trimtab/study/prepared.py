"""What a bake-off is made from once it has been opened, and once it has begun. Values only."""

from dataclasses import dataclass
from pathlib import Path

from trimtab.data import Corpus
from trimtab.hardware import Machine
from trimtab.planning import Field
from trimtab.study.bakeoff import Baseline, CompareRequest
from trimtab.study.entrants import Listed, ModelFacts


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """The question with all facts; `identity` names the bake-off in the store. `began`: seconds since 1970."""

    request: CompareRequest
    corpus: Corpus
    models: tuple[ModelFacts, ...]
    machine: Machine
    identity: str
    seconds: float
    began: float

    @property
    def out(self) -> Path:
        return Path(self.request.out)


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """Who takes part, on what, who does not, and what the baselines gave."""

    field: Field
    listed: tuple[Listed, ...]
    baselines: tuple[Baseline, ...]
