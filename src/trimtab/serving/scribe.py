"""Scribe: the thread that owns a Writer, and what other threads hold of the answers that it writes.

What others ask of the Writer (take a request, drop one, let an adapter in or out) is done between two of its
steps. Each answer has a box of its own, so that who reads slowly holds nobody up; what is read by nobody is given
up by `close`, or when its time has passed.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from time import monotonic

import torch

from trimtab.errors import Busy
from trimtab.hardware.cpu import allowed_cores
from trimtab.serving.cells import Pairs
from trimtab.serving.facts import Limits, Piece
from trimtab.serving.forks import Forked, Roads
from trimtab.serving.writing import Ticket, Writer

_LOOK_SECONDS = 0.1


class Answer(Iterator[Piece]):
    """Pieces of one answer, in order, as they are written; the last one has its `finish`. For one reader.

    The iteration raises Busy TT-N002 where its time has passed, TT-N003 where the service ended; and what went
    wrong.
    """

    def __init__(self, scribe: "Scribe", ticket: Ticket, deadline: float, ended: Callable[[], None]) -> None:
        self._scribe, self.ticket = scribe, ticket
        self.began, self.deadline = monotonic(), deadline
        self._box: SimpleQueue[Piece | BaseException] = SimpleQueue()
        self._ended, self._is_open = ended, True

    def __next__(self) -> Piece:
        if not self._is_open:
            raise StopIteration
        found = self._box.get()
        if isinstance(found, BaseException):
            self._is_open = False
            raise found
        self._is_open = found.finish is None
        return found

    def close(self) -> None:
        """Give it up, where it has not ended. From any thread."""
        self._is_open = False
        self._scribe.give_up(self)

    def put(self, found: Piece | BaseException) -> None:
        """From the writing thread."""
        self._box.put(found)

    def end(self) -> None:
        """It is written no further: counted once."""
        ended, self._ended = self._ended, _nothing
        ended()


class Scribe:
    """Writes on `forked`, whose adapters come and go. Close it."""

    def __init__(self, forked: Forked, limits: Limits) -> None:
        self._forked = forked
        self._places = {name for name, _ in forked.bare.named_modules()}
        self._writer = Writer(forked, limits)
        self._answers: dict[Ticket, Answer] = {}
        self._asked: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = Lock()
        self._ended = False
        self._closing_at: float | None = None
        self.expired = 0
        self._thread = Thread(target=self._serve, name="write", daemon=True)
        self._thread.start()

    @property
    def written_tokens(self) -> int:
        return self._writer.written_tokens

    @property
    def cache_bytes(self) -> int:
        """Memory of keys and values."""
        return self._writer.cache_bytes

    def add(self, name: str, roads: Roads, opening: Pairs) -> None:
        """Let rows be of the adapter `name`; `opening`: keys and values of its virtual tokens, where it has
        any."""
        inside = Roads({place: one for place, one in roads.by_place.items() if place in self._places})

        def let_in() -> None:
            self._forked.add(name, inside)
            self._writer.open_with(name, opening)

        self._between_steps(let_in).result()

    def remove(self, name: str) -> None:
        """Let an adapter go that no request names any more."""

        def let_out() -> None:
            self._writer.forget(name)
            self._forked.remove(name)

        self._between_steps(let_out).result()

    def write(self, ticket: Ticket, deadline: float, ended: Callable[[], None]) -> Answer:
        """`deadline`: monotonic seconds; `ended` is called once, when nothing of it is in flight any more."""
        answer = Answer(self, ticket, deadline, ended)

        def admit() -> None:
            try:
                self._writer.admit(ticket)
                self._answers[ticket] = answer
            except Exception as error:
                self._finish(answer, error)

        if not self._ask(admit):
            self._finish(answer, Busy("TT-N003"))
        return answer

    def give_up(self, answer: Answer) -> None:
        self._ask(lambda: self._drop(answer, Busy("TT-N003")))

    def close(self, drain_seconds: float) -> None:
        """End what is being written within so long, then give it up."""
        self._closing_at = monotonic() + drain_seconds
        self._thread.join()

    # ------------------------------------------------------------------ in the writing thread

    def _serve(self) -> None:
        torch.set_num_threads(allowed_cores())  # else it would begin with those of a thread that answers
        while True:
            self._do_what_was_asked()
            self._drop_what_is_late()
            if self._closing_at is not None and (self._writer.idle or monotonic() > self._closing_at):
                break
            if not self._writer.idle:
                self._step()
        with self._lock:
            self._ended = True
        self._do_what_was_asked()
        for answer in tuple(self._answers.values()):
            self._drop(answer, Busy("TT-N003"))

    def _do_what_was_asked(self) -> None:
        """Waits a little where nothing is written."""
        waits = self._writer.idle
        while True:
            try:
                asked = self._asked.get(timeout=_LOOK_SECONDS) if waits else self._asked.get_nowait()
            except Empty:
                return
            asked()
            waits = False

    def _drop_what_is_late(self) -> None:
        now = monotonic()
        for answer in [one for one in self._answers.values() if one.deadline < now]:
            self.expired += 1
            self._drop(answer, Busy("TT-N002", seconds=answer.deadline - answer.began))

    def _step(self) -> None:
        try:
            pieces = self._writer.step()
        except Exception as error:  # what is half computed belongs to all of them
            for answer in tuple(self._answers.values()):
                self._drop(answer, error)
            return
        for ticket, piece in pieces:
            written = self._answers[ticket]
            written.put(piece)
            if piece.finish:
                del self._answers[ticket]
                written.end()

    def _drop(self, answer: Answer, why: BaseException) -> None:
        """`why` also where nobody seems to read: one may be waiting for the first piece."""
        if self._answers.pop(answer.ticket, None) is not None:
            self._writer.drop(answer.ticket)
            self._finish(answer, why)

    def _finish(self, answer: Answer, why: BaseException) -> None:
        answer.put(why)
        answer.end()

    def _between_steps(self, do: Callable[[], None]) -> "Future[None]":
        done: Future[None] = Future()

        def ask() -> None:
            try:
                do()
                done.set_result(None)
            except BaseException as error:
                done.set_exception(error)

        if not self._ask(ask):
            done.set_exception(Busy("TT-N003"))
        return done

    def _ask(self, do: Callable[[], None]) -> bool:
        """Whether it will be done: not where the thread has ended."""
        with self._lock:
            if not self._ended:
                self._asked.put(do)
            return not self._ended


def _nothing() -> None:
    return None
