"""A plan as JSON. Other facts go through `trimtab.study.jsonable` as they are."""

from typing import Any

from trimtab.planning import Candidate, Plan
from trimtab.study.jsonable import jsonable


def plan_facts(plan: Plan, language: str) -> dict[str, Any]:
    """Goal and limits, the chosen candidate (null where nothing fits), and all in order of preference."""
    rows = [_candidate_facts(candidate, language) for candidate in plan.candidates]
    return {
        "goal": plan.goal,
        "limits": jsonable(plan.limits),
        "chosen": rows[0] if plan.chosen.fits else None,
        "candidates": rows,
    }


def _candidate_facts(candidate: Candidate, language: str) -> dict[str, Any]:
    estimate = jsonable(candidate.estimate, language)
    strategy = estimate.pop("strategy")
    return {
        "method": strategy["method"],
        "strategy": strategy,
        "estimate": estimate,
        "fits": candidate.fits,
        "reason": jsonable(candidate.reason, language),
    }
