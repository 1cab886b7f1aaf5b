"""The gate: what a request is held to before a page sees it. Host and origin, as for every server of ours; the
key, which is in a cookie after the first visit; the form token and the size of what is sent. Answers get the
headers that keep other sites out and scripts of others from running.

Pure ASGI: a stream passes through as it is written.
"""

import hmac
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import MutableHeaders
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trimtab.app.web.settings import PageSettings
from trimtab.errors import TrimtabError, UsageError
from trimtab.serving.http.callers import Head, require_host, require_origin

KEY_FIELD, TOKEN_FIELD, FORM = "key", "token", "trimtab.form"
_READS, _WRITES = ("GET", "HEAD"), ("POST",)
_MOST_FIELDS = 100
_STATUSES = {
    "TT-N010": HTTPStatus.MISDIRECTED_REQUEST,
    "TT-N011": HTTPStatus.FORBIDDEN,
    "TT-W111": HTTPStatus.UNAUTHORIZED,
    "TT-W112": HTTPStatus.FORBIDDEN,
    "TT-W113": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "TT-W114": HTTPStatus.METHOD_NOT_ALLOWED,
}
# No script or style but our own files, no other site, no frame of others.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# Referrer "same-origin": with none at all browsers send forms with the origin "null".
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}

Refusal = Callable[[Scope, TrimtabError, int], Response]


class PageGate:
    """ASGI middleware. `refusal` makes the page that says why."""

    def __init__(self, app: ASGIApp, *, settings: PageSettings, refusal: Refusal) -> None:
        self._app, self._settings, self._refusal = app, settings, refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            answer = await self._checked(scope, receive)
        except UsageError as error:
            answer = self._refusal(scope, error, int(_STATUSES.get(error.code, HTTPStatus.BAD_REQUEST)))
        await (answer or self._app)(scope, receive, _guarded(send))

    async def _checked(self, scope: Scope, receive: Receive) -> Response | None:
        """None = on to the page. Raises UsageError."""
        head, settings = Head.of(scope), self._settings
        require_host(head, settings.http)
        require_origin(head, settings.http)
        if scope["method"] not in (*_READS, *_WRITES):
            raise UsageError("TT-W114", method=scope["method"][:16])
        if scope["path"].startswith("/static/"):
            return None
        shown = _shown_key(scope)
        if shown is not None and scope["method"] in _READS:
            return self._let_in(scope, shown)
        require_key(head, settings)
        if scope["method"] in _WRITES:
            scope[FORM] = await read_form(head, receive, settings)
            require_token(scope[FORM], settings)
        return None

    def _let_in(self, scope: Scope, shown: str) -> Response:
        """The key goes from the address into a cookie, and out of the history. Raises UsageError TT-W111."""
        if not same(shown, self._settings.key):
            raise UsageError("TT-W111")
        query = urlencode([pair for pair in _query(scope) if pair[0] != KEY_FIELD])
        answer = RedirectResponse(_local(scope["path"]) + (f"?{query}" if query else ""), status_code=303)
        answer.set_cookie(self._settings.cookie, self._settings.key, httponly=True, samesite="strict", path="/")
        return answer


def require_key(head: Head, settings: PageSettings) -> None:
    """Raises UsageError TT-W111 without the cookie; how long it takes says nothing of it."""
    sent = [
        value.strip()
        for header in head.all("cookie")
        for name, _, value in (pair.partition("=") for pair in header.split(";"))
        if name.strip() == settings.cookie
    ]
    if not any([same(value, settings.key) for value in sent]):
        raise UsageError("TT-W111")


def require_token(form: dict[str, str], settings: PageSettings) -> None:
    """Raises UsageError TT-W112 for a form that is not of a page of ours."""
    if not same(form.get(TOKEN_FIELD, ""), settings.form_token):
        raise UsageError("TT-W112")


async def read_form(head: Head, receive: Receive, settings: PageSettings) -> dict[str, str]:
    """The fields of a form; of one that stands twice the last. Raises UsageError TT-W113 where it is too long,
    TT-W112 for what is none."""
    if head.one("content-type").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise UsageError("TT-W112")
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise UsageError("TT-W112")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > settings.body_bytes:
            raise UsageError("TT-W113", most=settings.body_bytes)
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError as error:
        raise UsageError("TT-W112") from error


def same(sent: str, kept: str) -> bool:
    """In a time that says nothing of where they differ."""
    return hmac.compare_digest(sent.encode("utf-8", "surrogateescape"), kept.encode())


def _shown_key(scope: Scope) -> str | None:
    return next((value for name, value in _query(scope) if name == KEY_FIELD), None)


def _query(scope: Scope) -> list[tuple[str, str]]:
    try:
        return parse_qsl(scope["query_string"].decode("latin-1"), max_num_fields=_MOST_FIELDS)
    except ValueError:
        return []


def _local(path: str) -> str:
    """A path and never another host: `//evil.example` is one to a browser."""
    return "/" + path.lstrip("/\\")


def _guarded(send: Send) -> Send:
    """`send` that adds the headers which are not there."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sent
