"""The arithmetic of the charts."""

import math

import pytest

from trimtab.study.charts import nice_ticks, short, thin


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 10.0, [0, 2, 4, 6, 8, 10]),
        (0.61, 0.93, [0.6, 0.7, 0.8, 0.9, 1.0]),
        (0.0, 4387.0, [0, 1000, 2000, 3000, 4000, 5000]),
        (5.0, 5.0, [5, 6]),
    ],
)
def test_ticks_are_round_and_enclose(low: float, high: float, ticks: list[float]) -> None:
    assert nice_ticks(low, high) == pytest.approx(ticks)


@pytest.mark.parametrize("high", [1e-9, 3e-4, 0.7, 1.0, 9.99, 1234.5, 1e12])
def test_ticks_are_few_at_every_size(high: float) -> None:
    ticks = nice_ticks(0, high)
    assert 3 <= len(ticks) <= 7
    assert ticks[0] <= 0 and ticks[-1] >= high * (1 - 1e-9)


def test_thinning_keeps_the_mean_and_drops_what_is_not_finite() -> None:
    points = [(float(x), float(x)) for x in range(1000)]
    thinned = thin([*points, (1000.0, math.nan), (1001.0, math.inf)], most=100)
    assert len(thinned) == 100
    assert thinned[0] == (4.5, 4.5)
    assert sum(y for _, y in thinned) / 100 == pytest.approx(499.5)
    assert thin(points[:5]) == points[:5]


@pytest.mark.parametrize(
    ("value", "text"), [(12_000, "12k"), (0.25, "0.25"), (3_000_000, "3M"), (0.1 + 0.2, "0.3")]
)
def test_tick_numbers_are_short(value: float, text: str) -> None:
    assert short(value) == text
