"""Money: what a user types, what a reader sees, and one currency in another."""

import pytest

from trimtab.errors import UsageError
from trimtab.units import DEFAULT_RATE, Evidence, Figure, Money, exchange_rate, parse_money


@pytest.mark.parametrize(
    ("text", "money"),
    [
        ("50CNY", Money(50, "CNY")),
        ("50", Money(50, "CNY")),
        (" 7.5 usd ", Money(7.5, "USD")),
        ("$7", Money(7, "USD")),
        ("¥50", Money(50, "CNY")),
        ("50元", Money(50, "CNY")),
        (".5 rmb", Money(0.5, "CNY")),
    ],
)
def test_money_is_read_as_people_write_it(text: str, money: Money) -> None:
    assert parse_money(text) == money


@pytest.mark.parametrize(
    "text", ["", "0", "-5", "50EUR", "CNY", "$50CNY", "1,000", "1e3", "nan", "inf", "9" * 400, "50 CNY/h"]
)
def test_what_is_not_money_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_money(text)
    assert caught.value.code == "TT-U003"
    assert text in caught.value.message.text() and "50CNY" in caught.value.message.next_step("zh")


@pytest.mark.parametrize(
    ("amount", "printed"),
    [
        (0, "0.00 CNY"),
        (0.000123, "0.00012 CNY"),
        (0.0342, "0.034 CNY"),
        (0.00996, "0.010 CNY"),
        (0.994, "0.99 CNY"),
        (0.996, "1.00 CNY"),
        (12.3, "12.30 CNY"),
        (99.99, "99.99 CNY"),
        (99.996, "100 CNY"),
        (12345.6, "12,346 CNY"),
    ],
)
def test_money_is_printed_with_the_digits_that_count(amount: float, printed: str) -> None:
    assert str(Money(amount, "CNY")) == printed


def test_money_is_typed_as_it_is_read() -> None:
    for money in (Money(8.5794, "CNY"), Money(1234567.5, "USD"), Money(1e-7, "CNY"), Money(2e12, "USD")):
        assert parse_money(money.typed) == money


def test_a_dollar_is_seven_yuan_twenty_and_the_rate_is_dated() -> None:
    assert DEFAULT_RATE.amount(Money(10, "USD"), "CNY") == 72
    assert DEFAULT_RATE.amount(Money(72, "CNY"), "USD") == pytest.approx(10)
    assert DEFAULT_RATE.amount(Money(3, "USD"), "USD") == 3
    assert DEFAULT_RATE.as_of == "2026-11-22"


def test_a_rate_that_is_given_is_taken() -> None:
    assert exchange_rate(None) == DEFAULT_RATE
    assert exchange_rate(8).amount(Money(2, "USD"), "CNY") == 16
    assert exchange_rate(8).as_of == ""
    assert [exchange_rate(edge).cny_per_usd for edge in (0.1, 1000)] == [0.1, 1000]


@pytest.mark.parametrize("rate", [0, -7.2, 0.09, 1001, 1e308, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(UsageError) as caught:
        exchange_rate(rate)
    assert caught.value.code == "TT-U004"
    assert f"from 0.1 to 1000 CNY for one USD, not {rate}." in caught.value.message.text()


def test_a_figure_in_another_unit_keeps_its_evidence() -> None:
    seconds = Figure(3600, 1800, 7200, Evidence.PROBE)
    assert seconds.times(1 / 3600) == Figure(1, 0.5, 2, Evidence.PROBE)
