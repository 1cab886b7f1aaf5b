"""Trainings and comparisons in processes of their own: started, found again after a restart of the page, stopped.

Each has a folder under Trimtab's own, with what was asked (child.json), what it says (events.jsonl), and what it
complains of (errors.txt). A child belongs to no terminal, so that the end of the page is not its own. Leaves out
what its lines mean (following.py).
"""

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from trimtab.errors import UsageError
from trimtab.home import cache_folder, write_atomically

TRAIN, COMPARE = "train", "compare"
EVENTS, ERRORS, _RECORD, _STOPPING = "events.jsonl", "errors.txt", "child.json", "stopping"
_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{6}")
_SAME_START_SECONDS = 1.0
_MOST_SHOWN = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Child:
    """One process. `words`: after `trimtab`; `title`: what it works on; `out`: where its result goes. `pid` and
    `pid_started` (seconds since 1970) tell it from a later process of the same number."""

    id: str
    kind: str
    title: str
    words: tuple[str, ...]
    out: str
    started_at: float
    pid: int
    pid_started: float
    folder: Path = field(default=Path(), compare=False)

    @property
    def events(self) -> Path:
        return self.folder / EVENTS

    @property
    def errors(self) -> Path:
        return self.folder / ERRORS

    @property
    def running(self) -> bool:
        return self._process() is not None

    @property
    def stopping(self) -> bool:
        """It was asked to stop."""
        return (self.folder / _STOPPING).exists()

    def stop(self) -> None:
        """As Ctrl-C: the step in progress ends and a checkpoint is written; the second time at once."""
        process = self._process()
        if process is not None:
            (self.folder / _STOPPING).touch()
            process.send_signal(signal.SIGINT)

    def _process(self) -> psutil.Process | None:
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.pid_started) < _SAME_START_SECONDS
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None


class Children:
    """Those of this user, in `folder`; None = Trimtab's own. Started ones are waited for, so that none becomes a
    zombie."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or cache_folder() / "page"
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, kind: str, title: str, words: Sequence[str], out: str, here: Path) -> Child:
        """`trimtab WORDS` in the folder `here`. Raises UsageError TT-W131 where it cannot be started."""
        self._reap()
        now = time.time()
        name = f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}-{secrets.token_hex(3)}"
        place = self._folder / name
        try:
            place.mkdir(parents=True)
            process = _started(words, place, here)
        except OSError as error:
            raise UsageError("TT-W131", reason=error.strerror or str(error)) from error
        self._started.append(process)
        child = Child(
            id=name, kind=kind, title=title, words=tuple(words), out=out, started_at=now,
            pid=process.pid, pid_started=_start_of(process.pid, now), folder=place,
        )  # fmt: skip
        write_atomically(place / _RECORD, json.dumps(asdict(child) | {"folder": ""}, ensure_ascii=False))
        return child

    def named(self, id: str) -> Child:
        """Raises UsageError TT-W130."""
        found = _read(self._folder / id) if _ID.fullmatch(id) else None
        if found is None:
            raise UsageError("TT-W130", id=id[:40])
        return found

    def all(self, kind: str) -> tuple[Child, ...]:
        """The latest first."""
        self._reap()
        try:
            names = sorted((name for name in os.listdir(self._folder) if _ID.fullmatch(name)), reverse=True)
        except OSError:
            return ()
        found = (_read(self._folder / name) for name in names[:_MOST_SHOWN])
        return tuple(child for child in found if child is not None and child.kind == kind)

    def later(self, child: Child) -> bool:
        """Whether another one was started for the same result afterwards."""
        return any(other.out == child.out and other.id > child.id for other in self.all(child.kind))

    def _reap(self) -> None:
        self._started = [process for process in self._started if process.poll() is None]


def _started(words: Sequence[str], place: Path, here: Path) -> "subprocess.Popen[bytes]":
    with (place / EVENTS).open("wb") as said, (place / ERRORS).open("wb") as complained:
        return subprocess.Popen(
            [sys.executable, "-m", "trimtab", *words],
            cwd=here,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=complained,
            start_new_session=True,
        )


def _start_of(pid: int, usual: float) -> float:
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:  # it has ended already
        return usual


def _read(place: Path) -> Child | None:
    """None for a folder without a record, or with one of another version."""
    try:
        plain = json.loads((place / _RECORD).read_text(encoding="utf-8"))
        return Child(**(plain | {"words": tuple(plain["words"]), "folder": place}))
    except (OSError, ValueError, TypeError, KeyError):
        return None
