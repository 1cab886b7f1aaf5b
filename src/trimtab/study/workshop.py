"""Workshop: functions that run in processes of their own, so that what one takes is not the next one's memory, and
its crash is an answer.

Short ones are forked from a process that has imported torch and nothing else, where the system can do that: a
start takes a tenth of a second and not five. A `fresh` one starts from nothing: its memory is that of any
training. What goes between processes is values of this package. Leaves out what is run.
"""

import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pkgutil import resolve_name
from typing import Any

from trimtab.errors import Interrupted

_PRELOADED = ["trimtab.study.trial", "trimtab.study.judging"]
_LOOK_SECONDS = 0.5
_PATIENCE_SECONDS = 60.0  # in which a training that is asked to stop writes its checkpoint


@dataclass(frozen=True, slots=True)
class Answered:
    """The last thing a process says."""

    answer: Any


@dataclass(frozen=True, slots=True)
class Crashed:
    """A process ended without an answer: `status` is its exit status, negative for the signal that killed it;
    `why` is its last word."""

    status: int | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing has been said for a moment."""


def run_apart(
    work: str, order: object, *, fresh: bool = False, stop: Callable[[], int | None] = lambda: None
) -> Iterator[Any]:
    """Run `work(order, tell)` in a process of its own: what it tells, Waiting where that is nothing for a moment,
    and last Answered or Crashed. `work` is the function's place, "module:name": its module is imported there and
    not here. `stop` is asked while it runs: an exit status ends the process after its checkpoint, and Interrupted
    is raised here.
    """
    context = _context(fresh)
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(theirs, work, order), daemon=True)
    process.start()
    theirs.close()
    try:
        yield from _heard(process, ours, stop)
    finally:
        ours.close()
        if process.is_alive():
            process.terminate()
            process.join(_PATIENCE_SECONDS)
            process.kill()
        process.join()


def _heard(process: Any, ours: Connection, stop: Callable[[], int | None]) -> Iterator[Any]:
    while True:
        status = stop()
        if status is not None:
            process.terminate()
            process.join(_PATIENCE_SECONDS)
            raise Interrupted("TT-B021", exit_status=status)
        if not ours.poll(_LOOK_SECONDS):
            if not process.is_alive() and not ours.poll(0):
                yield Crashed(process.exitcode)
                return
            yield Waiting()
            continue
        try:
            said = ours.recv()
        except EOFError:
            process.join()
            yield Crashed(process.exitcode)
            return
        yield said
        if isinstance(said, Answered | Crashed):
            return


def _context(fresh: bool) -> Any:
    if fresh or "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def _child(theirs: Connection, work: str, order: object) -> None:
    """Out of the terminal's group: Ctrl-C reaches who waits for this process alone, and he ends it once."""
    if hasattr(os, "setpgrp"):
        os.setpgrp()

    def tell(said: Any) -> None:
        try:
            theirs.send(said)
        except OSError:  # nobody listens any more: who asked was killed
            os._exit(1)

    try:
        tell(Answered(resolve_name(work)(order, tell)))
    except Interrupted as stopped:
        raise SystemExit(stopped.exit_status) from None
    except BaseException as error:
        tell(Crashed(None, "".join(traceback.format_exception_only(error)).strip()))
        raise SystemExit(1) from None
