"""Margins from the ledger, kept beside it: made when a run is recorded, read by every plan without a database."""

import contextlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from trimtab.hardware.machine import Machine, Margin
from trimtab.home import cache_folder, write_atomically
from trimtab.store import LedgerEntry, margin

_QUANTITIES = ("memory", "time")


def with_margins(machine: Machine) -> Machine:
    """`machine` with what the runs recorded on devices of its kind have shown."""
    try:
        kept = json.loads(_file(machine.device.kind).read_text(encoding="utf-8"))
        found = {quantity: _margin(kept.get(quantity)) for quantity in _QUANTITIES}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return machine  # nothing recorded yet, or damaged: made anew by the next run
    return replace(machine, memory_margin=found["memory"], time_margin=found["time"])


def keep_margins(device_kind: str, entries: tuple[LedgerEntry, ...]) -> None:
    """Make the margins of one kind of device from all its entries that were measured here."""
    own = [entry for entry in entries if entry.device_kind == device_kind and not entry.source]
    found = {quantity: margin(entry for entry in own if entry.quantity == quantity) for quantity in _QUANTITIES}
    plain = {quantity: None if made is None else asdict(made) for quantity, made in found.items()}
    with contextlib.suppress(OSError):  # the ledger has it all; a plan goes on with the formula's own interval
        write_atomically(_file(device_kind), json.dumps(plain))


def _file(device_kind: str) -> Path:
    return cache_folder() / "margins" / f"{device_kind}.json"


def _margin(plain: dict[str, Any] | None) -> Margin | None:
    if plain is None:
        return None
    low, high, runs = float(plain["low"]), float(plain["high"]), int(plain["runs"])
    return Margin(low=low, high=high, runs=runs) if 0 < low <= high < float("inf") else None
