"""What a bake-off has found, on a terminal of 80 columns: the table of those trained in earnest, two small charts,
the others with their reasons, the verdict, what to type next.

Leaves out what happens while it runs (show/comparing.py).
"""

import string
from collections.abc import Iterator, Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from trimtab.app.cli.face import Face
from trimtab.app.cli.flow import Flow
from trimtab.app.cli.show.layout import is_plain, new_table, two_lines
from trimtab.app.cli.show.scatter import Spot, scatter
from trimtab.errors.quantities import format_bytes, format_seconds
from trimtab.study import comparison_facts as facts
from trimtab.study.bakeoff import Bakeoff, Baseline, Measure, Standing
from trimtab.study.frontier_chart import axis_unit, short_name
from trimtab.study.next_commands import next_commands
from trimtab.study.page_parts import metric_words
from trimtab.study.plane import Axis
from trimtab.units import Foretold

_NAME = 14  # columns of a name in the table
_CHART = (39, 12)  # columns, rows of one of the two
_ROOM_FOR_CHARTS = 79
_LETTERS = string.ascii_uppercase


def show_bakeoff(face: Face, bakeoff: Bakeoff, path: str = "") -> None:
    """All of it; `path` is the page."""
    face.out.print()
    face.out.print(_table(face, bakeoff))
    for part in (*_charts(face, bakeoff), *_others(face, bakeoff)):
        face.out.print(part)
    face.out.print()
    for notice in bakeoff.notices:
        face.out.print(Flow(face.tell(notice), "yellow"))
    face.out.print(Flow(face.tell(bakeoff.verdict), "bold"))
    better = facts.better_baseline(bakeoff)
    if better is not None:
        face.out.print(Flow(face.tell(better), "yellow"))
    face.out.print()
    commands = [(face.say(code), command) for code, command in next_commands(bakeoff)]
    widest = max((cell_len(words) for words, _ in commands), default=0)
    for words, command in commands:
        face.out.print(Text.assemble((set_cell_size(words, widest), "dim"), f"  {command}"), soft_wrap=True)
    if path:
        face.out.print(face.say("TT-B117", path=path), soft_wrap=True)


# ---- the table ----


def _table(face: Face, bakeoff: Bakeoff) -> Table:
    plain = is_plain(face)
    table = new_table(face, "TT-B180")
    table.collapse_padding = True
    for words in _heads(face, bakeoff):
        table.add_column(words, justify="right", no_wrap=plain)
    rows = []
    for letter, one in zip(_letters(bakeoff), bakeoff.measured, strict=True):
        cells = [two_lines(cell, plain) for cell in _cells(face, bakeoff, one)]
        rows.append([_name(face, bakeoff, one, letter, plain), *cells])
        table.add_row(*rows[-1], style="bold" if one is bakeoff.chosen else "")
    for baseline in bakeoff.baselines:
        measure = facts.baseline_measure(baseline, bakeoff.split)
        if measure is not None:
            rows.append(_baseline_row(face, baseline, measure, plain))
            table.add_row(*rows[-1], style="dim")
    for column, *shown in zip(table.columns, *rows, strict=True):
        if not plain:
            column.width = _needed(str(column.header), shown)
    return table


def _baseline_row(face: Face, one: Baseline, measure: Measure, plain: bool) -> list[Text]:
    word = facts.baseline_word(one.name)
    name = short_name(word, _NAME) if isinstance(word, str) else face.tell(word)
    seconds = format_seconds(one.seconds)
    cells = (_score(measure), ("–", ""), ("–", ""), (seconds, ""), ("–", ""))
    return [Text(name if plain else f"  {name}"), *(two_lines(cell, plain) for cell in cells)]


def _needed(head: str, cells: Sequence[Text]) -> int:
    """Columns in which no figure is broken; the head may be, between its words."""
    lines = [line for cell in cells for line in cell.plain.splitlines()]
    return max(map(cell_len, [*head.split(), *lines]), default=1)


def _heads(face: Face, bakeoff: Bakeoff) -> tuple[str, ...]:
    return (
        f"{metric_words(bakeoff.metric)} ({bakeoff.split})",
        face.say("TT-B181"),
        face.say("TT-B150"),
        face.say("TT-B151"),
        face.say("TT-B183"),
    )


def _letters(bakeoff: Bakeoff) -> Sequence[str]:
    """A letter a row, which is its place in the charts."""
    return [_LETTERS[at % len(_LETTERS)] for at in range(len(bakeoff.measured))]


def _name(face: Face, bakeoff: Bakeoff, one: Standing, letter: str, plain: bool) -> Text:
    able = [face.say(code) for code, can in (("TT-B143", one.switchable), ("TT-B144", one.mergeable)) if can]
    knee = [face.say("TT-B136")] if one is bakeoff.knee() else []
    status = [face.tell(facts.status_word(one))] if one.status in ("chosen", "tied") else []
    notes = ", ".join([*status, *knee, *able])
    if plain:
        return two_lines((one.entrant.name, notes), plain)
    name = Text.assemble((letter, "cyan"), " ", _folded(one.entrant.name))
    for line in _note_lines(notes):
        name.append(f"\n  {line}", "dim")
    return name


def _folded(name: str) -> str:
    """In lines of at most _NAME letters, the second and the next set in."""
    lines = [name[start : start + _NAME] for start in range(0, min(len(name), 4 * _NAME), _NAME)]
    return "\n  ".join(lines)


def _note_lines(notes: str) -> Iterator[str]:
    line = ""
    for word in notes.split(", ") if notes else []:
        longer = f"{line}, {word}" if line else word
        if line and cell_len(longer) > _NAME:
            yield f"{line},"
            line = word
        else:
            line = longer
    if line:
        yield line


def _cells(face: Face, bakeoff: Bakeoff, one: Standing) -> list[tuple[str, str]]:
    measure = facts.shown_measure(one.best, bakeoff.split)
    kept = format_bytes(one.artifact_bytes) if one.artifact_bytes else "–"
    return [
        ("–", "") if measure is None else _score(measure),
        _difference(bakeoff, one),
        _beside(facts.memory_beside(one), is_bytes=True),
        _beside(facts.seconds_beside(one), is_bytes=False),
        (kept, ""),
    ]


def _score(measure: Measure) -> tuple[str, str]:
    interval = f"{facts.score_words(measure.low)}–{facts.score_words(measure.high)}"
    return facts.score_words(measure.value), interval


def _difference(bakeoff: Bakeoff, one: Standing) -> tuple[str, str]:
    gained, interval = facts.difference(bakeoff, one), facts.difference_interval(one)
    if one is bakeoff.chosen or gained is None:
        return "–", ""
    shown = "" if interval is None else "…".join(map(facts.signed_words, interval))
    return facts.signed_words(gained), shown


def _beside(beside: Foretold | None, *, is_bytes: bool) -> tuple[str, str]:
    """What was measured, and below it what had been predicted."""
    if beside is None:
        return "–", ""
    printed = format_bytes if is_bytes else format_seconds
    return printed(beside.measured), f"~{printed(beside.predicted.value)}"


# ---- the charts ----


def _charts(face: Face, bakeoff: Bakeoff) -> list[RenderableType]:
    """The score against memory and against time; nothing in a pipe, nor of fewer than two."""
    if not face.out.is_terminal or face.out.width < _ROOM_FOR_CHARTS or len(bakeoff.measured) < 2:
        return []
    grid = Table.grid(padding=(0, 1))
    grid.add_row(*(_chart(face, bakeoff, cost) for cost in ("memory", "seconds")))
    return [Text(), grid]


def _chart(face: Face, bakeoff: Bakeoff, cost: facts.Cost) -> Text:
    (unit, word), front = axis_unit(bakeoff, cost), bakeoff.frontier()
    spots = []
    for letter, one in zip(_letters(bakeoff), bakeoff.measured, strict=True):
        beside = facts.cost_beside(one, cost)
        if beside is None or one.best is None or one.best.dev is None:
            continue
        on_front = any(one is other for other in front)
        style = "bold green" if one is bakeoff.chosen else "bold" if on_front else "dim"
        spots.append(Spot(beside.measured / unit, one.best.dev.value, letter, style))
    lower = any(one.best.dev.lower_is_better for one in bakeoff.measured if one.best and one.best.dev)
    y_axis = Axis.of_scores([spot.y for spot in spots], lower_is_better=lower)
    lines = [one.dev.value for one in bakeoff.baselines if one.dev and y_axis.low <= one.dev.value <= y_axis.high]
    drawn = scatter(
        spots, Axis.of_sizes(spot.x for spot in spots), y_axis, width=_CHART[0], height=_CHART[1], across=lines
    )
    cost_word = face.say("TT-B119" if cost == "memory" else "TT-B129", unit=word)
    heading = face.say("TT-B118", metric=f"{metric_words(bakeoff.metric)} (dev)", cost=cost_word)
    cut = set_cell_size(heading, min(cell_len(heading), _CHART[0] - 2))
    return Text.assemble((f"  {cut}\n", "dim"), drawn)


# ---- the others ----


def _others(face: Face, bakeoff: Bakeoff) -> list[RenderableType]:
    """Those that were not trained in earnest, each with its reason."""
    rest = [one for one in bakeoff.standings if not one.in_earnest]
    if not rest:
        return []
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=not is_plain(face))
    grid.add_column(ratio=1)
    for one in rest:
        style = "red" if one.status == "failed" else "dim"
        status = face.tell(facts.status_word(one))
        said = face.say("TT-B146", name=status, why=face.tell(one.reason))
        name = one.entrant.name if is_plain(face) else short_name(one.entrant.name, 2 * _NAME)
        grid.add_row(Text(name, style), Flow(said))
    return [Text(), Padding(grid, 0, expand=False)]
