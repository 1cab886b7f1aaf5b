"""Plan: the chosen Strategy with its Estimate, and every rejected candidate with its reason in numbers."""

from dataclasses import dataclass
from typing import Literal

from trimtab.errors import Message, NothingFits
from trimtab.estimation.estimate import Estimate
from trimtab.units import Money

Goal = Literal["balanced", "quality", "memory", "time", "money"]
GOALS: tuple[Goal, ...] = ("balanced", "quality", "memory", "time", "money")


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What the user allows one training. None = no limit beyond the machine's own memory."""

    memory_bytes: int | None = None
    seconds: float | None = None
    money: Money | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One row of the plan's table. `reason` says why it was not chosen or, for the chosen one, why it was."""

    estimate: Estimate
    fits: bool
    reason: Message


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The chosen row and all others. Strategies are in order of preference, the chosen one first."""

    model: str
    data: str
    machine: str
    goal: Goal
    limits: Limits
    candidates: tuple[Candidate, ...]

    @property
    def chosen(self) -> Candidate:
        return self.candidates[0]


class NoPlan(NothingFits):
    """Nothing fits. `plan` holds every candidate with its shortfall, the nearest miss first."""

    def __init__(self, code: str, *, plan: Plan, **facts: object) -> None:
        super().__init__(code, **facts)
        self.plan = plan
