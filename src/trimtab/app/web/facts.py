"""Facts that a plan rests on, kept in memory while their files are as they were: then a plan is arithmetic, and
there before a finger has left the key. Nothing here imports torch."""

import contextlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import replace
from pathlib import Path
from typing import Generic, TypeVar

from trimtab.errors import TrimtabError
from trimtab.hardware.machine import Machine
from trimtab.hardware.prices import own_prices
from trimtab.planning import KeptEstimates, Limits
from trimtab.study.gather import Priced
from trimtab.study.gathered import ModelAndData, machine_for, model_and_data, plan_of, priced_machine
from trimtab.study.request import Planned, PlanRequest

_KEPT = 64
_KEPT_PLANS = 16  # each with thousands of estimates
_MACHINE_SECONDS = 60.0  # after which it is asked again what of this machine's memory can be had
_MOST_FILES = 2_000

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """The last values, by key. Where two threads make the same one, the first counts."""

    def __init__(self, most: int = _KEPT) -> None:
        self._most, self._lock = most, threading.Lock()
        self._values: OrderedDict[Hashable, Value] = OrderedDict()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._values

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        made = make()
        with self._lock:
            kept = self._values.setdefault(key, made)
            while len(self._values) > self._most:
                self._values.popitem(last=False)
        return kept


class Facts:
    """Of models and data by their names and the stamps of their files, of machines by name; and the estimates that
    were made of them, which a change of limits or goal leaves as they are."""

    def __init__(self) -> None:
        self._found: Kept[ModelAndData] = Kept()
        self._machines: Kept[Machine] = Kept()
        self._priced: Kept[Priced] = Kept()
        self._estimates: Kept[KeptEstimates] = Kept(_KEPT_PLANS)

    def plan(self, request: PlanRequest) -> Planned:
        """As `study.plan`, and raises as it does."""
        place, where = _key(request), _machine_key(request.on)
        found = self._found.get(place, lambda: model_and_data(request))
        machine = self._machines.get(where, lambda: machine_for(request.on))
        paid = (where, request.price, request.needs_price, _stamps(str(own_prices())))
        priced = self._priced.get(paid, lambda: priced_machine(request, machine))
        kept = self._estimates.get(
            (place, paid),
            lambda: KeptEstimates(spec=found.model, data=found.data, machine=priced.machine),
        )
        fresh = not kept.made
        try:
            return plan_of(request, found, priced, kept)
        finally:
            if fresh:
                threading.Thread(target=_look_further, args=(request, found, priced, kept), daemon=True).start()

    def at_hand(self, request: PlanRequest) -> bool:
        """Whether a plan is arithmetic now."""
        return _key(request) in self._found and _machine_key(request.on) in self._machines


def _look_further(request: PlanRequest, found: ModelAndData, priced: Priced, kept: KeptEstimates) -> None:
    """Make the estimates that a limit which nothing meets asks for, before somebody types one: there are several
    times as many."""
    tight = replace(request, limits=Limits(memory_bytes=1), goal="memory")
    with contextlib.suppress(TrimtabError):
        plan_of(tight, found, priced, kept)


def _key(request: PlanRequest) -> Hashable:
    stamps = (_stamps(request.model), _stamps(request.data))
    return request.model, request.data, repr(request.reading), request.trust_remote_code, *stamps


def _machine_key(on: str | None) -> Hashable:
    return on if on is not None else int(time.monotonic() / _MACHINE_SECONDS)


def _stamps(place: str) -> tuple[tuple[str, int, int], ...]:
    """Of a file, or of the files of a folder; none of a name that is no path of ours."""
    path = Path(place)
    if not path.is_absolute():
        return ()
    try:
        files = sorted(path.iterdir())[:_MOST_FILES] if path.is_dir() else [path]
        stats = [(file.name, file.stat()) for file in files]
    except OSError:
        return ()
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
