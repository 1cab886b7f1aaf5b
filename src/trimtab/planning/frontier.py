"""Frontier: the points that no other beats, and the one among them to begin with. Of estimates and of runs alike.

A point is a tuple of costs, each to be made small (accuracy goes in with its sign turned). Leaves out drawing.
"""

import math
from collections.abc import Sequence

Costs = tuple[float, ...]


def frontier(points: Sequence[Costs]) -> tuple[int, ...]:
    """Places of the points that are not dominated, in order: no other is as good in all and better in one. Of
    equal points each stands. NaN never stands: what is not known cannot be the best."""
    known = [place for place, point in enumerate(points) if not any(map(math.isnan, point))]
    return tuple(place for place in known if not any(_dominates(points[other], points[place]) for other in known))


def knee(points: Sequence[Costs]) -> int | None:
    """The place of the frontier's point that lies nearest to the best of every cost at once, each cost as a share
    of the frontier's own range (the utopia-point rule; Marler and Arora 2004, doi 10.1007/s00158-003-0368-6). None
    without points. It is a place to begin from and no optimum: who weighs one cost more chooses another."""
    places = frontier(points)
    if not places:
        return None
    best = [min(points[place][axis] for place in places) for axis in range(len(points[places[0]]))]
    worst = [max(points[place][axis] for place in places) for axis in range(len(best))]

    def distance(place: int) -> float:
        shares = (
            (value - low) / (high - low)
            for value, low, high in zip(points[place], best, worst, strict=True)
            if high > low
        )
        return math.hypot(*shares)

    return min(places, key=distance)


def _dominates(one: Costs, other: Costs) -> bool:
    return one != other and all(mine <= theirs for mine, theirs in zip(one, other, strict=True))
