"""What the page knows of `trimtab compare`: the words that start it, the lines that it says, and the file that it
leaves. All in this one file, so that it can follow the verb.

A line is one event, by the name of its class: bakeoff_started, baseline_done, trial_started, trial_step,
trial_done, bakeoff_done. Lines that are not understood are passed over.
"""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trimtab.app.web.children import Child
from trimtab.app.web.folders import Folders
from trimtab.app.web.following import STOPPED, last_words
from trimtab.app.web.lines import Lines

COMPARISON, FACTS = "comparison.html", "comparison.json"
_EVENTS = ("--json", "--events", "jsonl")

Facts = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class BakeoffAsked:
    """Fields of the form as they were typed; `methods` with commas, empty = as the verb has it."""

    models: tuple[str, ...]
    data: str
    out: str
    methods: str = ""
    time: str = ""
    memory: str = ""

    @property
    def words(self) -> list[str]:
        """After `trimtab`."""
        named = [self.models[0]] if len(self.models) == 1 else ["--models", ",".join(self.models)]
        options = {
            "--data": self.data,
            "--out": self.out,
            "--methods": self.methods,
            "--time": self.time,
            "--memory": self.memory,
        }
        return ["compare", *named, *(word for flag, value in options.items() if value for word in (flag, value))]


def child_words(words: Sequence[str], language: str) -> list[str]:
    """With what makes it say lines of events."""
    return [*words, "--lang", language, *_EVENTS]


def shown_words(child: Child) -> list[str]:
    """What a person would type."""
    words = [word for word in child.words if word not in _EVENTS]
    at = words.index("--lang") if "--lang" in words else len(words)
    return ["trimtab", *words[:at], *words[at + 2 :]]


@dataclass(frozen=True, slots=True)
class TrialLine:
    """One trial: who, on how many rows, with which rate; `value` of the metric on dev, None while it runs or where
    it failed, with `failure`."""

    entrant: str
    rung: int
    rows: int
    rate: float
    kept: bool
    better_is_less: bool = False
    seconds: float = 0.0
    value: float | None = None
    low: float | None = None
    high: float | None = None
    failure: str = ""
    share: float = 0.0

    @property
    def merit(self) -> float:
        """The value with its sign so that more is better."""
        assert self.value is not None, "asked of those that have one"
        return -self.value if self.better_is_less else self.value


@dataclass(frozen=True, kw_only=True, slots=True)
class BakeoffState:
    """As far as it has come. `phase`: planning, training, done, stopped, failed, gone."""

    phase: str = "planning"
    running: bool = True
    metric: str = ""
    budget_seconds: float = 0.0
    left_seconds: float | None = None
    began_at: float | None = None
    last_at: float | None = None
    entrants: tuple[str, ...] = ()
    done: tuple[TrialLine, ...] = ()
    now: TrialLine | None = None
    baselines: tuple[tuple[str, float | None], ...] = ()
    notes: tuple[str, ...] = ()
    page: str = ""
    verdict: str = ""
    error: str = ""
    advice: str = ""

    @property
    def spent_share(self) -> float:
        """Of the budget, by the clock."""
        if not (self.budget_seconds and self.began_at and self.last_at):
            return 0.0
        return min(1.0, (self.last_at - self.began_at) / self.budget_seconds)


class BakeoffFollower:
    """Reads the lines of one child, each once."""

    def __init__(self, child: Child) -> None:
        self._child, self._lock = child, threading.Lock()
        self._state, self._lines = BakeoffState(), Lines(child.events)

    def state(self) -> BakeoffState:
        with self._lock:
            alive = self._child.running  # before the last lines are read, so that none is missed
            for line in self._lines.fresh():
                self._state = _after(self._state, line)
            running = alive and self._state.phase != "done"
            self._state = replace(self._state, running=running)
            if not running and self._state.phase not in ("done", "stopped", "failed"):
                self._state = _ended(self._state, self._child.errors)
            return self._state


class BakeoffFollowers:
    def __init__(self) -> None:
        self._known: dict[str, BakeoffFollower] = {}

    def of(self, child: Child) -> BakeoffFollower:
        return self._known.setdefault(child.id, BakeoffFollower(child))


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundComparison:
    """A finished comparison in the chosen folders. `folder` as it is typed there."""

    folder: str
    data: str
    verdict: str
    chosen: str
    at: str


def found_comparisons(folders: Folders, language: str) -> tuple[FoundComparison, ...]:
    """The latest first."""
    return tuple(sorted(_comparisons(folders, language), key=lambda one: one.at, reverse=True))


def _comparisons(folders: Folders, language: str) -> Iterator[FoundComparison]:
    for place in folders.holding(FACTS):
        try:
            facts = json.loads((place / FACTS).read_text(encoding="utf-8"))
            yield FoundComparison(
                folder=folders.spoken(place),
                data=str(facts["data"]["name"]),
                verdict=_told(facts["verdict"]),
                chosen=str(facts["standings"][0]["entrant"]["name"]) if facts.get("standings") else "",
                at=str(facts.get("created_at", ""))[:16].replace("T", " "),
            )
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            continue  # of another version, or not ours


def _after(state: BakeoffState, line: bytes) -> BakeoffState:
    try:
        facts = json.loads(line)
        heard = _HEARD.get(facts["event"])
        at = facts["at"]
        return replace(heard(state, facts), last_at=at, began_at=state.began_at or at) if heard else state
    except (ValueError, KeyError, TypeError, IndexError):
        return state


def _begun(state: BakeoffState, facts: Facts) -> BakeoffState:
    return replace(
        state,
        phase="training",
        metric=facts["metric"],
        budget_seconds=facts["budget_seconds"],
        entrants=tuple(entrant["name"] for entrant in facts["entrants"]),
    )


def _baseline(state: BakeoffState, facts: Facts) -> BakeoffState:
    told, dev = facts["baseline"], facts["baseline"].get("dev")
    return replace(state, baselines=(*state.baselines, (told["name"], dev["value"] if dev else None)))


def _trial(facts: Facts) -> TrialLine:
    return TrialLine(
        entrant=facts["entrant"],
        rung=facts["rung"],
        rows=facts["rows"],
        rate=facts["learning_rate"],
        kept=facts["kept"],
    )


def _trial_started(state: BakeoffState, facts: Facts) -> BakeoffState:
    return replace(state, now=_trial(facts["trial"]), left_seconds=facts["left_seconds"])


def _trial_step(state: BakeoffState, facts: Facts) -> BakeoffState:
    return replace(state, now=replace(_trial(facts["trial"]), share=facts["step"] / max(1, facts["steps"])))


def _trial_done(state: BakeoffState, facts: Facts) -> BakeoffState:
    result = facts["result"]
    dev, failure = result.get("dev"), result.get("failure")
    line = replace(
        _trial(result["trial"]),
        seconds=result["seconds"],
        value=dev["value"] if dev else None,
        low=dev["low"] if dev else None,
        high=dev["high"] if dev else None,
        better_is_less=bool(dev and dev.get("lower_is_better")),
        failure=_told(failure) if failure else "",
        share=1.0,
    )
    return replace(state, now=None, done=(*state.done, line))


def _bakeoff_done(state: BakeoffState, facts: Facts) -> BakeoffState:
    verdict = facts.get("bakeoff", {}).get("verdict")
    return replace(
        state, phase="done", now=None, page=facts["comparison_path"], verdict=_told(verdict) if verdict else ""
    )


def _noted(state: BakeoffState, facts: Facts) -> BakeoffState:
    return replace(state, notes=(*state.notes, _told(facts.get("message", facts)))[-50:])


_HEARD: Mapping[str, Callable[[BakeoffState, Facts], BakeoffState]] = {
    "bakeoff_started": _begun,
    "baseline_done": _baseline,
    "trial_started": _trial_started,
    "trial_step": _trial_step,
    "trial_done": _trial_done,
    "bakeoff_done": _bakeoff_done,
    "message": _noted,
    "notice": _noted,
}


def _told(said: Any) -> str:
    """A message as `jsonable` writes it, or words."""
    return str(said["text"]) if isinstance(said, Mapping) else str(said)


def _ended(state: BakeoffState, errors: Path) -> BakeoffState:
    code, text, advice = last_words(errors)
    phase = "stopped" if code in STOPPED else "failed" if text else "gone"
    return replace(state, phase=phase, error=text, advice=advice, now=None, left_seconds=None)
