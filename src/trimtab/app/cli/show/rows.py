"""Estimates of a table of setups: a line of JSON a row as it is made, or a table for a reader."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.text import Text

from trimtab.app.cli.face import Face
from trimtab.app.cli.flow import Flow
from trimtab.app.cli.show.layout import is_plain, new_table, two_lines
from trimtab.app.cli.show.words import bytes_range, bytes_word, money_word, seconds_word
from trimtab.study.jsonable import jsonable

if TYPE_CHECKING:
    from trimtab.study.rows import RowEstimate

_COLUMNS = ("TT-V371", "TT-V372", "TT-V373", "TT-V374", "TT-V375", "TT-V225", "TT-V376")


def show_rows(face: Face, found: "Iterable[RowEstimate]") -> None:
    """Row after row, in the order of the file; those that cannot be read are told below the table."""
    from trimtab.study.rows import row_facts

    if face.json:
        for row in found:
            face.print_json(row_facts(row, lambda said: jsonable(said, face.language)), indent=None)
        return
    table, plain, errors = new_table(face, *_COLUMNS), is_plain(face), []
    for row in found:
        if row.error is not None:
            errors.append(Flow(f"{row.id}: {row.error.code}: {face.tell(row.error)}", "yellow"))
        else:
            table.add_row(Text(row.id), *(two_lines(cell, plain) for cell in _cells(row)))
    face.out.print(table)
    for line in errors:
        face.err.print(line)


def _cells(row: "RowEstimate") -> list[tuple[str, str]]:
    """Each cell has what counts, and below it what goes with it; the interval stands below the kind asked for."""
    estimate = row.estimate
    assert estimate is not None
    memory, time = estimate.memory, estimate.time
    kinds = {name: getattr(memory, name) for name in ("allocated", "reserved", "device")}
    sizes = [
        (bytes_word(figure), bytes_range(figure) if name == row.kind else "") for name, figure in kinds.items()
    ]
    step = (
        ("-", "") if time is None else (seconds_word(time.step_seconds), f"{time.tokens_per_second.value:,.0f}/s")
    )
    whole = "-" if row.train_seconds is None else seconds_word(row.train_seconds)
    paid = "" if row.money is None else money_word(row.money.cny, "CNY")
    return [*sizes, step, (whole, paid), (str(len(row.assumed)), "")]
