"""The outermost layer: gives a request its id, times and counts it, logs a line of it, and makes answers of
errors.

Pure ASGI: what is streamed passes through piece by piece.
"""

import asyncio
import re
import time
import uuid
from dataclasses import dataclass, field
from typing import cast

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trimtab.errors import TrimtabError
from trimtab.serving.http.errors import GONE, INSIDE, STATUSES, STATUSES_OF_LETTING_IN, answer_to, status_of
from trimtab.serving.http.logs import log, log_failure
from trimtab.serving.http.metrics import Metrics

ID_HEADER = "x-request-id"
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SEEN = "trimtab.seen"


class ClientGone(Exception):
    """Whoever asked has closed the connection, or takes no answer; nobody is left to be told."""


@dataclass(slots=True)
class Traffic:
    """What is in flight, and whether more is taken. Of one event loop; no lock."""

    in_flight: int = 0
    draining: bool = False


@dataclass(slots=True)
class Seen:
    """What is known of a request by its end; routes fill in `model` (one that there is) and what was counted.
    `code`: of what ended it; `letting_in`: an adapter is let in, for which other statuses hold."""

    id: str
    language: str
    began: float = field(default_factory=time.perf_counter)
    status: int = 0
    first_seconds: float | None = None
    model: str | None = None
    inputs: int | None = None
    prompt_tokens: int | None = None
    tokens: int | None = None
    code: str | None = None
    letting_in: bool = False

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.began


def seen_of(scope: Scope) -> Seen:
    """What is known of the request so far."""
    return cast(Seen, scope[_SEEN])


class Observed:
    """ASGI middleware. Errors end here: a TrimtabError in its own words, others as a failure of the server."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, traffic: Traffic, send_seconds: float) -> None:
        self._app, self._metrics, self._traffic, self._send_seconds = app, metrics, traffic, send_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        seen = scope[_SEEN] = Seen(id=_request_id(headers), language=_language(headers))
        self._traffic.in_flight += 1
        self._metrics.in_flight.inc()
        try:
            await self._answered(scope, receive, self._watched(send, seen), seen)
        finally:
            self._traffic.in_flight -= 1
            self._metrics.in_flight.dec()
            self._note(scope, seen)

    async def _answered(self, scope: Scope, receive: Receive, send: Send, seen: Seen) -> None:
        try:
            await self._app(scope, receive, send)
        except ClientGone:
            seen.status, seen.code = GONE, None
        except asyncio.CancelledError:
            seen.status = seen.status or GONE
            raise
        except Exception as error:
            response = self._refused(error, seen)
            if not seen.status:
                await response(scope, receive, send)

    def _refused(self, error: Exception, seen: Seen) -> JSONResponse:
        statuses = STATUSES_OF_LETTING_IN if seen.letting_in else STATUSES
        if status_of(error, statuses) == 500:
            log_failure(error, seen.id)
        seen.code = error.code if isinstance(error, TrimtabError) else INSIDE
        return answer_to(error, seen.id, seen.language, statuses)

    def _watched(self, send: Send, seen: Seen) -> Send:
        """`send` that notes the status, adds the id, and gives up a client that takes nothing."""

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen.status, seen.first_seconds = message["status"], seen.seconds
                message["headers"] = [*message.get("headers", ()), (ID_HEADER.encode(), seen.id.encode())]
            try:
                async with asyncio.timeout(self._send_seconds):
                    await send(message)
            except TimeoutError as error:
                raise ClientGone from error

        return sent

    def _note(self, scope: Scope, seen: Seen) -> None:
        route = getattr(scope.get("route"), "path", "other")  # as declared: of a path as asked there are many
        metrics, seconds = self._metrics, seen.seconds
        metrics.requests.labels(route, seen.status).inc()
        metrics.seconds.labels(route).observe(seconds)
        if seen.first_seconds is not None:
            metrics.first.labels(route).observe(seen.first_seconds)
        if seen.code:
            metrics.errors.labels(seen.code).inc()
        if seen.model:
            metrics.by_model.labels(seen.model).inc()
            metrics.inputs.labels(seen.model).inc(seen.inputs or 0)
            metrics.read.labels(seen.model).inc(seen.prompt_tokens or 0)
            metrics.written.labels(seen.model).inc(seen.tokens or 0)
        log(
            "request", id=seen.id, method=scope["method"][:16], route=route, status=seen.status,
            seconds=round(seconds, 6), model=seen.model, inputs=seen.inputs, prompt_tokens=seen.prompt_tokens,
            tokens=seen.tokens, code=seen.code,
        )  # fmt: skip


def _request_id(headers: Headers) -> str:
    """The client's, where it is well-formed."""
    sent = headers.get(ID_HEADER, "")
    return sent if _ID.fullmatch(sent) else uuid.uuid4().hex


def _language(headers: Headers) -> str:
    return "zh" if headers.get("accept-language", "").lower().startswith("zh") else "en"
