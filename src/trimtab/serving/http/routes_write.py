"""/v1/chat/completions and /v1/completions: what a chat or language model writes, whole or piece by piece (SSE).

The two differ in how their answers look, and in nothing else: that is `_Form`. The first piece is waited for
before an answer is begun, so that what is refused has a status of its own; what fails later is a last event.
"""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from trimtab.data.spec import Task, Turn
from trimtab.errors import Message, TrimtabError, UsageError, message
from trimtab.serving.facts import Piece, Sampling, WriteRequest
from trimtab.serving.http.bodies import (
    ChatAnswer,
    ChatBody,
    ChatChoice,
    CompletionAnswer,
    CompletionBody,
    Said,
    TextChoice,
    Usage,
)
from trimtab.serving.http.desk import ROUTE_OF_TASK, Desk, Door, noted
from trimtab.serving.http.errors import INSIDE, error_body, status_of
from trimtab.serving.http.logs import log_failure
from trimtab.serving.http.observed import Seen
from trimtab.serving.http.waiting import Deadline, Pieces, unless_gone

_MOST_TOKENS = 256  # of an answer, where the request does not say
_DONE = b"data: [DONE]\n\n"
_UNBUFFERED = {"cache-control": "no-store", "x-accel-buffering": "no"}
Choice = dict[str, object]
Whole = ChatAnswer | CompletionAnswer


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a whole answer and all pieces of one have in common."""

    id: str
    created: int
    model: str


@dataclass(frozen=True, slots=True)
class _Form:
    """How the answers of a route look. `tasks`: of adapters that are asked at it; `chunk`: the choice of an event,
    of its text, its finish and whether it is the first; `whole`: an answer, of text, finish and counts."""

    tasks: tuple[Task, ...]
    id_prefix: str
    chunk_object: str
    chunk: Callable[[str, str | None, bool], Choice]
    whole: Callable[[_Answer, str, str, Usage], Whole]


def doors(desk: Desk) -> tuple[Door, ...]:
    async def chat(body: ChatBody, request: Request) -> Response:
        """The next turn of a conversation."""
        asked = WriteRequest(
            turns=tuple(Turn(turn.role, turn.text) for turn in body.messages),
            most_tokens=body.most_tokens or _MOST_TOKENS,
            sampling=Sampling(temperature=body.temperature, top_p=body.top_p, seed=body.seed),
            stop=body.stops,
        )
        return await _written(desk, _CHAT, body, asked, request)

    async def complete(body: CompletionBody, request: Request) -> Response:
        """How a text goes on."""
        asked = WriteRequest(
            text=body.text,
            most_tokens=body.max_tokens or _MOST_TOKENS,
            sampling=Sampling(temperature=body.temperature, top_p=body.top_p, seed=body.seed),
            stop=body.stops,
        )
        return await _written(desk, _TEXT, body, asked, request)

    return (
        Door("POST", "/v1/chat/completions", chat, ChatAnswer),
        Door("POST", "/v1/completions", complete, CompletionAnswer),
    )


async def _written(
    desk: Desk, form: _Form, body: ChatBody | CompletionBody, asked: WriteRequest, request: Request
) -> Response:
    name, seen = _writer(desk, form, body.model, request), noted(request)
    deadline, seen.inputs = Deadline.after(desk.settings.deadline_seconds), 1
    answer = _Answer(f"{form.id_prefix}-{uuid.uuid4().hex}", int(time.time()), body.model)
    pieces = Pieces(lambda: desk.service.write(name, asked, deadline_seconds=deadline.seconds))
    try:
        first = await unless_gone(pieces.next(), request.receive, deadline)
        if body.stream:
            events = _events(form, answer, first, pieces, seen, deadline, body.counts_at_end)
            return _Events(events, pieces)
        return await _whole(form, answer, first, pieces, request, deadline)
    except BaseException:
        pieces.close()
        raise


def _writer(desk: Desk, form: _Form, name: str, request: Request) -> str:
    """Who writes, as the service calls it: the base, or an adapter for one of the tasks. Raises UsageError
    TT-U103, TT-N021."""
    if name == desk.base:
        noted(request).model = name
        return desk.service.base
    adapter = desk.adapter(name, request)
    if adapter.task not in form.tasks:
        raise UsageError("TT-N021", name=name, task=adapter.task, route=ROUTE_OF_TASK[adapter.task])
    return name


async def _whole(
    form: _Form, answer: _Answer, first: Piece, pieces: Pieces, request: Request, deadline: Deadline
) -> Response:
    text, last = await unless_gone(_to_its_end(first, pieces), request.receive, deadline)
    assert last.finish is not None
    _note(noted(request), last)
    whole = form.whole(answer, text, last.finish, _usage(last))
    return Response(whole.model_dump_json(), media_type="application/json")


async def _to_its_end(first: Piece, pieces: Pieces) -> tuple[str, Piece]:
    """All of a text, and its last piece."""
    texts, last = [first.text], first
    while last.finish is None:
        last = await pieces.next()
        texts.append(last.text)
    return "".join(texts), last


async def _events(
    form: _Form, answer: _Answer, first: Piece, pieces: Pieces, seen: Seen, deadline: Deadline, counts_at_end: bool
) -> AsyncIterator[bytes]:
    """Events of an answer, to the one that says it is done."""

    def chunk(choices: list[Choice], **more: object) -> bytes:
        same = {"id": answer.id, "object": form.chunk_object, "created": answer.created, "model": answer.model}
        return _event({**same, "choices": choices, **more})

    last = first
    try:
        yield chunk([form.chunk(first.text, first.finish, True)])
        while last.finish is None:
            last = await _in_time(pieces, deadline)
            yield chunk([form.chunk(last.text, last.finish, False)])
    except Exception as error:
        yield _event(_failed(error, seen))
        return
    finally:
        _note(seen, last)
    if counts_at_end:
        yield chunk([], usage=_usage(last).model_dump())
    yield _DONE


async def _in_time(pieces: Pieces, deadline: Deadline) -> Piece:
    try:
        async with asyncio.timeout(deadline.left_seconds):
            return await pieces.next()
    except TimeoutError as error:
        raise deadline.passed() from error


class _Events(StreamingResponse):
    """Server-sent events. Whatever ends them, a client that has gone among it, the answer is given up."""

    def __init__(self, events: AsyncIterator[bytes], pieces: Pieces) -> None:
        super().__init__(events, media_type="text/event-stream", headers=_UNBUFFERED)
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._pieces.close()


def _event(value: dict[str, object]) -> bytes:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


def _failed(error: Exception, seen: Seen) -> dict[str, object]:
    """What is said where an answer has begun and cannot be ended."""
    status = status_of(error)
    if status == 500 or not isinstance(error, TrimtabError):
        log_failure(error, seen.id)
        told: Message = message(INSIDE, id=seen.id)
    else:
        told = error.message
    seen.code = told.code
    return error_body(told, status, seen.language)


def _note(seen: Seen, last: Piece) -> None:
    seen.prompt_tokens, seen.tokens = last.prompt_tokens, last.tokens


def _usage(last: Piece) -> Usage:
    return Usage(
        prompt_tokens=last.prompt_tokens,
        completion_tokens=last.tokens,
        total_tokens=last.prompt_tokens + last.tokens,
    )


def _chat_chunk(text: str, finish: str | None, first: bool) -> Choice:
    role = {"role": "assistant"} if first else {}
    return {"index": 0, "delta": {**role, "content": text}, "finish_reason": finish, "logprobs": None}


def _text_chunk(text: str, finish: str | None, first: bool) -> Choice:
    return {"index": 0, "text": text, "finish_reason": finish, "logprobs": None}


def _chat_whole(answer: _Answer, text: str, finish: str, usage: Usage) -> Whole:
    choices = [ChatChoice(message=Said(content=text), finish_reason=finish)]
    return ChatAnswer(id=answer.id, created=answer.created, model=answer.model, choices=choices, usage=usage)


def _text_whole(answer: _Answer, text: str, finish: str, usage: Usage) -> Whole:
    choices = [TextChoice(text=text, finish_reason=finish)]
    return CompletionAnswer(id=answer.id, created=answer.created, model=answer.model, choices=choices, usage=usage)


_CHAT = _Form(("instruct",), "chatcmpl", "chat.completion.chunk", _chat_chunk, _chat_whole)
_TEXT = _Form(("text", "instruct"), "cmpl", "text_completion", _text_chunk, _text_whole)
