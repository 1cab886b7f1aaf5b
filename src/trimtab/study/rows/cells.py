"""The cells of one row, read as words, counts and flags; what took a default is remembered."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from trimtab.errors import UsageError

Found = TypeVar("Found")
_UNKNOWN = ("", "unknown")
_MOST = 10**13  # of anything counted: more is a slip


@dataclass(slots=True)
class Row:
    """The cells of one row, read one by one; `assumed` grows as defaults are taken."""

    cells: Mapping[str, str]
    assumed: list[str] = field(default_factory=list)

    def text(self, column: str) -> str:
        """The cell; "" where it is empty or unknown."""
        cell = self.cells.get(column, "").strip()
        return "" if cell in _UNKNOWN else cell

    def word(self, column: str, known: Mapping[str, Found], default: str) -> Found:
        cell = self.text(column)
        if not cell:
            self.assume(column, default)
            return known[default]
        if cell not in known:
            raise UsageError("TT-W011", column=column, value=cell, known=", ".join(known))
        return known[cell]

    def count(self, column: str, default: int | None, least: int = 1) -> int | None:
        cell = self.text(column)
        if not cell:
            if default is not None:
                self.assume(column, str(default))
            return default
        number = _whole(cell)
        if number is None or not least <= number <= _MOST:
            raise UsageError("TT-W012", column=column, value=cell, least=least, most=_MOST)
        return number

    def number(self, column: str, default: float) -> float:
        """A positive number, decimals too."""
        cell = self.text(column)
        if not cell:
            self.assume(column, f"{default:g}")
            return default
        with suppress(ValueError):
            number = float(cell)
            if 0 < number <= _MOST:
                return number
        raise UsageError("TT-W013", column=column, value=cell, most=_MOST)

    def flag(self, column: str, *, default: bool = False) -> bool:
        return self.word(column, {"yes": True, "no": False}, "yes" if default else "no")

    def said(self, column: str) -> bool:
        """A flag that is "no" where nothing is said of it, which few tables do."""
        return bool(self.text(column)) and self.flag(column)

    def assume(self, column: str, value: str) -> None:
        self.assumed.append(f"{column}={value}")


def _whole(cell: str) -> int | None:
    with suppress(ValueError, OverflowError):
        number = float(cell)
        return int(number) if number.is_integer() else None
    return None
