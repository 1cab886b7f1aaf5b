"""Quantities with their units: parse what a user types, print what a user reads, and say where a figure
comes from. The only file that knows GiB from GB. Leaves out: exchange rates and prices (issue of money).
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from trimtab.errors import UsageError
from trimtab.errors.quantities import format_bytes, format_count, format_seconds, format_share

__all__ = [
    "GIB",
    "MIB",
    "Evidence",
    "Figure",
    "format_bytes",
    "format_count",
    "format_seconds",
    "format_share",
    "parse_bytes",
    "parse_seconds",
]

MIB = 1024**2
GIB = 1024**3

_BYTES = {
    "": 1, "b": 1,
    "k": 1024, "kib": 1024, "m": MIB, "mib": MIB, "g": GIB, "gib": GIB, "t": 1024 * GIB, "tib": 1024 * GIB,
    "kb": 1000, "mb": 1000**2, "gb": 1000**3, "tb": 1000**4,
}  # fmt: skip
_SECONDS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


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


def parse_bytes(text: str) -> int:
    """Bytes from "8GiB", "8g", "500MB" (10^6), "1.5 GiB". GiB, MiB, G, M are binary; GB, MB decimal.

    Raises UsageError TT-U001.
    """
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([a-zA-Z]*)\s*", text)
    if not found or found[2].lower() not in _BYTES or float(found[1]) <= 0:
        raise UsageError("TT-U001", text=text)
    return round(float(found[1]) * _BYTES[found[2].lower()])


def parse_seconds(text: str) -> float:
    """Seconds from "2h", "90min", "1h30m", "45" (seconds). Raises UsageError TT-U002."""
    stripped = text.strip().lower()
    if re.fullmatch(r"[0-9]*\.?[0-9]+", stripped) and float(stripped) > 0:
        return float(stripped)
    if not re.fullmatch(r"([0-9]*\.?[0-9]+\s*(d|h|min|m|sec|s)\s*)+", stripped):
        raise UsageError("TT-U002", text=text)
    parts = re.findall(r"([0-9]*\.?[0-9]+)\s*(d|h|min|m|sec|s)", stripped)
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if seconds <= 0:
        raise UsageError("TT-U002", text=text)
    return seconds
