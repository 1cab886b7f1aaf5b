"""What a child has said so far: its lines, read once each, become one frozen state that a page shows.

Lines that are not understood are passed over: a newer child may say more.
"""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trimtab.app.web.children import Child
from trimtab.app.web.lines import Lines
from trimtab.study.report import Comparison
from trimtab.units import Evidence, Figure

_MOST_POINTS = 4_000
_MOST_NOTES = 50
_LAST_BYTES = 1 << 16
STOPPED = ("TT-T041", "TT-V902")  # after a checkpoint, and before there was one

Facts = Mapping[str, Any]
Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """A training as far as it has come. `phase`: planning, loading, prefix, training, finishing, and then done,
    stopped, failed or gone (ended without a word). Times of wall clock are seconds since 1970."""

    phase: str = "planning"
    running: bool = True
    method: str = ""
    model: str = ""
    data: str = ""
    machine: str = ""
    peak: Figure | None = None
    seconds: Figure | None = None
    trainable: int = 0
    step: int = 0
    steps: int = 0
    resumed_step: int = 0
    epoch: float = 0.0
    loss: Points = ()
    dev: Points = ()
    dev_name: str = ""
    learning_rate: float = 0.0
    memory_bytes: int = 0
    eta_seconds: float | None = None
    began_at: float | None = None
    last_at: float | None = None
    saved_step: int | None = None
    notes: tuple[str, ...] = ()
    rows: tuple[Comparison, ...] = ()
    scores: tuple[tuple[str, str, float, float, float, int], ...] = ()
    report: str = ""
    error: str = ""
    advice: str = ""

    @property
    def elapsed_seconds(self) -> float:
        """Of the training loop, as `Run.seconds` counts it, to the last that was heard."""
        return max(0.0, (self.last_at or 0.0) - self.began_at) if self.began_at else 0.0

    @property
    def share(self) -> float:
        return self.step / self.steps if self.steps else 0.0

    @property
    def last_loss(self) -> float | None:
        return self.loss[-1][1] if self.loss else None


class Follower:
    """Of one child; as many threads as want may ask it."""

    def __init__(self, child: Child) -> None:
        self._child, self._lock = child, threading.Lock()
        self._state, self._lines = State(), Lines(child.events)

    def state(self) -> State:
        """As it is now."""
        with self._lock:
            alive = self._child.running  # before the last lines are read, so that none is missed
            for line in self._lines.fresh():
                self._state = _after(self._state, line)
            running = alive and self._state.phase != "done"  # it has yet to leave
            self._state = replace(self._state, running=running)
            if not running and self._state.phase not in ("done", "stopped", "failed"):
                self._state = _ended(self._state, self._child.errors)
            return self._state


class Followers:
    """One for each child, for as long as the page runs."""

    def __init__(self) -> None:
        self._known: dict[str, Follower] = {}

    def of(self, child: Child) -> Follower:
        return self._known.setdefault(child.id, Follower(child))


def _after(state: State, line: bytes) -> State:
    try:
        facts = json.loads(line)
        heard = _HEARD.get(facts["event"])
        return replace(heard(state, facts), last_at=facts["at"]) if heard else state
    except (ValueError, KeyError, TypeError, IndexError, AssertionError):
        return state


def _planned(state: State, facts: Facts) -> State:
    chosen = facts["plan"]["chosen"]
    estimate = chosen["estimate"]
    return replace(
        state,
        phase="loading",
        method=chosen["method"],
        model=facts["model"]["name"],
        data=facts["data"]["name"],
        machine=facts["machine"]["name"],
        peak=figure(estimate["memory"]["peak_bytes"]),
        seconds=figure(estimate["time"]["total_seconds"]),
        notes=_noted(state, [notice["text"] for notice in facts.get("notices", ())]),
    )


def _begun(state: State, facts: Facts) -> State:
    return replace(
        state,
        phase="training",
        steps=facts["steps"],
        step=facts["resumed_step"],
        resumed_step=facts["resumed_step"],
        trainable=facts["trainable_parameters"],
        began_at=state.began_at or facts["at"],
    )


def _prefix(state: State, facts: Facts) -> State:
    return replace(state, phase="prefix", eta_seconds=facts["eta_seconds"])


def _prefix_ready(state: State, facts: Facts) -> State:
    return replace(state, phase="training")


def _preflight(state: State, facts: Facts) -> State:
    return replace(state, memory_bytes=max(state.memory_bytes, facts["memory_bytes"]))


def _stepped(state: State, facts: Facts) -> State:
    loss = facts["loss"]
    points = state.loss if loss is None else _with(state.loss, (facts["step"], loss))
    return replace(
        state,
        phase="training" if facts["step"] < facts["steps"] else "finishing",
        step=facts["step"],
        steps=facts["steps"],
        epoch=facts["epoch"],
        loss=points,
        learning_rate=facts["learning_rate"],
        memory_bytes=max(state.memory_bytes, facts["memory_bytes"]),
        eta_seconds=facts["eta_seconds"],
        began_at=state.began_at or facts["at"],
    )


def _evaluated(state: State, facts: Facts) -> State:
    metric = facts["score"]["metrics"][0]
    dev = state.dev if metric["value"] is None else _with(state.dev, (facts["step"], metric["value"]))
    return replace(state, dev=dev, dev_name=metric["name"])


def _saved(state: State, facts: Facts) -> State:
    return replace(state, saved_step=facts["step"])


def _noticed(state: State, facts: Facts) -> State:
    return replace(state, notes=_noted(state, [facts["message"]["text"]]))


def _finished(state: State, facts: Facts) -> State:
    run = facts["run"]
    scores = tuple(
        (score["split"], metric["name"], metric["value"], metric["low"], metric["high"], score["n"])
        for score in (run["dev"], run["test"])
        if score
        for metric in score["metrics"][:1]
    )
    peak = max(state.memory_bytes, run["peak_memory_bytes"])
    return replace(state, phase="finishing", scores=scores, memory_bytes=peak, eta_seconds=0.0)


def _trained(state: State, facts: Facts) -> State:
    rows = tuple(
        Comparison(quantity=row["quantity"], predicted=figure(row["predicted"]), measured=row["measured"])
        for row in facts["rows"]
    )
    memory = next((int(row.measured) for row in rows if row.quantity == "memory"), state.memory_bytes)
    return replace(state, phase="done", rows=rows, report=facts["report_path"], memory_bytes=memory)


_HEARD: Mapping[str, Callable[[State, Facts], State]] = {
    "planned": _planned,
    "started": _begun,
    "prefix_progress": _prefix,
    "prefix_ready": _prefix_ready,
    "preflight": _preflight,
    "step": _stepped,
    "evaluated": _evaluated,
    "saved": _saved,
    "notice": _noticed,
    "finished": _finished,
    "trained": _trained,
}


def figure(facts: Facts) -> Figure:
    """A figure as `jsonable` writes it."""
    return Figure(facts["value"], facts["low"], facts["high"], Evidence(facts["evidence"]))


def last_words(errors: Path) -> tuple[str, str, str]:
    """Of what a child has complained last: the code, the sentence and the advice; without a code the last line as
    it is."""
    try:
        with errors.open("rb") as file:
            file.seek(max(0, errors.stat().st_size - _LAST_BYTES))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
    except OSError:
        lines = []
    for line in reversed(lines):
        try:
            told = json.loads(line)["error"]
            return str(told["code"]), str(told["text"]), str(told["next"])
        except (ValueError, KeyError, TypeError):
            continue
    return "", lines[-1][:500] if lines else "", ""


def _ended(state: State, errors: Path) -> State:
    """It runs no more and has not said that it is done."""
    code, text, advice = last_words(errors)
    phase = "stopped" if code in STOPPED else "failed" if text else "gone"
    return replace(state, phase=phase, error=text, advice=advice, eta_seconds=None)


def _with(points: Points, point: tuple[float, float]) -> Points:
    """The points with one more; every second of the old ones goes where there are too many."""
    kept = points[::2] if len(points) >= _MOST_POINTS else points
    return (*kept, point)


def _noted(state: State, notes: list[str]) -> tuple[str, ...]:
    return (*state.notes, *notes)[-_MOST_NOTES:]
