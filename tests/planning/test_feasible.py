"""Fits or not, by the high end of the interval."""

from dataclasses import replace

import pytest
from planning_cases import cpu, guess, price

from trimtab.estimation.money import money
from trimtab.planning.feasible import overrun, shortfalls, usable_bytes
from trimtab.planning.plan import Limits
from trimtab.units import GIB, Money


def test_memory_is_what_the_machine_gives_or_the_user_allows() -> None:
    assert usable_bytes(cpu(8 * GIB), Limits()) == 8 * GIB
    assert usable_bytes(cpu(8 * GIB), Limits(memory_bytes=2 * GIB)) == 2 * GIB
    assert usable_bytes(cpu(8 * GIB), Limits(memory_bytes=64 * GIB)) == 8 * GIB


def test_fits_means_the_high_end_fits() -> None:
    likely = guess(gib=9.5, spread=0.1)  # up to 10.45 GiB
    assert overrun(likely, cpu(10 * GIB), Limits()) > 1
    assert overrun(likely, cpu(10 * GIB + GIB // 2), Limits()) < 1
    assert shortfalls(likely, cpu(11 * GIB), Limits()) == ()


def test_the_reason_names_need_limit_largest_part_and_phase() -> None:
    estimate = guess(gib=20, spread=0.05)
    (machine_reason,) = shortfalls(estimate, cpu(16 * GIB), Limits())
    assert machine_reason.text() == (
        "Needs up to 21.0 GiB, the machine has 16.0 GiB usable; largest part: activations, 20.0 GiB, "
        "peak in the optimizer step."
    )
    (limit_reason,) = shortfalls(estimate, cpu(64 * GIB), Limits(memory_bytes=8 * GIB))
    assert "your limit is 8.0 GiB" in limit_reason.text()
    assert "您的限制是 8.0 GiB；占用最大的是激活值（20.0 GiB）" in limit_reason.text("zh")


def test_time_and_memory_are_both_named() -> None:
    reasons = shortfalls(guess(gib=20, seconds=12000, spread=0), cpu(16 * GIB), Limits(seconds=7200))
    assert [reason.code for reason in reasons] == ["TT-P101", "TT-P103"]
    assert "3 h 20 min" in reasons[1].text() and "2 h" in reasons[1].text()
    assert overrun(guess(gib=1, seconds=12000, spread=0), cpu(), Limits(seconds=6000)) == 2


def test_money_is_named_with_the_price_of_an_hour_in_the_currency_of_the_limit() -> None:
    estimate = guess(seconds=7200, spread=0.5, hourly="36CNY")  # 72 CNY, up to 108; 10 USD, up to 15
    assert shortfalls(estimate, cpu(), Limits(money=Money(108, "CNY"))) == ()
    assert overrun(estimate, cpu(), Limits(money=Money(54, "CNY"))) == 2
    (reason,) = shortfalls(estimate, cpu(), Limits(money=Money(12, "USD")))
    assert reason.text() == (
        "May cost 15.00 USD (expected 10.00 USD), your limit is 12.00 USD; an hour costs 36.00 CNY (a shop)."
    )
    assert "最多可能花费 15.00 USD（预计 10.00 USD），您的限制是 12.00 USD" in reason.text("zh")


@pytest.mark.parametrize(
    ("is_old", "english", "chinese"),
    [
        (False, "6.00 CNY (a shop, 2026-09-25).", "6.00 CNY（a shop，2026-09-25）。"),
        (
            True,
            "6.00 CNY (a shop, 2026-09-25, more than 60 days old).",
            "6.00 CNY（a shop，2026-09-25，距今超过 60 天）。",
        ),
    ],
)
def test_a_price_that_makes_it_too_dear_has_its_date_and_says_that_it_is_old(
    is_old: bool, english: str, chinese: str
) -> None:
    estimate = guess(seconds=7200)
    dated = replace(price(), as_of="2026-09-25", is_old=is_old)
    estimate = replace(estimate, money=money(estimate.time.total_seconds, dated))
    (reason,) = shortfalls(estimate, cpu(), Limits(money=Money(1, "CNY")))
    assert reason.text().endswith(f"an hour costs {english}")
    assert reason.text("zh").endswith(f"每小时 {chinese}")
