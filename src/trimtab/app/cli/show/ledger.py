"""The ledger on a terminal: how good the predictions were, and the latest of them."""

from typing import TYPE_CHECKING

from rich.text import Text

from trimtab.app.cli.face import Face
from trimtab.app.cli.show.layout import new_table
from trimtab.errors.quantities import format_bytes, format_seconds, format_share

if TYPE_CHECKING:
    from trimtab.study import Ledger

_LATEST_SHOWN = 10
_QUANTITY = {"memory": ("TT-V224", format_bytes), "time": ("TT-V225", format_seconds)}


def show_ledger(face: Face, ledger: "Ledger") -> None:
    """Errors by kind of device, source, method and quantity; then the latest predictions beside what was
    measured."""
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
    face.out.print()
    if not ledger.entries:
        face.out.print(face.say("TT-V330"))
        return
    face.out.print(Text(face.say("TT-V338"), style="bold"))
    latest = new_table(face, "TT-V339", "TT-V201", "TT-V220", "TT-V332", "TT-V283", "TT-V284", "TT-V285")
    for entry in ledger.entries[-_LATEST_SHOWN:]:
        code, printed = _QUANTITY[entry.quantity]
        figures = (printed(entry.predicted), printed(entry.measured), f"{100 * entry.error_share:+.0f} %")
        latest.add_row(entry.created_at[:10], entry.model, entry.method, face.say(code), *figures)
    face.out.print(latest)
