"""Rank: which of the feasible estimates a goal prefers, and what each other one loses against the chosen one.

Each goal is one number to make small, the rest decides ties. That makes the order total, and the best over
more candidates never worse: more memory or time cannot spoil a plan.
"""

import math
from collections.abc import Callable

from trimtab.errors import Message, message
from trimtab.estimation.estimate import Estimate
from trimtab.planning.plan import Goal
from trimtab.units import Money, format_money, format_seconds

# Goal "balanced": one point of expected quality is worth this much more time, and what takes less than a
# minute is not worth any quality. A rule of taste, written down so that it can be disputed.
TIME_FOR_A_POINT = 0.25
SHORT_SECONDS = 60.0

_ALIKE_SHARE = 0.005
_TIMES = 1.1  # from here on "1.1x"; below, a share says more: "3.00 % more"
_PRINTED_POINTS = 0.05  # fewer points of quality would be printed as 0.0

Key = tuple[float, ...]


def _quality(estimate: Estimate) -> float:
    return estimate.quality.relative.value


def _seconds(estimate: Estimate) -> float:
    return estimate.time.total_seconds.value


def _bytes(estimate: Estimate) -> float:
    return estimate.memory.peak_bytes.value


def _cny(estimate: Estimate) -> float:
    assert estimate.money is not None, "Request.check refuses goal money without a price"
    return estimate.money.cny.value


def balance_cost(estimate: Estimate) -> float:
    """Goal "balanced" in points of quality: log time to the base 1.25, less expected quality."""
    points_of_time = math.log(max(_seconds(estimate), SHORT_SECONDS)) / math.log1p(TIME_FOR_A_POINT)
    return points_of_time - _quality(estimate)


def _by_quality(estimate: Estimate) -> Key:
    # Of two with the same expectation, the one whose interval reaches less far down.
    return (-_quality(estimate), -estimate.quality.relative.low, _seconds(estimate), _bytes(estimate))


_KEYS: dict[Goal, Callable[[Estimate], Key]] = {
    "balanced": lambda estimate: (balance_cost(estimate), _seconds(estimate), _bytes(estimate)),
    "quality": _by_quality,
    "memory": lambda estimate: (_bytes(estimate), _seconds(estimate)),
    "time": lambda estimate: (_seconds(estimate), _bytes(estimate)),
    "money": lambda estimate: (_cny(estimate), _bytes(estimate)),
}
_WHY_CHOSEN: dict[Goal, str] = {
    "balanced": "TT-P304",
    "quality": "TT-P303",
    "memory": "TT-P301",
    "time": "TT-P302",
    "money": "TT-P306",
}


def preference(goal: Goal, estimate: Estimate) -> Key:
    """Sort key: the smallest is what `goal` prefers. Bytes, seconds, yuan and points as the goal needs them."""
    return _KEYS[goal](estimate)


def why_chosen(goal: Goal, rivals: int) -> Message:
    """Why the first of `rivals` feasible variants was chosen."""
    if rivals == 1:
        return message("TT-P305")
    return message(_WHY_CHOSEN[goal], rivals=rivals, share=TIME_FOR_A_POINT)


def why_not(goal: Goal, estimate: Estimate, chosen: Estimate) -> Message:
    """What a feasible estimate loses against the chosen one, and after that what it would have gained."""
    quality = _compare_quality(estimate, chosen)
    time = _compare_time(estimate, chosen)
    memory = _compare_memory(estimate, chosen)
    worse = _quality(estimate) < _quality(chosen)
    if goal == "money":
        return message("TT-P201", lost=_compare_money(estimate, chosen), gained=quality)
    lost, gained = {
        "memory": (memory, time),
        "time": (time, quality),
        "quality": (quality, time),
        "balanced": (quality, time) if worse else (time, quality),
    }[goal]
    return message("TT-P201", lost=lost, gained=gained)


def _compare_quality(estimate: Estimate, chosen: Estimate) -> Message:
    points = _quality(estimate) - _quality(chosen)
    return message("TT-P221", points=points) if abs(points) >= _PRINTED_POINTS else message("TT-P222")


def _compare_time(estimate: Estimate, chosen: Estimate) -> Message:
    mine, theirs = _seconds(estimate), _seconds(chosen)
    if _alike(mine, theirs, format_seconds):
        return message("TT-P225", mine=mine)
    if mine < theirs:
        return message("TT-P224", share=1 - mine / theirs, mine=mine, theirs=theirs)
    if mine < _TIMES * theirs:
        return message("TT-P230", share=mine / theirs - 1, mine=mine, theirs=theirs)
    return message("TT-P223", ratio=mine / theirs, mine=mine, theirs=theirs)


def _compare_memory(estimate: Estimate, chosen: Estimate) -> Message:
    mine, theirs = _bytes(estimate), _bytes(chosen)
    if mine > theirs:
        return message("TT-P226", more=mine - theirs, mine=mine, theirs=theirs)
    return message("TT-P227", less=theirs - mine, mine=mine, theirs=theirs)


def _compare_money(estimate: Estimate, chosen: Estimate) -> Message:
    mine, theirs = _cny(estimate), _cny(chosen)
    told, against = Money(mine, "CNY"), Money(theirs, "CNY")
    if mine < theirs or _alike(mine, theirs, lambda amount: format_money(amount, "CNY")):
        return message("TT-P229", mine=told)
    if mine < _TIMES * theirs:
        return message("TT-P231", share=mine / theirs - 1, mine=told, theirs=against)
    return message("TT-P228", ratio=mine / theirs, mine=told, theirs=against)


def _alike(mine: float, theirs: float, printed: Callable[[float], str]) -> bool:
    """Two figures that a reader cannot tell apart: within half a percent, or the same when they are printed."""
    return abs(mine - theirs) <= _ALIKE_SHARE * theirs or printed(mine) == printed(theirs)
