"""Money, by hand: hours paid, times the price of an hour."""

import pytest

from trimtab.estimation.money import money
from trimtab.hardware import Price
from trimtab.units import DEFAULT_RATE, Evidence, Figure, Money, exchange_rate

TWO_HOURS = Figure(7200, 3600, 10800, Evidence.PROBE)


def price(amount: float, currency: str = "CNY", rate: float | None = None) -> Price:
    return Price(hourly=Money(amount, currency), rate=exchange_rate(rate), origin="a shop")


def test_one_run_costs_its_hours() -> None:
    found = money(TWO_HOURS, price(9))
    assert found.cny == Figure(
        18, 9, 27, Evidence.PROBE
    )  # the interval is that of the time, and so is the evidence
    assert found.usd.value == pytest.approx(18 / 7.2)
    assert found.paid_seconds == TWO_HOURS
    assert found.price == price(9)


def test_runs_and_idle_time_are_paid_as_well() -> None:
    found = money(TWO_HOURS, price(9), runs=3, idle_share=0.5)
    assert found.paid_seconds.value == 3 * 7200 * 1.5
    assert (found.cny.low, found.cny.value, found.cny.high) == (40.5, 81, 121.5)


@pytest.mark.parametrize(("rate", "yuan"), [(None, 72), (7, 70)])
def test_dollars_are_told_in_yuan_at_the_rate_of_the_price(rate: float | None, yuan: float) -> None:
    found = money(TWO_HOURS, price(5, "USD", rate))
    assert (found.usd.value, found.cny.value) == (10, pytest.approx(yuan))
    assert found.figure("USD") == found.usd and found.figure("CNY") == found.cny
    assert found.price.rate.cny_per_usd == (rate or DEFAULT_RATE.cny_per_usd)
