"""Service: one base in memory, adapters on it by name, and requests for any of them from any thread.

Requests wait in one queue. Up to four threads share the cores; one that is free takes the oldest request with
those that can share its passes, whosever they are, and answers them together; while nothing else waits, a request
waits a little for company. What is written token by token has a thread of its own (`serving.scribe`), as have
loads (`serving.roster`), so that a request for what is not loaded holds nobody up. Leaves out HTTP
(`serving.http`).
"""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Thread
from time import monotonic

import numpy as np
import torch

from trimtab.artifacts import ArtifactFacts
from trimtab.data.spec import Example
from trimtab.errors import ArtifactError, Busy, UsageError
from trimtab.evaluation import Encoded
from trimtab.evaluation.objective import OnePass
from trimtab.hardware.cpu import allowed_cores
from trimtab.methods import Precision
from trimtab.serving import writing
from trimtab.serving.facts import Answered, Limits, ServedAdapter, ServiceFacts, WriteRequest
from trimtab.serving.lanes import Lane
from trimtab.serving.roster import Entry, Loaded, Roster, objective_of, require_writing
from trimtab.serving.scribe import Answer, Scribe

_PASSES = 4  # worth of tokens taken from the queue at once, so that rows of like length meet
_SHORT_TOKENS = 32  # of a text, where that is reckoned
_COMPANY = 4  # requests for which nobody waits any longer
_AT_ONCE = 4  # threads that answer, which share the cores: several small passes use them better than one does
_LEAST_ROWS = 16  # fewer share too little
_LOOK_SECONDS = 0.1  # how often requests that have no time left are looked for


@dataclass(slots=True)
class _Ticket:
    """A request that waits. `began`: monotonic seconds, as `deadline`."""

    entry: Entry
    passages: bool
    objective: OnePass
    examples: tuple[Example, ...]
    answer: "Future[Answered]"
    began: float
    deadline: float

    @property
    def loaded(self) -> Loaded | None:
        return self.entry.loaded

    @property
    def failed(self) -> BaseException | None:
        """Why its adapter could not be loaded."""
        load = self.entry.load
        return load.exception() if load is not None and load.done() and not load.cancelled() else None

    def settle(self, answer: Answered | BaseException) -> None:
        """Unless it was cancelled."""
        with suppress(InvalidStateError):
            if isinstance(answer, BaseException):
                self.answer.set_exception(answer)
            else:
                self.answer.set_result(answer)


@dataclass(frozen=True, slots=True)
class _Rows:
    """A request as rows of tokens."""

    ticket: _Ticket
    loaded: Loaded
    facts: ArtifactFacts
    encoded: Encoded


class Service:
    """`base` is what MODEL is on the command line; `precision`: the number format that all compute in, None = the
    one they were trained in. Close it, or use it in a `with` block.

    >>> with Service("minilm") as service:                             # doctest: +SKIP
    ...     service.register("law", Path("runs/law"))
    ...     service.ask("law", [Example(("合同纠纷",), None)]).result().predictions[0].label
    """

    def __init__(
        self,
        base: str,
        limits: Limits | None = None,
        *,
        precision: Precision | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        self._base = base
        self._limits = limits or Limits()
        self._changed = Condition()
        self._roster = Roster(
            base, self._limits, self._changed, precision=precision, trust_remote_code=trust_remote_code
        )
        self._queue: deque[_Ticket] = deque()
        self._unanswered = 0
        self._closing = False
        self._requests = self._rows = self._passes = self._refused = self._expired = 0
        at_once = max(1, min(_AT_ONCE, allowed_cores()))
        self._cores = max(1, allowed_cores() // at_once)
        self._threads = [Thread(target=self._serve, name=f"answer-{i}", daemon=True) for i in range(at_once)]
        for thread in self._threads:
            thread.start()

    @property
    def base(self) -> str:
        """What MODEL was."""
        return self._base

    # ------------------------------------------------------------------ adapters

    def register(self, name: str, folder: Path) -> ServedAdapter:
        """Let the artifact in `folder` answer to `name`; it is loaded when it is first asked. Raises UsageError
        TT-U101, TT-U102, ArtifactError as `AdapterSet.load`, and TT-N050 where it alone is beyond the budget."""
        return self._roster.register(name, folder).facts_now

    def load(self, name: str) -> ServedAdapter:
        """Have an adapter in memory now. Raises UsageError TT-U103, what `AdapterSet.load` raises, Busy."""
        entry = self._roster.entry(name)
        with self._roster.holding(entry):
            self._roster.wanted(entry).result()
        return entry.facts_now

    def unload(self, name: str) -> ServedAdapter:
        """Let its memory go; it stays registered, and what is in flight ends first. Raises UsageError TT-U103,
        Busy TT-N002 where that takes longer than a request may."""
        entry = self._roster.entry(name)
        self._roster.unload(entry)
        return entry.facts_now

    def forget(self, name: str) -> None:
        """Unload an adapter and let it answer no more. Raises as `unload`."""
        self._roster.unload(self._roster.entry(name), forget=True)

    def pin(self, name: str, pinned: bool = True) -> ServedAdapter:
        """Whether an adapter is never evicted. Raises UsageError TT-U103."""
        entry = self._roster.entry(name)
        entry.pinned = pinned
        return entry.facts_now

    def adapter(self, name: str) -> ServedAdapter:
        """Raises UsageError TT-U103 where none is called so."""
        return self._roster.entry(name).facts_now

    @property
    def adapters(self) -> tuple[ServedAdapter, ...]:
        """All that are registered, in the order of their registration."""
        return tuple(entry.facts_now for entry in self._roster.entries)

    # ------------------------------------------------------------------ requests

    def ask(
        self,
        name: str,
        examples: Sequence[Example],
        *,
        passages: bool = False,
        deadline_seconds: float | None = None,
    ) -> "Future[Answered]":
        """One Prediction an example, in order. Cancelling the future gives the request up. `passages`: of
        embeddings, behind the prefix of passages and not of queries.

        Raises at once: UsageError TT-U103, TT-N051 where the adapter writes, Busy TT-N001 where the queue is full,
        TT-N003 where the service is closing. The future raises ArtifactError TT-A008, Busy TT-N002 where its time
        has passed, and what loading raises.
        """
        entry = self._roster.entry(name)
        objective, now = objective_of(entry), monotonic()
        seconds = self._limits.deadline_seconds if deadline_seconds is None else deadline_seconds
        asked = _Ticket(entry, passages, objective, tuple(examples), Future(), now, now + seconds)
        with self._changed:
            self._require_room()
            self._count_in(entry)
            self._roster.wanted(entry)
            self._queue.append(asked)
            self._changed.notify_all()
        asked.answer.add_done_callback(lambda _: self._answered(entry))
        return asked.answer

    def write(self, name: str, request: WriteRequest, *, deadline_seconds: float | None = None) -> Answer:
        """Pieces of an answer as they are written, the last one with its `finish`; its `close` gives the request
        up. `name`: an adapter, or the base's own name where it is a language model.

        Raises once its adapter is there: UsageError TT-U103, TT-N052 where it writes nothing, TT-N202;
        ArtifactError TT-A043; ModelError TT-M040, TT-M041 of a chat template; Busy as `ask`; what loading raises.
        The iteration raises ModelError TT-N200 where the prompt is too long, Busy TT-N002, TT-N003.
        """
        entry = self._roster.base() if name == self._base else self._roster.entry(name)
        require_writing(entry)
        seconds = self._limits.deadline_seconds if deadline_seconds is None else deadline_seconds
        deadline = monotonic() + seconds
        with self._changed:
            self._require_room()
            self._count_in(entry)
            load = self._roster.wanted(entry)
        try:
            loaded = load.result(timeout=seconds)
            assert isinstance(loaded.runs_in, Scribe)
            asked = writing.ticket(loaded.row_name, request, loaded.tokenizer)
            return loaded.runs_in.write(asked, deadline, lambda: self._answered(entry))
        except BaseException as error:
            self._answered(entry)
            if isinstance(error, CancelledError):
                raise Busy("TT-N003") from None
            if isinstance(error, TimeoutError):
                with self._changed:
                    self._expired += 1
                raise Busy("TT-N002", seconds=seconds) from None
            raise

    @property
    def facts(self) -> ServiceFacts:
        return ServiceFacts(
            base=self._base,
            requests=self._requests,
            rows=self._rows,
            passes=self._passes,
            tokens=self._roster.written_tokens,
            queued=self._unanswered,
            refused=self._refused,
            expired=self._expired + self._roster.expired,
            loads=self._roster.loads,
            evictions=self._roster.evictions,
            base_bytes=self._roster.base_bytes,
            adapter_bytes=self._roster.own_bytes,
            cache_bytes=self._roster.cache_bytes,
        )

    def close(self, *, drain_seconds: float = 10.0) -> None:
        """Take no more, answer what waits for so long, give the rest up, then stop."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            given_up = monotonic() + drain_seconds
            self._changed.wait_for(lambda: not self._unanswered, drain_seconds)
            left, self._queue = tuple(self._queue), deque()
        for ticket in left:
            ticket.settle(Busy("TT-N003"))
        for thread in self._threads:
            thread.join()
        self._roster.close(max(0.0, given_up - monotonic()))

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _require_room(self) -> None:
        if self._closing:
            raise Busy("TT-N003")
        if self._unanswered >= self._limits.queued:
            self._refused += 1
            raise Busy("TT-N001", queued=self._unanswered, most=self._limits.queued, retry_seconds=1.0)

    def _count_in(self, entry: Entry) -> None:
        self._requests += 1
        self._unanswered += 1
        self._roster.count(entry, 1)

    def _answered(self, entry: Entry) -> None:
        """Also of what was cancelled, or failed."""
        with self._changed:
            self._unanswered -= 1
            self._roster.count(entry, -1)

    # ------------------------------------------------------------------ in the answering threads

    def _serve(self) -> None:
        torch.set_num_threads(self._cores)  # of this thread, and of such as begin later and say nothing
        while True:
            with self._changed:
                self._wait_for_company()
                if self._closing and not self._queue:
                    return
                window = self._window()
            if window:
                self._answer(window)

    def _wait_for_company(self) -> None:
        """Until a request can be answered; then a little longer, unless enough are there."""
        if not any(ticket.loaded for ticket in self._queue):
            self._changed.wait(_LOOK_SECONDS)
        first = next((ticket for ticket in self._queue if ticket.loaded), None)
        while first is not None and not self._closing and len(self._queue) < _COMPANY:
            left = first.began + self._limits.wait_seconds - monotonic()
            if left <= 0:
                return
            self._changed.wait(left)

    def _window(self) -> list[_Ticket]:
        """The oldest request that can be answered and those behind it that can share its passes, out of the queue;
        as do those that were given up, or whose time has passed."""
        window: list[_Ticket] = []
        rest: deque[_Ticket] = deque()
        lane: Lane | Scribe | None = None
        rows, most, now = 0, self._most_rows(), monotonic()
        for ticket in self._queue:
            if ticket.answer.cancelled():
                continue
            if ticket.deadline < now:
                self._expired += 1
                ticket.settle(Busy("TT-N002", seconds=ticket.deadline - ticket.began))
            elif ticket.failed is not None:
                ticket.settle(ticket.failed)
            elif ticket.loaded and rows < most and lane in (None, ticket.loaded.runs_in):
                if ticket.answer.set_running_or_notify_cancel():  # from here on it cannot be cancelled
                    lane, rows = ticket.loaded.runs_in, rows + len(ticket.examples)
                    window.append(ticket)
            else:
                rest.append(ticket)
        self._queue = rest
        return window

    def _most_rows(self) -> int:
        """Of a window: of short texts a few passes' worth, and no more than leaves the other threads their
        share."""
        waiting = sum(len(ticket.examples) for ticket in self._queue)
        share = max(_LEAST_ROWS, -(-waiting // len(self._threads)))
        return min(share, _PASSES * self._limits.batch_tokens // _SHORT_TOKENS)

    def _answer(self, window: list[_Ticket]) -> None:
        """Every request its answer. What goes wrong with several of them is tried one by one, so that each has
        what goes wrong with it alone."""
        try:
            asked = [one for one in map(self._encoded, window) if one is not None]
            if asked:
                self._run(asked)
        except Exception as error:
            if len(window) == 1:
                window[0].settle(error)
                return
            for ticket in window:
                if not ticket.answer.done():
                    self._answer([ticket])

    def _run(self, asked: list[_Rows]) -> None:
        lane = asked[0].loaded.runs_in
        assert isinstance(lane, Lane)
        parts = [(one.loaded.row_name, one.encoded) for one in asked]
        outputs, passes = lane.outputs(parts, tokens=self._limits.batch_tokens)
        with self._changed:
            self._rows += sum(len(one.encoded) for one in asked)
            self._passes += passes
        for one, found in zip(asked, outputs, strict=True):
            own = found[:, : one.facts.outputs or None]
            if not np.isfinite(own).all():
                one.ticket.settle(ArtifactError("TT-N054", name=one.ticket.entry.name))
                continue
            said = one.ticket.objective.predictions(own, one.encoded, one.facts, one.ticket.examples)
            one.ticket.settle(Answered(predictions=tuple(said), tokens=len(one.encoded.ids)))

    def _encoded(self, ticket: _Ticket) -> "_Rows | None":
        loaded = ticket.loaded
        assert loaded is not None, "what is asked is not evicted"
        facts = loaded.facts.of_passages() if ticket.passages else loaded.facts
        try:
            rows = ticket.objective.rows_of(facts, ticket.examples)
            encoded = ticket.objective.encode(rows, loaded.tokenizer, facts.strategy.max_length)
            if len(encoded) and not encoded.widths.all():
                raise UsageError("TT-N056", name=ticket.entry.name)
            return _Rows(ticket, loaded, facts, encoded)
        except Exception as error:
            ticket.settle(error)
            return None
