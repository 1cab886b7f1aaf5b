"""Shapes that several pages share: lines with headings, hanging items, tables."""

from collections.abc import Sequence

from rich import box
from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from trimtab.app.cli.face import Face
from trimtab.app.cli.flow import Flow

_ANY_WIDTH = 1_000  # columns, more than any table needs
_ROOM_FOR_ONE_LINE = 240  # columns from which, as in a pipe, a row needs no second line


def is_plain(face: Face) -> bool:
    """A row of a table is one line."""
    return face.out.width >= _ROOM_FOR_ONE_LINE


def two_lines(words: tuple[str, str], plain: bool) -> Text:
    """A cell: what counts, and below it what goes with it; `plain`: beside it, in brackets."""
    first, second = words
    if not second:
        return Text(first)
    return Text.assemble(first, " " if plain else "\n", (f"({second})" if plain else second, "dim"))


def facts_grid(face: Face, lines: dict[str, str]) -> Table:
    """Lines with a heading at the left; the headings are codes of the catalogue."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column()
    for code, line in lines.items():
        grid.add_row(face.say(code), Flow(line))
    return grid


def hanging(mark: RenderableType, body: RenderableType) -> Table:
    """A body that stays to the right of its mark when it wraps."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column()
    grid.add_row(mark, body)
    return grid


def new_table(face: Face, *codes: str) -> Table:
    """A table whose headings are codes of the catalogue: the first column to the left, the rest to the right.
    Without lines in a pipe, where they would only be in the way."""
    lines = box.SIMPLE_HEAD if face.out.is_terminal else None
    table = Table(box=lines, padding=(0, 1), pad_edge=False, show_edge=False)
    for place, code in enumerate(codes):
        table.add_column(face.say(code), justify="right" if place else "left")
    return table


def unbroken_table(face: Face, codes: Sequence[str], rows: Sequence[Sequence[tuple[str, str]]]) -> Table:
    """Cells of two lines. Only the last column may wrap, between its words."""
    table, plain = new_table(face, *codes), is_plain(face)
    shown = [[two_lines(cell, plain) for cell in row] for row in rows]
    for row in shown:
        table.add_row(*row)
    for column, *cells in zip(table.columns[:-1], *shown, strict=False):
        column.no_wrap = True
        column.min_width = max((cell_len(line) for cell in cells for line in cell.plain.splitlines()), default=0)
    return cut_nowhere(table)


def cut_nowhere(table: Table) -> Table:
    """Columns to the left, words that have no room folded and not cut."""
    for column in table.columns:
        column.justify, column.overflow = "left", "fold"
    return table


def needed_width(face: Face, table: Table) -> int:
    """Columns of a terminal in which no word of the table is broken."""
    anywhere = face.out.options.update_width(_ANY_WIDTH)
    return face.out.measure(table, options=anywhere).minimum
