"""The gate: what a request is held to before anything of it is read. Host, origin, key, then the size, time and
depth of its body, in this order; each check is a function that raises.

Host and origin are for pages in a browser on the same machine: a page of a stranger may ask this server, under a
name of its own that leads here (DNS rebinding). Pure ASGI: answers pass through as they are written.
"""

import asyncio
import hashlib
import hmac
import re
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trimtab.errors import Busy, UsageError
from trimtab.serving.http.callers import Head, require_host, require_origin
from trimtab.serving.http.observed import ClientGone, Traffic
from trimtab.serving.http.settings import HttpSettings

OPEN_PATHS = frozenset({"/health"})  # asked for no key
_WHILE_DRAINING = frozenset({"/health", "/ready", "/metrics"})
# Strings whole, to their end or that of the text, so that no mark in them counts; or a bracket.
_JSON_MARKS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


def require_key(head: Head, settings: HttpSettings) -> None:
    """Raises UsageError TT-N012 without one of the keys; how long it takes says nothing of them."""
    if not settings.keys or head.path in OPEN_PATHS:
        return
    scheme, _, sent = head.one("authorization").partition(" ")
    right = [hmac.compare_digest(_digest(sent.strip()), _digest(key)) for key in settings.keys]
    if not any(right) or scheme.lower() != "bearer":
        raise UsageError("TT-N012")


def require_size(head: Head, settings: HttpSettings) -> None:
    """Raises UsageError TT-N013 where a body says that it is too long, before it is sent."""
    told = head.one("content-length")
    if told.isdigit() and (len(told) > 18 or int(told) > settings.body_bytes):
        raise UsageError("TT-N013", most=settings.body_bytes)


CHECKS: tuple[Callable[[Head, HttpSettings], None], ...] = (
    require_host,
    require_origin,
    require_key,
    require_size,
)


class Gate:
    """ASGI middleware. What it raises is answered by `Observed` around it."""

    def __init__(self, app: ASGIApp, *, settings: HttpSettings, traffic: Traffic) -> None:
        self._app, self._settings, self._traffic = app, settings, traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        head = Head.of(scope)
        for check in CHECKS:
            check(head, self._settings)
        if self._traffic.draining and head.path not in _WHILE_DRAINING:
            raise Busy("TT-N003")
        body = await read_body(receive, self._settings)
        if body:
            require_json(head, body, self._settings)
        await self._app(scope, _replayed(body, receive), send)


async def read_body(receive: Receive, settings: HttpSettings) -> bytes:
    """The whole body. Raises UsageError TT-N013 once it is too long, TT-N014 where it comes too slowly;
    ClientGone."""
    body = bytearray()
    more = True
    try:
        async with asyncio.timeout(settings.body_seconds):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > settings.body_bytes:
                    raise UsageError("TT-N013", most=settings.body_bytes)
    except TimeoutError as error:
        raise UsageError("TT-N014", seconds=settings.body_seconds) from error
    return bytes(body)


def require_json(head: Head, body: bytes, settings: HttpSettings) -> None:
    """Raises UsageError TT-N016 for a body that does not say it is JSON, as forms of foreign pages do not; TT-N020
    for one in another encoding, TT-N015 for one that is nested too deep to be parsed."""
    found = head.one("content-type").partition(";")[0].strip().lower()
    if found != "application/json":
        raise UsageError("TT-N016", found=found[:80] or "-")
    if b"\0" in body:  # another encoding than UTF-8, in which marks look otherwise
        raise UsageError("TT-N020", field="body", problem="Input should be JSON in UTF-8", count=1)
    if nesting(body, settings.json_depth) > settings.json_depth:
        raise UsageError("TT-N015", most=settings.json_depth)


def nesting(body: bytes, enough: int) -> int:
    """How deep lists and objects stand in each other; looks no further where they are deeper than `enough`. Takes
    time in proportion to the body."""
    depth = deepest = 0
    for match in _JSON_MARKS.finditer(body):
        mark = match[0]
        if mark in (b"[", b"{"):
            depth += 1
            deepest = max(deepest, depth)
            if deepest > enough:
                break
        elif mark in (b"]", b"}"):
            depth -= 1
    return deepest


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body that was read, once; then what else comes, which is that the client has gone."""
    waiting = [body]

    async def received() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return received


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
