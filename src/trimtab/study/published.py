"""Runs that others have published, as ledger entries: their setups predicted anew, beside what they measured.

published.csv holds one row a configuration (the median of its runs), grade A: everything that decides memory or
time is known, one device, measured. Facts with their address; columns as docs/rows.md has them. Predictions are
made by today's formula each time, so that the scoreboard is never stale. Rows whose length is only a limit stand
under a source of their own: a prediction at the limit should be too high there.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources

from trimtab.estimation.setups import Setup, SetupEstimate, estimate_setup, trained
from trimtab.estimation.setups.trained import total_numbers
from trimtab.store import LedgerEntry
from trimtab.study.rows import kind_of, setup_of
from trimtab.units import Figure

_FILE = "published.csv"


@cache
def published_rows() -> tuple[Mapping[str, str], ...]:
    """The rows of published.csv, cells by column."""
    text = (resources.files("trimtab.study") / _FILE).read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines()))


@cache
def published_entries() -> tuple[LedgerEntry, ...]:
    """Memory and time of every published configuration, predicted and measured. About 0.1 s the first time."""
    return tuple(entry for row in published_rows() for entry in _entries(row))


def _entries(row: Mapping[str, str]) -> Iterator[LedgerEntry]:
    setup = setup_of(row)
    found = estimate_setup(setup)
    if row["peak_bytes"]:
        figure = getattr(found.memory, kind_of(row))
        yield _entry(row, setup, found, "memory", figure, float(row["peak_bytes"]))
    if found.time is None:
        return
    if row["step_time_s"]:
        yield _entry(row, setup, found, "time", found.time.step_seconds, float(row["step_time_s"]))
    elif row["tokens_per_s_per_gpu"]:
        tokens = found.time.tokens_per_second.value * found.time.step_seconds.value
        yield _entry(
            row, setup, found, "time", found.time.step_seconds, tokens / float(row["tokens_per_s_per_gpu"])
        )


def _entry(
    row: Mapping[str, str], setup: Setup, found: SetupEstimate, quantity: str, figure: Figure, measured: float
) -> LedgerEntry:
    limit = "" if row["seq_len_kind"] == "exact" else " (limit)"
    return LedgerEntry(
        quantity="memory" if quantity == "memory" else "time",
        method=setup.method,
        strategy=json.dumps({name: cell for name, cell in row.items() if cell}),
        model=row["model_key"],
        family=setup.spec.family,
        device=row["device"] or "-",
        device_kind="gpu",
        precision=setup.compute,
        batch=setup.micro_batch * setup.micro_batches,
        micro_batch=setup.micro_batch,
        max_length=setup.length,
        trainable_parameters=trained(setup).numbers,
        total_parameters=total_numbers(setup),
        predicted=figure.value,
        low=figure.low,
        high=figure.high,
        evidence=figure.evidence,
        measured=measured,
        run_id=row["id"],
        source=f"{row['source']}{limit}",
        id=f"{row['id']}-{quantity}",
    )
