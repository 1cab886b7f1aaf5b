"""Numbers as people read them: the digits that matter, and never an exponent."""

import pytest

from trimtab.errors.quantities import format_count, format_money, format_share


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0.0 %"),
        (6.9e-7, "<0.001 %"),
        (1e-5, "0.001 %"),
        (0.00034, "0.034 %"),
        (0.0816, "8.16 %"),
        (0.125, "12.5 %"),
        (1.0, "100.0 %"),
        (-0.002, "-0.2 %"),
    ],
)
def test_a_share_has_no_exponent(share: float, text: str) -> None:
    assert format_share(share) == text


def test_counts_and_money_keep_the_digits_that_matter() -> None:
    assert format_count(6911) == "6,911"
    assert format_money(1234.5, "CNY") == "1,234 CNY"
    assert format_money(12.3, "CNY") == "12.30 CNY"
    assert format_money(0.0342, "CNY") == "0.034 CNY"
