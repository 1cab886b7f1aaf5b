"""Ctrl-C and SIGTERM while something long runs: the step in progress ends, what is needed to go on is written,
then it stops.

A second Ctrl-C stops at once.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}


class StopRequest:
    """`status` is None while training may go on, else the exit status asked for."""

    def __init__(self) -> None:
        self.status: int | None = None

    @contextlib.contextmanager
    def listening(self) -> Iterator["StopRequest"]:
        """Catch the signals while the block runs. Outside the main thread there is nothing to catch."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.signal(number, self._ask) for number in _STATUS}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.status is not None:
            raise KeyboardInterrupt
        self.status = _STATUS[signal.Signals(number)]
