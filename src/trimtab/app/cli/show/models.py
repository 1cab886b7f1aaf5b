"""Several models on a terminal: a row each with the strategy of its own plan, in order of preference."""

from typing import TYPE_CHECKING

from trimtab.app.cli.face import Face
from trimtab.app.cli.flow import Flow
from trimtab.app.cli.show.data import data_line
from trimtab.app.cli.show.layout import facts_grid, is_plain, new_table, two_lines
from trimtab.app.cli.show.machine import machine_line
from trimtab.app.cli.show.words import (
    bytes_range,
    bytes_word,
    depth_word,
    form_word,
    money_range,
    money_word,
    points_range,
    points_word,
    seconds_range,
    seconds_word,
    short_count,
)
from trimtab.planning.models import SIZE_SOURCE
from trimtab.study.jsonable import jsonable

if TYPE_CHECKING:
    from trimtab.planning import ModelRow
    from trimtab.study import ModelChoice

_COLUMNS = ("TT-V378", "TT-V379", "TT-V220", "TT-V222", "TT-V224", "TT-V225", "TT-V226")


def show_models(face: Face, choice: "ModelChoice") -> None:
    """The question, a row a model, why some have none, and what the points rest on; or all of it as JSON."""
    if face.json:
        face.print_json(jsonable(choice, face.language))
        return
    for notice in choice.notices:
        face.err.print(Flow(f"{notice.code}: {face.tell(notice)}", "yellow"))
    face.out.print(
        facts_grid(
            face,
            {
                "TT-V202": data_line(choice.data, face),
                "TT-V203": machine_line(choice.machine, face),
                "TT-V204": choice.goal,
            },
        )
    )
    money = any(row.candidate.estimate.money is not None for row in choice.rows)
    table, plain = new_table(face, *_COLUMNS, *(("TT-V228",) if money else ())), is_plain(face)
    for column in table.columns:
        column.justify, column.overflow = "left", "fold"
    for row in choice.rows:
        cells = [*_cells(face, row), *(_money(row) if money else ())]
        table.add_row(*(two_lines(cell, plain) for cell in cells), style="" if row.candidate.fits else "dim")
    face.out.print()
    face.out.print(table)
    face.out.print()
    for row in choice.rows:
        if not row.candidate.fits:
            face.out.print(Flow(f"✗ {row.model.name}: {face.tell(row.candidate.reason)}", "dim"))
    for refusal in choice.refused:
        face.err.print(Flow(f"✗ {refusal.model}: {refusal.reason.code}: {face.tell(refusal.reason)}", "yellow"))
    source = choice.rows[0].candidate.estimate.quality.source
    face.out.print(Flow(face.say("TT-V380", method=source, size=SIZE_SOURCE), "dim"))


def _cells(face: Face, row: "ModelRow") -> list[tuple[str, str]]:
    """Each cell has what counts, and below it what goes with it."""
    estimate = row.candidate.estimate
    strategy, memory, time = estimate.strategy, estimate.memory.peak_bytes, estimate.time.total_seconds
    return [
        (row.model.name, row.model.family),
        (short_count(row.model.parameters), ""),
        (strategy.method, depth_word(strategy, face)),
        (strategy.number_formats, form_word(strategy, face)),
        (bytes_word(memory), bytes_range(memory)),
        (seconds_word(time), seconds_range(time)),
        (points_word(row.points), points_range(row.points)),
    ]


def _money(row: "ModelRow") -> tuple[tuple[str, str], ...]:
    money = row.candidate.estimate.money
    return (("", ""),) if money is None else ((money_word(money.cny, "CNY"), money_range(money.cny, "CNY")),)
