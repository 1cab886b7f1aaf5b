"""What changes, as server-sent events: read a few times a second, told where it is another than before."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from starlette.requests import Request

_SECONDS = 0.4
_QUIET_SECONDS = 15.0  # after which a comment shows that the stream is alive

State = TypeVar("State")


async def stream(
    request: Request,
    closing: threading.Event,
    look: Callable[[], State],
    shown: Callable[[State], tuple[str, str]],
    over: Callable[[State], bool],
) -> AsyncIterator[str]:
    """`look` again and again; `shown` makes of a state the page's part and the words for its status. Ends when it
    is `over`, nobody listens any more, or the server closes."""
    before: State | None = None
    status, quiet = "", 0.0
    while not closing.is_set() and not await request.is_disconnected():
        state = await asyncio.to_thread(look)
        if state != before:
            body, words = await asyncio.to_thread(shown, state)
            yield event("state", body)
            if words != status:
                yield event("status", words)
            before, status, quiet = state, words, 0.0
        if over(state):
            yield event("over", "")
            return
        await asyncio.sleep(_SECONDS)
        quiet += _SECONDS
        if quiet >= _QUIET_SECONDS:
            yield ": alive\n\n"
            quiet = 0.0


def event(name: str, body: str) -> str:
    """One event; a line of the body is a line of data, whatever ends it."""
    data = "".join(f"data: {line}\n" for line in body.splitlines() or [""])
    return f"event: {name}\n{data}\n"
