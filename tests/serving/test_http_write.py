"""What is written comes whole or piece by piece; what nobody waits for any more is given up."""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import openai
import pytest
from http_served import BEARER, KEY, WritingService, client_of, code_of, events_of, place, running, settings
from starlette.testclient import TestClient
from starlette.types import Message

from trimtab.serving.http.app import make_app
from trimtab.serving.service import Service

TURNS = [{"role": "user", "content": "good film"}]
CHAT = {"model": "talk", "messages": TURNS, "max_tokens": 6}
TEXT = {"model": "talk", "prompt": "good film", "max_tokens": 6}


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> WritingService:
    return WritingService(tmp_path_factory.mktemp("writer"))


@pytest.fixture(scope="module")
def client(writer: WritingService) -> TestClient:
    return client_of(writer)


def test_a_turn_whole_and_in_pieces_is_the_same(client: TestClient) -> None:
    whole = client.post("/v1/chat/completions", json=CHAT).json()
    assert whole["object"] == "chat.completion" and whole["model"] == "talk"
    (choice,), usage = whole["choices"], whole["usage"]
    assert choice["message"]["role"] == "assistant" and choice["finish_reason"] in ("stop", "length")
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    streamed = client.post(
        "/v1/chat/completions", json={**CHAT, "stream": True, "stream_options": {"include_usage": True}}
    )
    assert streamed.headers["content-type"].startswith("text/event-stream")
    *chunks, counts, done = events_of(streamed.text)
    assert done == "[DONE]" and counts["choices"] == [] and counts["usage"] == usage
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1
    deltas = [chunk["choices"][0] for chunk in chunks]
    assert "".join(delta["delta"]["content"] for delta in deltas) == choice["message"]["content"]
    assert [delta["delta"].get("role") for delta in deltas] == ["assistant", *[None] * (len(deltas) - 1)]
    assert [delta["finish_reason"] for delta in deltas] == [None] * (len(deltas) - 1) + [choice["finish_reason"]]


def test_a_text_whole_and_in_pieces_is_the_same(client: TestClient) -> None:
    whole = client.post("/v1/completions", json=TEXT).json()
    *chunks, done = events_of(client.post("/v1/completions", json={**TEXT, "stream": True}).text)
    assert whole["object"] == "text_completion" and done == "[DONE]"
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == whole["choices"][0]["text"]
    assert (
        client.post("/v1/completions", json={**TEXT, "prompt": [TEXT["prompt"]]}).json()["choices"]
        == whole["choices"]
    )


def test_the_base_writes_under_its_own_name(client: TestClient, writer: WritingService) -> None:
    assert client.get("/v1/models").json()["data"][0]["id"] == "chat"
    assert client.post("/v1/chat/completions", json={**CHAT, "model": "chat"}).status_code == 200
    for name in ("other", writer.facts.base):
        assert code_of(client.post("/v1/chat/completions", json={**CHAT, "model": name})) == (404, "TT-U103")


def test_parts_of_text_are_one_text_and_limits_have_two_names(client: TestClient) -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": "good "}, {"type": "text", "text": "film"}]}]
    same = client.post("/v1/chat/completions", json={**CHAT, "messages": parts}).json()
    assert same["choices"] == client.post("/v1/chat/completions", json=CHAT).json()["choices"]
    newer = {"model": "talk", "messages": TURNS, "max_completion_tokens": 2}
    assert client.post("/v1/chat/completions", json=newer).json()["usage"]["completion_tokens"] <= 2
    assert code_of(client.post("/v1/chat/completions", json={**CHAT, **newer}))[0] == 422


@pytest.mark.parametrize(
    "more",
    [
        {"chat_template": "{{ x }}"}, {"chat_template_kwargs": {}}, {"prompt_embeds": "AAAA"}, {"tools": []},
        {"response_format": {"type": "json_object"}}, {"logprobs": True}, {"top_logprobs": 10**6}, {"n": 10**9},
        {"n": 2}, {"n": 0}, {"n": True}, {"n": 1.0}, {"max_tokens": 10**9}, {"max_tokens": 0}, {"max_tokens": -1},
        {"max_tokens": True}, {"max_tokens": "5"}, {"max_tokens": 5.0}, {"temperature": -0.1},
        {"temperature": 2.1}, {"temperature": True}, {"temperature": "1"}, {"top_p": 0}, {"top_p": 1.01},
        {"seed": 1 << 63}, {"seed": 1.5}, {"stop": ["a"] * 5}, {"stop": ""}, {"stop": "a" * 300},
        {"stream": "yes"}, {"stream": 1},
        {"frequency_penalty": 0.5}, {"stream_options": {"include_usage": 1}}, {"stream_options": {"x": True}},
        {"user": "a" * 300}, {"model": ""}, {"model": "a" * 300}, {"model": None}, {"model": ["talk"]},
        {"messages": []}, {"messages": TURNS * 600}, {"messages": [{"role": "root", "content": "a"}]},
        {"messages": [{"role": "user", "content": ""}]},
        {"messages": [{"role": "user", "content": "a", "name": "b"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/"}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "url": "b"}]}]},
        {"messages": "good film"},
    ],
    ids=lambda more: json.dumps(more)[:50],
)  # fmt: skip
def test_every_field_is_bounded(client: TestClient, more: dict) -> None:
    refused = client.post("/v1/chat/completions", json={**CHAT, **more})
    assert code_of(refused) == (422, "TT-N020"), refused.text
    assert refused.json()["error"]["param"]
    assert len(refused.text) < 1000


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_is_finite(client: TestClient, literal: str) -> None:
    body = json.dumps(CHAT)[:-1] + f', "temperature": {literal}}}'
    refused = client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert code_of(refused) == (422, "TT-N020")


def test_the_field_that_is_wrong_is_named_as_it_was_sent(client: TestClient) -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": 7}]}]
    for more, param in (
        ({"stop": 7}, "stop"),
        ({"messages": [*TURNS, {"role": "root", "content": "a"}]}, "messages.1.role"),
        ({"messages": parts}, "messages.0.content"),
        ({"strange": 1}, "strange"),
    ):
        assert client.post("/v1/chat/completions", json={**CHAT, **more}).json()["error"]["param"] == param


def test_names_of_fields_are_cut_and_values_not_told(client: TestClient) -> None:
    refused = client.post("/v1/chat/completions", json={**CHAT, "x" * 5000: "secret words"})
    assert code_of(refused)[0] == 422 and "secret" not in refused.text and len(refused.text) < 1000


def test_a_failure_before_the_first_piece_is_a_status_and_after_it_an_event(tmp_path: Path, caplog) -> None:
    for fails_after, streams, status in ((0, True, 500), (0, False, 500), (2, False, 500), (2, True, 200)):
        writer = WritingService(tmp_path / f"{fails_after}{streams}", fails_after=fails_after)
        answer = client_of(writer).post("/v1/chat/completions", json={**CHAT, "stream": streams})
        assert answer.status_code == status and "secret" not in answer.text
        if status == 200:
            *chunks, failed = events_of(answer.text)
            assert len(chunks) == 2 and failed["error"]["code"] == "TT-N004"
        assert until(lambda writer=writer: writer.ended == 1)
    assert all("secret" not in json.dumps(record.facts) for record in caplog.records if hasattr(record, "facts"))


def test_what_takes_too_long_is_given_up(tmp_path: Path) -> None:
    writer = WritingService(tmp_path, pause_seconds=0.15)
    client = client_of(writer, deadline_seconds=0.4)
    whole = client.post("/v1/chat/completions", json={**CHAT, "max_tokens": 60})
    assert code_of(whole) == (504, "TT-N002")
    *chunks, late = events_of(
        client.post("/v1/chat/completions", json={**CHAT, "max_tokens": 60, "stream": True}).text
    )
    assert chunks and late["error"]["code"] == "TT-N002"
    assert until(lambda: writer.given_up == 2)


def test_the_openai_client_is_answered(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "good film"}]
    with running(WritingService(tmp_path)) as (_, plain, _):
        client = openai.OpenAI(base_url=f"{plain.base_url}/v1", api_key=KEY, max_retries=0)
        whole = client.chat.completions.create(model="talk", messages=turns, max_tokens=6)
        chunks = list(client.chat.completions.create(model="talk", messages=turns, max_tokens=6, stream=True))
        said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert said == whole.choices[0].message.content and chunks[-1].choices[0].finish_reason
        text = client.completions.create(model="chat", prompt="good film", max_tokens=6)
        assert text.usage is not None and text.usage.completion_tokens <= 6
    with running(WritingService(tmp_path / "failing", fails_after=2)) as (_, plain, _):
        client = openai.OpenAI(base_url=f"{plain.base_url}/v1", api_key=KEY, max_retries=0)
        with pytest.raises(openai.APIError) as failed:
            list(client.chat.completions.create(model="talk", messages=turns, max_tokens=6, stream=True))
        assert failed.value.code == "TT-N004"


class Asgi:
    """A client of an application that goes when it is told to."""

    def __init__(self, app: object, path: str, body: dict) -> None:
        self._app, self._body = app, json.dumps(body).encode()
        headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
        headers += [(name.encode(), value.encode()) for name, value in BEARER.items()]
        self._scope = {
            "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
            "headers": headers, "server": ("127.0.0.1", 8000), "client": ("127.0.0.1", 1), "scheme": "http",
            "http_version": "1.1", "asgi": {"version": "3.0", "spec_version": "2.3"}, "root_path": "",
        }  # fmt: skip
        self.sent: list[Message] = []

    async def goes_after(self, pieces: int, seconds: float = 0.0, *, reads: bool = True) -> None:
        """Go once so many messages were sent, and `seconds` more; or stop reading then."""
        self._left = [{"type": "http.request", "body": self._body, "more_body": False}]
        self._enough, self._pieces, self._reads = asyncio.Event(), pieces, reads
        if not pieces:
            self._enough.set()
        self._seconds = seconds
        await self._app(self._scope, self._receive, self._send)  # type: ignore[operator]

    async def _receive(self) -> Message:
        if self._left:
            return self._left.pop()
        await self._enough.wait()
        await asyncio.sleep(self._seconds if self._reads else 3600)
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self.sent.append(message)
        if len(self.sent) >= self._pieces:
            self._enough.set()
            if not self._reads:
                await asyncio.sleep(3600)


def until(holds: Callable[[], bool], seconds: float = 5.0) -> bool:
    ends_at = time.monotonic() + seconds
    while not holds() and time.monotonic() < ends_at:
        time.sleep(0.01)
    return holds()


@pytest.mark.parametrize(("streams", "pieces"), [(True, 3), (False, 0)])
def test_a_client_that_goes_ends_the_writing(tmp_path: Path, streams: bool, pieces: int) -> None:
    writer = WritingService(tmp_path, pause_seconds=0.02)
    app = make_app(writer, settings())
    body = {**CHAT, "max_tokens": 200, "stream": streams}
    call = Asgi(app, "/v1/chat/completions", body)
    asyncio.run(call.goes_after(pieces, 0.1))
    assert until(lambda: not _writing()) and len(call.sent) < 40
    assert writer.given_up == writer.ended == writer.begun >= streams  # of one that goes early none is begun
    assert b"[DONE]" not in b"".join(message.get("body", b"") for message in call.sent)


def test_a_client_that_takes_nothing_is_given_up(tmp_path: Path) -> None:
    writer = WritingService(tmp_path, pause_seconds=0.02)
    app = make_app(writer, settings(send_seconds=0.3))
    call = Asgi(app, "/v1/chat/completions", {**CHAT, "max_tokens": 200, "stream": True})
    asyncio.run(call.goes_after(3, reads=False))
    assert until(lambda: writer.given_up == 1) and until(lambda: not _writing())


def test_clients_that_go_in_mid_stream_leave_nothing_behind(tmp_path: Path) -> None:
    _go_in_mid_stream(tmp_path, 20)


@pytest.mark.soak
def test_a_thousand_clients_that_go_in_mid_stream_leave_nothing_behind(tmp_path: Path) -> None:
    _go_in_mid_stream(tmp_path, 1000)


def _go_in_mid_stream(folder: Path, clients: int) -> None:
    writer = WritingService(folder, pause_seconds=0.001)
    app = make_app(writer, settings())
    body = {**CHAT, "max_tokens": 20, "stream": True}

    async def all_of_them() -> None:
        for start in range(0, clients, 10):
            calls = [Asgi(app, "/v1/chat/completions", body) for _ in range(min(10, clients - start))]
            await asyncio.gather(*(call.goes_after(2 + number % 3) for number, call in enumerate(calls)))

    asyncio.run(all_of_them())
    assert until(lambda: not _writing()) and writer.begun == writer.ended == clients
    text = client_of(writer).get("/metrics").text
    assert "trimtab_http_in_flight 1.0" in text  # this one


def _writing() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "trimtab-pieces"]


class _Never(Service):
    """A service that takes a request and does not answer."""

    def ask(self, *_: object, **__: object) -> "Future":
        self.future: Future = Future()
        return self.future

    def drop(self) -> None:
        self.future.cancel()


@pytest.fixture
def never() -> _Never:
    service = _Never(str(place().base.folder))
    service.register("mood", place().cards / "mood")
    return service


def test_a_request_that_is_not_answered_in_time_is_cancelled(never: _Never) -> None:
    client = client_of(never, deadline_seconds=0.2)
    refused = client.post("/v1/classify", json={"model": "mood", "input": "good"})
    assert code_of(refused) == (504, "TT-N002") and never.future.cancelled()


def test_a_request_whose_client_goes_is_cancelled(never: _Never) -> None:
    call = Asgi(make_app(never, settings()), "/v1/classify", {"model": "mood", "input": "good"})
    asyncio.run(call.goes_after(0, 0.1))
    assert never.future.cancelled() and call.sent == []


def test_a_request_that_the_service_drops_is_told_that_it_closes(never: _Never) -> None:
    async def dropped() -> list[Message]:
        call = Asgi(make_app(never, settings()), "/v1/classify", {"model": "mood", "input": "good"})
        asyncio.get_running_loop().call_later(0.1, never.drop)
        await call.goes_after(1)
        return call.sent

    start, body = asyncio.run(dropped())
    assert start["status"] == 503 and b"TT-N003" in body["body"]
