"""The frontier against the definition, by brute force; the knee by hand."""

import math
import random

import pytest

from trimtab.planning.frontier import frontier, knee


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_nothing_on_it_is_beaten_and_everything_off_it_is(axes: int):
    draw = random.Random(axes)
    points = [tuple(float(draw.randint(0, 9)) for _ in range(axes)) for _ in range(60)]

    def beaten(point: tuple[float, ...]) -> bool:
        return any(other != point and all(a <= b for a, b in zip(other, point, strict=True)) for other in points)

    assert set(frontier(points)) == {place for place, point in enumerate(points) if not beaten(point)}


def test_of_equal_points_each_stands():
    assert frontier([(1.0, 2.0), (1.0, 2.0), (2.0, 2.0)]) == (0, 1)


def test_what_is_not_known_never_stands():
    assert frontier([(math.nan, 0.0), (1.0, 1.0)]) == (1,)
    assert knee([(math.nan, 0.0)]) is None and knee([]) is None


def test_the_knee_is_nearest_to_the_best_of_both():
    # Shares of the ranges: (0, 1), (0.1, 0.2), (1, 0): the second is 0.22 from (0, 0), the others 1.
    assert knee([(0.0, 100.0), (1.0, 20.0), (10.0, 0.0)]) == 1


def test_a_range_of_nothing_counts_nothing():
    assert knee([(1.0, 5.0), (1.0, 5.0)]) == 0
