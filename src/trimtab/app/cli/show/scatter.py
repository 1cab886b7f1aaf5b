"""A small scatter chart of letters, for a terminal: two axes with numbers, dashed lines across.

Leaves out labels: each letter stands for a row of the table beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from trimtab.study.charts import short
from trimtab.study.plane import Axis

_NUMBERS = 6  # columns of the numbers at the left
_DASH = "╌"


@dataclass(frozen=True, slots=True)
class Spot:
    x: float
    y: float
    letter: str
    style: str = ""


def scatter(
    spots: Sequence[Spot], x_axis: Axis, y_axis: Axis, *, width: int, height: int, across: Sequence[float] = ()
) -> Text:
    """`width` columns and `height` rows in all, numbers included; `across`: y of the dashed lines. Of two letters
    in one place the first stands, and the other beside it."""
    columns, rows = width - _NUMBERS - 2, height - 2
    cells: dict[tuple[int, int], tuple[str, str]] = {}
    for y in across:
        for column in range(columns):
            cells[(_row(y_axis, y, rows), column)] = (_DASH, "yellow dim")
    for spot in spots:
        row, column = _row(y_axis, spot.y, rows), min(columns - 1, round(x_axis.share(spot.x) * (columns - 1)))
        cells[(row, _free(cells, row, column, columns))] = (spot.letter, spot.style)
    numbers = {_row(y_axis, tick, rows): short(tick) for tick in y_axis.ticks()}
    drawn = Text()
    for row in range(rows):
        drawn.append(numbers.get(row, "").rjust(_NUMBERS), "dim")
        drawn.append(" ┤" if row in numbers else " │", "dim")
        for column in range(columns):
            drawn.append(*cells.get((row, column), (" ", "")))
        drawn.append("\n")
    drawn.append(" " * (_NUMBERS + 1) + "└" + "─" * columns + "\n", "dim")
    drawn.append(" " * (_NUMBERS + 2) + _tick_line(x_axis, columns), "dim")
    return drawn


def _row(axis: Axis, value: float, rows: int) -> int:
    return round((1 - axis.share(value)) * (rows - 1))


def _free(cells: dict[tuple[int, int], tuple[str, str]], row: int, column: int, columns: int) -> int:
    """The nearest place to the right, or else to the left, where no letter stands."""
    order = [*range(column, columns), *range(column - 1, -1, -1)]
    return next((at for at in order if cells.get((row, at), (_DASH, ""))[0] == _DASH), column)


def _tick_line(axis: Axis, columns: int) -> str:
    line = [" "] * columns
    end = -2
    for tick in axis.ticks():
        text = short(tick)
        start = min(columns - len(text), max(0, round(axis.share(tick) * (columns - 1)) - len(text) // 2))
        if start > end + 1:
            line[start : start + len(text)] = text
            end = start + len(text)
    return "".join(line).rstrip()
