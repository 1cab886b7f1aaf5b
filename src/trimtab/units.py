"""Quantities with their units: parse what a user types, print what a user reads, and say where a figure
comes from. The only file that knows GiB from GB, and yuan from dollars. Leaves out: what things cost
(`trimtab.hardware.prices`).
"""

import math
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from trimtab.errors import UsageError
from trimtab.errors.quantities import format_bytes, format_count, format_money, format_seconds, format_share

__all__ = [
    "CURRENCIES",
    "DEFAULT_RATE",
    "GIB",
    "MIB",
    "Currency",
    "Evidence",
    "ExchangeRate",
    "Figure",
    "Money",
    "exchange_rate",
    "format_bytes",
    "format_count",
    "format_money",
    "format_seconds",
    "format_share",
    "parse_bytes",
    "parse_money",
    "parse_seconds",
]

MIB = 1024**2
GIB = 1024**3

_BYTES = {
    "": 1, "b": 1,
    "k": 1024, "kib": 1024, "m": MIB, "mib": MIB, "g": GIB, "gib": GIB, "t": 1024 * GIB, "tib": 1024 * GIB,
    "kb": 1000, "mb": 1000**2, "gb": 1000**3, "tb": 1000**4,
}  # fmt: skip
_CURRENCIES: dict[str, "Currency"] = {
    "": "CNY", "cny": "CNY", "rmb": "CNY", "¥": "CNY", "￥": "CNY", "元": "CNY", "usd": "USD", "$": "USD",
}  # fmt: skip
_SECONDS = {"ms": 0.001, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


class Evidence(StrEnum):
    """Where a figure comes from, weakest first."""

    RULE = "rule"
    FORMULA = "formula"
    DRY_RUN = "dry-run"
    PROBE = "probe"
    MEASURED = "measured"


@dataclass(frozen=True, slots=True)
class Figure:
    """A number, the interval it is expected in, and where it comes from. Its unit is in its owner's name."""

    value: float
    low: float
    high: float
    evidence: Evidence

    def __post_init__(self) -> None:
        assert self.low <= self.value <= self.high, (self.low, self.value, self.high)

    @classmethod
    def within(cls, value: float, share: float, evidence: Evidence) -> "Figure":
        """`value` give or take `share` of itself (0.1 = ten percent)."""
        return cls(value, value * (1 - share), value * (1 + share), evidence)

    def times(self, factor: float) -> "Figure":
        """The same figure in another unit: `factor` (0 or more) of the new one for each of the old."""
        return Figure(self.value * factor, self.low * factor, self.high * factor, self.evidence)


@dataclass(frozen=True, kw_only=True, slots=True)
class Foretold:
    """A prediction beside what was measured, in the same unit."""

    predicted: Figure
    measured: float

    @property
    def error_share(self) -> float:
        """Prediction against measurement: -0.1 = predicted a tenth too little."""
        return self.predicted.value / self.measured - 1 if self.measured else 0.0

    @property
    def inside(self) -> bool:
        """The measurement lies in the predicted interval."""
        return self.predicted.low <= self.measured <= self.predicted.high


Currency = Literal["CNY", "USD"]
CURRENCIES: tuple[Currency, ...] = ("CNY", "USD")


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in one currency. An hourly price is Money, and its owner's name says so."""

    amount: float
    currency: Currency

    def __str__(self) -> str:
        return format_money(self.amount, self.currency)

    @property
    def typed(self) -> str:
        """ "8.5794CNY": as `parse_money` reads it, to ten places."""
        return f"{self.amount:.10f}".rstrip("0").rstrip(".") + self.currency


@dataclass(frozen=True, kw_only=True, slots=True)
class ExchangeRate:
    """What a dollar costs in yuan. `as_of` is the day it was read; empty = given by the user."""

    cny_per_usd: float
    as_of: str
    source: str

    def amount(self, money: Money, currency: Currency) -> float:
        """`money` in `currency`."""
        if money.currency == currency:
            return money.amount
        return money.amount * self.cny_per_usd if currency == "CNY" else money.amount / self.cny_per_usd


DEFAULT_RATE = ExchangeRate(
    cny_per_usd=7.2, as_of="2026-11-22", source="implied by an index of GPU prices in both currencies"
)
_LEAST_RATE, _MOST_RATE = 0.1, 1000  # beyond these a rate is a slip of the keyboard


def parse_bytes(text: str) -> int:
    """Bytes from "8GiB", "8g", "500MB" (10^6), "1.5 GiB". GiB, MiB, G, M are binary; GB, MB decimal.

    Raises UsageError TT-U001.
    """
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([a-zA-Z]*)\s*", text)
    if not found or found[2].lower() not in _BYTES or float(found[1]) <= 0:
        raise UsageError("TT-U001", text=text)
    return round(float(found[1]) * _BYTES[found[2].lower()])


def parse_seconds(text: str) -> float:
    """Seconds from "2h", "90min", "1h30m", "45" (seconds), "5ms". Raises UsageError TT-U002."""
    stripped = text.strip().lower()
    if re.fullmatch(r"[0-9]*\.?[0-9]+", stripped) and float(stripped) > 0:
        return float(stripped)
    if not re.fullmatch(r"([0-9]*\.?[0-9]+\s*(d|h|min|ms|m|sec|s)\s*)+", stripped):
        raise UsageError("TT-U002", text=text)
    parts = re.findall(r"([0-9]*\.?[0-9]+)\s*(d|h|min|ms|m|sec|s)", stripped)
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if seconds <= 0:
        raise UsageError("TT-U002", text=text)
    return seconds


def parse_money(text: str) -> Money:
    """Money from "50CNY", "7 USD", "$7", "¥50", "50元"; "50" alone is yuan. Raises UsageError TT-U003."""
    found = re.fullmatch(r"\s*([$¥￥]?)\s*([0-9]*\.?[0-9]+)\s*([a-zA-Z元$¥￥]*)\s*", text)
    unit = (found[1] + found[3]).lower() if found else "?"
    if not found or unit not in _CURRENCIES or not 0 < float(found[2]) < math.inf:
        raise UsageError("TT-U003", text=text)
    return Money(float(found[2]), _CURRENCIES[unit])


def exchange_rate(cny_per_usd: float | None) -> ExchangeRate:
    """The rate a user gives, None = the dated default. Raises UsageError TT-U004 for one that must be a slip."""
    if cny_per_usd is None:
        return DEFAULT_RATE
    if not _LEAST_RATE <= cny_per_usd <= _MOST_RATE:  # NaN is not either
        raise UsageError("TT-U004", value=cny_per_usd, least=_LEAST_RATE, most=_MOST_RATE)
    return ExchangeRate(cny_per_usd=cny_per_usd, as_of="", source="--rate")
