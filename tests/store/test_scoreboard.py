"""The scoreboard against figures worked out by hand."""

from dataclasses import replace

import pytest

from trimtab.store import LedgerEntry, scoreboard
from trimtab.units import Evidence

ENTRY = LedgerEntry(
    quantity="memory",
    method="lora",
    strategy="{}",
    model="m",
    family="bert",
    device="cpu",
    device_kind="cpu",
    precision="fp32",
    batch=32,
    micro_batch=8,
    max_length=128,
    trainable_parameters=1000,
    total_parameters=10_000,
    predicted=100.0,
    low=80.0,
    high=120.0,
    evidence=Evidence.FORMULA,
    measured=100.0,
)


def test_ratio_and_error_point_opposite_ways() -> None:
    entry = replace(ENTRY, measured=125.0)
    assert entry.ratio == 1.25
    assert entry.error_share == pytest.approx(-0.2)  # predicted a fifth too little
    assert not entry.inside


def test_one_group_by_hand() -> None:
    """predicted 100 each; measured 80, 100, 125, 200: errors 25 %, 0, 20 %, 50 %."""
    (row,) = scoreboard(replace(ENTRY, measured=measured) for measured in (80.0, 100.0, 125.0, 200.0))
    assert (row.device_kind, row.method, row.quantity, row.n) == ("cpu", "lora", "memory", 4)
    assert row.median_error == pytest.approx((0.20 + 0.25) / 2)
    assert row.p90_error == pytest.approx(0.5)
    assert row.under_share == 0.5
    assert row.inside_share == 0.5


def test_p90_is_the_nearest_rank() -> None:
    """Ten errors of 1 to 10 %: nine of ten are at most 9 %."""
    (row,) = scoreboard(replace(ENTRY, measured=100.0 / (1 + k / 100)) for k in range(1, 11))
    assert row.p90_error == pytest.approx(0.09)
    assert row.under_share == 0.0


def test_groups_are_kept_apart_and_in_order() -> None:
    entries = [
        replace(ENTRY, quantity="time"),
        replace(ENTRY, device_kind="gpu"),
        replace(ENTRY, method="full"),
        ENTRY,
        ENTRY,
    ]
    rows = [(row.device_kind, row.method, row.quantity, row.n) for row in scoreboard(entries)]
    assert rows == [
        ("cpu", "full", "memory", 1),
        ("cpu", "lora", "memory", 2),
        ("cpu", "lora", "time", 1),
        ("gpu", "lora", "memory", 1),
    ]


def test_nothing_recorded_is_an_empty_board() -> None:
    assert scoreboard(()) == ()


@pytest.mark.parametrize("wrong", [{"measured": 0.0}, {"low": 110.0}, {"measured": float("nan")}])
def test_an_entry_that_cannot_be_true_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(AssertionError):
        replace(ENTRY, **wrong)
