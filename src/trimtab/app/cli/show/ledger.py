"""The ledger on a terminal: how good the predictions were, the latest of them, and the smaller models made."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.text import Text

from trimtab.app.cli.face import Face
from trimtab.app.cli.show.layout import new_table
from trimtab.errors.quantities import format_bytes, format_seconds, format_share

if TYPE_CHECKING:
    from trimtab.study import Ledger, VariantRecord

_LATEST_SHOWN = 10
_QUANTITY = {"memory": ("TT-V224", format_bytes), "time": ("TT-V225", format_seconds)}


def show_ledger(face: Face, ledger: "Ledger") -> None:
    """Errors by kind of device, source, method and quantity; then the latest predictions beside what was
    measured, and the latest smaller models."""
    _show_scoreboard(face, ledger)
    face.out.print()
    if ledger.entries:
        _show_latest(face, ledger)
    else:
        face.out.print(face.say("TT-V330"))
    if ledger.variants:
        face.out.print()
        _show_variants(face, ledger)


def _show_scoreboard(face: Face, ledger: "Ledger") -> None:
    table = new_table(
        face, "TT-V331", "TT-V370", "TT-V220", "TT-V332", "TT-V333", "TT-V334", "TT-V335", "TT-V336", "TT-V337"
    )
    for row in ledger.scoreboard:
        shares = (row.median_error, row.p90_error, row.under_share, row.inside_share)
        word = face.say(_QUANTITY[row.quantity][0])
        table.add_row(
            row.device_kind,
            row.source or face.say("TT-V377"),
            row.method,
            word,
            str(row.n),
            *(format_share(share) for share in shares),
        )
    face.out.print(table)


def _show_latest(face: Face, ledger: "Ledger") -> None:
    face.out.print(Text(face.say("TT-V338"), style="bold"))
    latest = new_table(face, "TT-V339", "TT-V201", "TT-V220", "TT-V332", "TT-V283", "TT-V284", "TT-V285")
    for entry in ledger.entries[-_LATEST_SHOWN:]:
        code, printed = _QUANTITY[entry.quantity]
        figures = (printed(entry.predicted), printed(entry.measured), f"{100 * entry.error_share:+.0f} %")
        latest.add_row(entry.created_at[:10], entry.model, entry.method, face.say(code), *figures)
    face.out.print(latest)


def _show_variants(face: Face, ledger: "Ledger") -> None:
    face.out.print(Text(face.say("TT-V600"), style="bold"))
    table = new_table(face, "TT-V339", "TT-V601", "TT-V541", "TT-V283", "TT-V602", "TT-V283", "TT-V532", "TT-V603")
    for made in ledger.variants[-_LATEST_SHOWN:]:
        table.add_row(
            made.created_at[:10],
            " + ".join(made.steps),
            f"{format_bytes(made.weight_bytes_before)} → {format_bytes(made.weight_bytes)}",
            _figure(made.predicted_bytes, format_bytes),
            _figure(made.text_seconds, format_seconds),
            _figure(made.predicted_text_seconds, format_seconds),
            _metric(made),
            face.say("TT-V604" if made.folder else "TT-V605"),
        )
    face.out.print(table)


def _metric(made: "VariantRecord") -> str:
    if made.before is None or made.after is None:
        return "-"
    return f"{made.metric} {made.before:.4f} → {made.after:.4f}"


def _figure(value: float | None, printed: Callable[[float], str]) -> str:
    return "-" if value is None else printed(value)
