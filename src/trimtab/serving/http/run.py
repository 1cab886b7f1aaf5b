"""HttpServer: an application on a socket, from a start that is refused early to an end that loses nothing.

On SIGTERM or Ctrl-C what is in flight is answered, what comes new is refused with 503, then the process ends;
on the second, at once. Leaves out TLS and further processes.
"""

import asyncio
import socket
from asyncio import Task, TimerHandle, Transport
from collections.abc import Sequence
from functools import partial
from types import FrameType

from fastapi import FastAPI
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

from trimtab.serving.http.app import make_app
from trimtab.serving.http.logs import log, log_to
from trimtab.serving.http.observed import Traffic
from trimtab.serving.http.settings import HttpSettings
from trimtab.serving.http.sockets import url_of
from trimtab.serving.service import Service

_LAST_SECONDS = 2  # for answers that are cut off at the end of a drain


class HttpServer:
    """A service on a socket. `first`: adapters that are loaded before it is ready; it is alive meanwhile."""

    def __init__(
        self, service: Service, settings: HttpSettings, taken: socket.socket, first: Sequence[str] = ()
    ) -> None:
        self._service, self._settings, self._taken, self._first = service, settings, taken, first
        self._traffic = Traffic()

    def run(self) -> None:
        """Answer until a signal ends it, in the main thread, and log on stderr. Raises as `serve`."""
        log_to()
        asyncio.run(self.serve())

    def drain(self) -> None:
        """Take no more, answer what is in flight, then end, as on SIGTERM: for who runs it in a thread of a
        program, where no signal reaches it."""
        self._traffic.draining = True

    async def serve(self) -> None:
        """Answer until it has been drained. Raises what loading the first adapters raises, once it has closed."""
        service, settings, traffic = self._service, self._settings, self._traffic
        loading = asyncio.create_task(asyncio.to_thread(self._load))
        app = make_app(service, settings, traffic=traffic, ready=loading.done)
        server = _Draining(_config(app, settings), traffic, settings.drain_seconds)
        loading.add_done_callback(partial(_loaded, server))
        log("listening", url=url_of(self._taken), base=service.base, adapters=len(service.adapters))
        await server.serve(sockets=[self._taken])
        log("closed", cut_off=traffic.in_flight)
        if loading.done():
            loading.result()

    def _load(self) -> None:
        for name in self._first:
            self._service.load(name)


def _loaded(server: "_Draining", loading: "Task[None]") -> None:
    """Ready, or at an end where an adapter failed. One that was cancelled was still loading at the end."""
    if loading.cancelled():
        return
    if loading.exception():
        server.stop()
    else:
        log("ready")


def _config(app: FastAPI, settings: HttpSettings) -> Config:
    class Protocol(_Impatient):
        head_seconds = settings.head_seconds

    return Config(
        app=app,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=settings.connections,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=_LAST_SECONDS,
    )


class _Draining(Server):
    """A server that goes on listening while what is in flight ends, so that who comes new is told."""

    def __init__(self, config: Config, traffic: Traffic, drain_seconds: float) -> None:
        super().__init__(config)
        self._traffic, self._drain_seconds = traffic, drain_seconds
        self._ends_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, the second ends."""
        self.force_exit = self.should_exit
        self.should_exit = self._traffic.draining
        self._traffic.draining = True

    def stop(self) -> None:
        """End without waiting."""
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether all is done."""
        if self._traffic.draining:
            now = asyncio.get_running_loop().time()
            if self._ends_at is None:
                self._ends_at = now + self._drain_seconds
                log("draining", in_flight=self._traffic.in_flight)
            self.should_exit = self.should_exit or not self._traffic.in_flight or now >= self._ends_at
        return await super().on_tick(counter)


class _Impatient(H11Protocol):
    """A connection that is closed where the whole head of a request does not come: uvicorn would wait for ever."""

    head_seconds: float
    _deadline: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        (self._watch if self._waits_for_a_head else self._unwatch)()

    @property
    def _waits_for_a_head(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _watch(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.head_seconds, self._close_if_silent)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _close_if_silent(self) -> None:
        self._deadline = None
        if self._waits_for_a_head:
            self.transport.abort()
