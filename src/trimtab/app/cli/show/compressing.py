"""A step of compression on a terminal: what happens while it runs, then before beside after."""

from collections.abc import Iterable

from rich.text import Text

from trimtab.app.cli.face import Face
from trimtab.app.cli.flow import Flow
from trimtab.app.cli.show.layout import new_table
from trimtab.app.cli.show.training import TrainingView, show_comparisons
from trimtab.artifacts import Compared
from trimtab.errors import Message
from trimtab.errors.quantities import format_bytes, format_share
from trimtab.study import Climbed, Compressed, Laddered, Planned, Timed
from trimtab.study.jsonable import jsonable
from trimtab.training.events import Event

_COLUMNS = ("TT-V531", "TT-V532", "TT-V533", "TT-V534", "TT-V535", "TT-V536", "TT-V537")


Happening = Event | Message | Planned | Compressed | Climbed | Laddered


def follow(face: Face, events: Iterable[Happening], *, ladder: bool = False) -> None:
    """Show a step while it runs; with --json, only its result, at the end."""
    view = TrainingView(face)
    try:
        for event in events:
            if isinstance(event, Message):
                face.err.print(Flow(face.tell(event), "dim"))
            elif isinstance(event, Compressed):
                _show(face, event, not ladder)
            elif isinstance(event, Climbed):
                face.err.print(Flow(_rung(face, event), "bold"))
            elif isinstance(event, Laddered):
                _show_ladder(face, event)
            else:
                view.show(event)
    finally:
        view.close()


def _show(face: Face, done: Compressed, alone: bool) -> None:
    change = done.change
    if face.json:
        if alone:
            face.print_json(jsonable(done, face.language))
        return
    said = face.say(
        "TT-V530",
        folder=done.row.folder,
        size=change.weight_bytes_after,
        before=change.weight_bytes_before,
        share=change.weight_bytes_after / change.weight_bytes_before,
    )
    face.out.print(Text(said, style="bold"))
    table = new_table(face, *_COLUMNS)
    for one in change.compared:
        table.add_row(*_cells(face, one))
    face.out.print(table)
    if done.rows:
        show_comparisons(face, done.rows)


def _rung(face: Face, one: Climbed) -> str:
    guess = one.predicted_seconds
    return face.say(
        "TT-V573",
        steps=" + ".join(one.steps),
        size=one.weight_bytes,
        predicted=one.predicted_bytes,
        seconds=_milliseconds(one.seconds),
        tokens=one.tokens,
        guess="" if guess is None else face.say("TT-V574", seconds=_milliseconds(guess)),
        metric=one.metric,
        before=one.before,
        after=one.after,
        verdict=face.say("TT-V575" if one.holds else "TT-V576"),
    )


def _show_ladder(face: Face, done: Laddered) -> None:
    if face.json:
        face.print_json(jsonable(done, face.language))
        return
    for one in done.rungs:
        face.out.print(Flow(_rung(face, one)))
    face.out.print(Text(face.say("TT-V577", folder=done.row.folder, target=done.target.name), style="bold"))


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.2f} ms"


def _cells(face: Face, one: Compared) -> tuple[str, ...]:
    said = face.say(
        "TT-V539", mean=one.mean_difference, largest=one.largest_difference, count=one.compared_outputs
    )
    apart = said if one.compared_outputs else "-"
    agreed = "-" if one.agreement is None else format_share(one.agreement)
    if one.before is None or one.after is None:
        return (face.say("TT-V538"), "-", "-", "-", "-", agreed, apart)
    gained = "-" if one.low is None or one.high is None else f"{one.low:+.4f} … {one.high:+.4f}"
    return (
        f"{one.split} ({one.rows:,})",
        one.metric,
        f"{one.before:.4f}",
        f"{one.after:.4f}",
        gained,
        agreed,
        apart,
    )


def show_speeds(face: Face, timed: tuple[Timed, ...]) -> None:
    """A row a model, each beside the first."""
    first = timed[0].speed
    length, batch = first.length, first.batch
    said = [face.say("TT-V542", length=length), face.say("TT-V543"), face.say("TT-V545", batch=batch)]
    table = new_table(face, "TT-V540", "TT-V541")
    for heading in (said[0], said[1], face.say("TT-V544"), said[2], face.say("TT-V544")):
        table.add_column(heading, justify="right")
    for one in timed:
        speed = one.speed
        table.add_row(
            speed.folder,
            format_bytes(one.weight_bytes),
            f"{1e3 * speed.median_seconds:.2f} ms",
            f"{1e3 * speed.p95_seconds:.2f} ms",
            f"{first.median_seconds / speed.median_seconds:.2f} x",
            f"{speed.rows_per_second:,.0f}",
            f"{speed.rows_per_second / first.rows_per_second:.2f} x",
        )
    face.out.print(table)
