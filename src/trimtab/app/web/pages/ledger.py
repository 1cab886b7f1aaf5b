"""Ledger: every prediction beside what was measured, and how good they were. Nothing here imports torch."""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from trimtab.app.cli.show.words import bytes_range, seconds_range
from trimtab.app.web import drawings
from trimtab.app.web.drawings import HALF, NARROW, Axis, Pair
from trimtab.app.web.site import Site
from trimtab.app.web.words import Voice
from trimtab.errors.quantities import format_bytes, format_seconds, format_share
from trimtab.study.html import Html
from trimtab.study.results import Ledger, ledger
from trimtab.units import Figure

_SHOWN = 100
_TICKS = {"memory": drawings.byte_ticks, "time": drawings.time_ticks}
_QUANTITY = {
    "memory": ("TT-V224", format_bytes, bytes_range),
    "time": ("TT-V225", format_seconds, seconds_range),
}


@dataclass(frozen=True, slots=True)
class LedgerPage:
    """The section."""

    site: Site

    def show(self, request: Request) -> Response:
        voice, found = self.site.voice(request), ledger()
        return self.site.show(
            request,
            "ledger.html",
            section="ledger",
            board=_board(found, voice),
            entries=_entries(found, voice),
            count=len(found.entries),
            shown=_SHOWN,
            charts=_charts(found, voice),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class BoardRow:
    """A row of the scoreboard in words."""

    device: str
    source: str
    method: str
    quantity: str
    runs: str
    median: str
    p90: str
    under: str
    inside: str


@dataclass(frozen=True, kw_only=True, slots=True)
class EntryRow:
    """A prediction beside its measurement in words."""

    at: str
    model: str
    method: str
    device: str
    quantity: str
    predicted: str
    range: str
    measured: str
    off: str
    inside: bool


def _board(found: Ledger, voice: Voice) -> list[BoardRow]:
    return [
        BoardRow(
            device=row.device_kind,
            source=row.source or voice.code("TT-V377"),
            method=row.method,
            quantity=voice.code(_QUANTITY[row.quantity][0]),
            runs=f"{row.n:,}",
            median=format_share(row.median_error),
            p90=format_share(row.p90_error),
            under=format_share(row.under_share),
            inside=format_share(row.inside_share),
        )
        for row in found.scoreboard
    ]


def _entries(found: Ledger, voice: Voice) -> list[EntryRow]:
    rows = []
    for entry in found.entries[: -_SHOWN - 1 : -1]:
        code, written, ranged = _QUANTITY[entry.quantity]
        figure = Figure(entry.predicted, entry.low, entry.high, entry.evidence)
        rows.append(
            EntryRow(
                at=entry.created_at[:16].replace("T", " "),
                model=entry.model,
                method=entry.method,
                device=entry.device,
                quantity=voice.code(code),
                predicted=written(entry.predicted),
                range=ranged(figure),
                measured=written(entry.measured),
                off=f"{100 * entry.error_share:+.0f} %",
                inside=entry.inside,
            )
        )
    return rows


def _charts(found: Ledger, voice: Voice) -> list[tuple[str, tuple[Html, Html]]]:
    """Of memory and of time, where there is something to draw."""
    charts = []
    for quantity, (code, written, _) in _QUANTITY.items():
        pairs = [
            Pair(
                entry.predicted,
                entry.measured,
                entry.inside,
                f"{entry.model}, {entry.method}: {written(entry.predicted)} / {written(entry.measured)}",
            )
            for entry in found.entries
            if entry.quantity == quantity
        ]
        if pairs:
            word = voice.code(code)
            across, up = voice("ledger.predicted"), voice("ledger.measured")
            axis = Axis(word, written, _TICKS[quantity])
            drawn = [drawings.agreement(word, pairs, axis, across, up, width) for width in (HALF, NARROW)]
            charts.append((word, (drawn[0], drawn[1])))
    return charts
