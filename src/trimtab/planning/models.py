"""Models: which of several to tune on one data set and machine, by the goal.

Each model has a plan of its own; here they are put in order. Between models only their size speaks for quality
before anything runs: a rule with a wide interval, read off one published comparison, and never a prediction of one
pair. Leaves out what a model was pretrained on, which can matter more (a language it has never seen).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trimtab.estimation.estimate import Estimate
from trimtab.models.spec import ModelSpec
from trimtab.planning.plan import Candidate, Goal
from trimtab.planning.rank import preference
from trimtab.units import Evidence, Figure

# Points of an average of tasks for each doubling of the parameters: 86.4 to 91.1 from RoBERTa-base (125 M) to
# DeBERTa-XXL (1.5 B), both tuned in full, 3.6 doublings (LoRA paper, arXiv 2106.09685, table 2).
POINTS_A_DOUBLING = (0.0, 1.3, 3.0)
SIZE_SOURCE = "LoRA paper table 2: RoBERTa-base 86.4, DeBERTa-XXL 91.1 (12 times the parameters)"


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelRow:
    """One model with the strategy that its own plan chose. `points`: expected quality against the largest of the
    models that are compared, tuned in full: the method's prior and the size's."""

    model: ModelSpec
    candidate: Candidate
    points: Figure


def rank_models(chosen: Sequence[tuple[ModelSpec, Candidate]], goal: Goal) -> tuple[ModelRow, ...]:
    """The models in order of preference, those that fit first."""
    largest = max(spec.parameters for spec, _ in chosen)
    rows = [
        ModelRow(model=spec, candidate=candidate, points=expected_points(candidate.estimate, spec, largest))
        for spec, candidate in chosen
    ]
    return tuple(sorted(rows, key=lambda row: (not row.candidate.fits, *_key(goal, row))))


def expected_points(estimate: Estimate, spec: ModelSpec, largest: int) -> Figure:
    """The method's points against full tuning, less what the model is smaller than one of `largest` parameters."""
    doublings = math.log2(largest / spec.parameters)
    low, typical, high = (points * doublings for points in POINTS_A_DOUBLING)
    prior = estimate.quality.relative
    return Figure(prior.value - typical, prior.low - high, prior.high - low, Evidence.RULE)


def _key(goal: Goal, row: ModelRow) -> tuple[float, ...]:
    """As `rank.preference` orders strategies; what is said of quality there counts the size too."""
    estimate, size = row.candidate.estimate, row.points.value - row.candidate.estimate.quality.relative.value
    first, *rest = preference(goal, estimate)
    if goal in ("balanced", "quality"):
        first -= size
    return (first, *rest)
