"""Waiting for the service without standing in the way of other requests, and no longer than there is a client.

What blocks runs in a thread: of futures the service's own, of answers that are written one each, which ends with
its answer.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from threading import Event, Thread
from typing import TypeVar, cast

from starlette.types import Receive

from trimtab.errors import Busy
from trimtab.serving.facts import Piece
from trimtab.serving.http.observed import ClientGone

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Deadline:
    """`seconds` were given; they end at `ends_at`, of the clock `time.monotonic`."""

    seconds: float
    ends_at: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        return cls(seconds, time.monotonic() + seconds)

    @property
    def left_seconds(self) -> float:
        return max(0.0, self.ends_at - time.monotonic())

    def passed(self) -> Busy:
        """The error that says so."""
        return Busy("TT-N002", seconds=self.seconds)


async def answer_of(future: "Future[T]", receive: Receive, deadline: Deadline) -> T:
    """What `future` gives; cancels it where nobody waits any more. Raises ClientGone, Busy TT-N002 after
    `seconds`, TT-N003 where the service has dropped it, and what it raises."""
    waiting = asyncio.wrap_future(future)
    try:
        return await unless_gone(waiting, receive, deadline)
    except asyncio.CancelledError as error:
        if waiting.cancelled() and not _cancelled_here():
            raise Busy("TT-N003") from error
        raise


async def unless_gone(work: Awaitable[T], receive: Receive, deadline: Deadline) -> T:
    """What `work` gives; cancelled where the client goes. Raises ClientGone, Busy TT-N002 at the deadline."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_until_gone(receive))
    try:
        await asyncio.wait((task, gone), timeout=deadline.left_seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            raise ClientGone
        raise deadline.passed()
    finally:
        task.cancel()
        gone.cancel()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _cancelled_here() -> bool:
    """Whether it is this request that was cancelled, and not what it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class Pieces:
    """An answer as it is written. `begin` starts it, in the thread that takes its pieces. Close it: a request
    whose client has gone is then given up, at the latest with its next piece."""

    def __init__(self, begin: Callable[[], Iterator[Piece]]) -> None:
        self._begin = begin
        self._loop = asyncio.get_running_loop()
        self._taken: asyncio.Queue[Piece | Exception] = asyncio.Queue()  # no longer than an answer
        self._closed = Event()
        self._written: Iterator[Piece] | None = None
        Thread(target=self._take, name="trimtab-pieces", daemon=True).start()

    async def next(self) -> Piece:
        """The next piece. Raises what the service raises."""
        found = await self._taken.get()
        if isinstance(found, Exception):
            raise found
        return found

    def close(self) -> None:
        """Give the rest up."""
        self._closed.set()
        if self._written is not None:
            _close(self._written)

    def _take(self) -> None:
        try:
            self._written = self._begin()
            while not self._closed.is_set():
                self._tell(next(self._written))
        except StopIteration:
            pass
        except Exception as error:
            self._tell(error)
        finally:
            if self._written is not None:
                _close(self._written)

    def _tell(self, found: Piece | Exception) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(self._taken.put_nowait, found)


def _close(written: Iterator[Piece]) -> None:
    """An iterator that is just writing a piece closes behind it: its own thread sees to that."""
    with suppress(ValueError):
        cast("Generator[Piece, None, None]", written).close()
