"""planning: every strategy that could train this model on this data and machine, which of them fit, and the
one to run, with the reason for each in numbers. Pure arithmetic: nothing is loaded, nothing is measured.
"""

from trimtab.planning.feasible import usable_bytes
from trimtab.planning.halving import Entrant, Field, Outcome, Trial, TrialCosts, fit, next_trials
from trimtab.planning.kept import KeptEstimates
from trimtab.planning.models import ModelRow, rank_models
from trimtab.planning.once import PrefixChoice
from trimtab.planning.plan import GOALS, Candidate, Goal, Limits, NoPlan, Plan
from trimtab.planning.request import Request, Settings, needs_price
from trimtab.planning.search import compare, confirm, no_plan, plan, plan_for
from trimtab.planning.words import hourly_word, part_word, phase_word, price_word, span_word

__all__ = [
    "GOALS",
    "Candidate",
    "Entrant",
    "Field",
    "Goal",
    "KeptEstimates",
    "Limits",
    "ModelRow",
    "NoPlan",
    "Outcome",
    "Plan",
    "PrefixChoice",
    "Request",
    "Settings",
    "Trial",
    "TrialCosts",
    "compare",
    "confirm",
    "fit",
    "hourly_word",
    "needs_price",
    "next_trials",
    "no_plan",
    "part_word",
    "phase_word",
    "plan",
    "plan_for",
    "price_word",
    "rank_models",
    "span_word",
    "usable_bytes",
]
