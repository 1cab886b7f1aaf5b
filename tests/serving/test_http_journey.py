"""A real server, started as a user starts it, asked by the `openai` client and curl, and ended by SIGTERM."""

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import numpy as np
import openai
import pytest
from http_served import KEY, made_place

from tiny_artifacts import TEXTS, moved_artifact
from tiny_chat import chat_model
from trimtab.serving.service import Service

SECRET = "a bad story nobody may read in a log"
_START_SECONDS = 120
# A stub is one line that raises.
writes = pytest.mark.skipif(
    "NotImplementedError" in Service.write.__code__.co_names, reason="Service.write is not there yet"
)


@dataclass
class Running:
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    url: str
    lines: list[str]

    def wait_for(self, event: str) -> dict[str, object]:
        """The line of log that tells `event`."""
        ends_at = time.monotonic() + _START_SECONDS
        while time.monotonic() < ends_at:
            for line in list(self.lines):
                if line.startswith("{") and json.loads(line)["event"] == event:
                    return json.loads(line)
            assert self.process.poll() is None or event == "closed", "\n".join(self.lines)
            time.sleep(0.02)
        raise AssertionError(f"no {event}:\n" + "\n".join(self.lines))

    def ends(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


def started(*words: str, key: str = KEY) -> Running:
    environment = os.environ | {"TRIMTAB_KEY": key, "OMP_NUM_THREADS": "1", "TRIMTAB_LANG": "en"}
    process = subprocess.Popen(
        [sys.executable, "-m", "trimtab", "serve", *words, "--port", "0"],
        env=environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    running = Running(process, "", [])
    threading.Thread(target=_read, args=(running,), daemon=True).start()
    running.url = str(running.wait_for("listening")["url"])
    running.wait_for("ready")
    return running


def _read(running: Running) -> None:
    assert running.process.stderr is not None
    for line in running.process.stderr:
        running.lines.append(line.rstrip("\n"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    mine = made_place(tmp_path_factory.mktemp("served"), "mood", "vector", "topic")
    words = ["--adapter", f"mood={mine.cards / 'mood'}", "--adapter", f"vector={mine.cards / 'vector'}"]
    running = started(str(mine.base.folder), *words, "--adapters", str(mine.cards), "--pin", "mood")
    yield running
    running.process.kill()
    running.process.wait()


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("chats")
    base = chat_model(folder / "chat", positions=256)
    card = moved_artifact(folder / "talk", base, task="instruct")
    running = started(str(base.folder), "--adapter", f"talk={card}", "--context", "200")
    yield running
    running.process.kill()
    running.process.wait()


def client_of(running: Running) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{running.url}/v1", api_key=KEY, max_retries=0)


def test_models_and_embeddings_through_the_openai_client(server: Running) -> None:
    client = client_of(server)
    models = {model.id: model for model in client.models.list()}
    assert {"base-bert", "mood", "vector"} == set(models)
    assert client.models.retrieve("mood").id == "mood"
    for form in ("float", "base64"):
        found = client.embeddings.create(model="vector", input=list(TEXTS), encoding_format=form)  # type: ignore[arg-type]
        vectors = [_vector(one.embedding) for one in found.data]
        assert np.allclose(np.linalg.norm(np.array(vectors, np.float32), axis=1), 1, atol=1e-4)
    usual = (
        client.embeddings.create(model="vector", input=TEXTS[0]).data[0].embedding
    )  # packed, and unpacked by it
    assert len(usual) == 32 and isinstance(usual[0], float)


def _vector(sent: object) -> object:
    return np.frombuffer(base64.b64decode(sent), "<f4") if isinstance(sent, str) else sent


def test_errors_are_those_that_the_openai_client_knows(server: Running) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client_of(server).embeddings.create(model="nobody", input="good")
    assert missing.value.code == "TT-U103" and missing.value.param == "model" and missing.value.request_id
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0).models.list()
    with pytest.raises(openai.UnprocessableEntityError) as unknown:
        client_of(server).embeddings.create(model="vector", input="good", dimensions=7)
    assert (unknown.value.code, unknown.value.param) == ("TT-N020", "dimensions")


def test_labels_through_curl(server: Running) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not at hand")
    body = json.dumps({"model": "mood", "input": [SECRET]})
    told = subprocess.run(
        ["curl", "--silent", "--max-time", "20", f"{server.url}/v1/classify", "-H", f"Authorization: Bearer {KEY}",
         "-H", "Content-Type: application/json", "-d", body],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(told.stdout)["data"][0]["label"] in ("bad", "good")


def test_an_adapter_comes_in_at_run_time(server: Running) -> None:
    with httpx.Client(base_url=server.url, headers={"authorization": f"Bearer {KEY}"}) as client:
        assert client.post("/admin/adapters", json={"name": "topic"}).json()["state"] == "loaded"
        asked = {"model": "topic", "input": "good"}
        assert client.post("/v1/classify", json=asked).json()["data"][0]["label"] in ("law", "medicine", "sports")
        assert client.delete("/admin/adapters/topic").status_code == 204
        assert {one["name"]: one["pinned"] for one in client.get("/admin/adapters").json()["data"]} == {
            "mood": True, "vector": False,
        }  # fmt: skip


def test_a_connection_that_says_nothing_and_requests_that_are_none_harm_nobody(server: Running) -> None:
    address = server.url.removeprefix("http://").split(":")
    two_hosts = b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"
    endless = b"POST /v1/classify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999999999999999\r\n\r\n"
    for sent in (b"", b"GET / HT", b"\x16\x03\x01\x02", two_hosts, endless):
        with socket.create_connection((address[0], int(address[1])), timeout=5) as connection:
            connection.sendall(sent)
    assert httpx.get(f"{server.url}/health").json() == {"status": "alive"}


@writes
def test_a_chat_through_the_openai_client(chats: Running) -> None:
    client = client_of(chats)
    turns = [{"role": "user", "content": SECRET}]
    whole = client.chat.completions.create(model="talk", messages=turns, max_tokens=8, temperature=0)  # type: ignore[arg-type]
    pieces = client.chat.completions.create(
        model="talk", messages=turns, max_tokens=8, temperature=0, stream=True,  # type: ignore[arg-type]
        stream_options={"include_usage": True},
    )  # fmt: skip
    text, usage = "", None
    for chunk in pieces:
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
        usage = chunk.usage or usage
    assert text == whole.choices[0].message.content
    assert usage is not None and whole.usage is not None and usage.total_tokens == whole.usage.total_tokens
    assert client.chat.completions.create(model="chat", messages=turns, max_tokens=2).model == "chat"  # type: ignore[arg-type]


@writes
def test_a_text_goes_on_through_the_openai_client(chats: Running) -> None:
    asked = {"model": "chat", "prompt": SECRET, "max_tokens": 6, "temperature": 0}
    client = client_of(chats)
    whole = client.completions.create(**asked)  # type: ignore[call-overload]
    pieces = client.completions.create(**asked, stream=True)  # type: ignore[call-overload]
    assert "".join(chunk.choices[0].text for chunk in pieces) == whole.choices[0].text


@writes
def test_clients_that_are_gone_in_mid_stream_leave_nothing(chats: Running) -> None:
    body = {"model": "talk", "messages": [{"role": "user", "content": "good"}], "max_tokens": 100, "stream": True}
    headers = {"authorization": f"Bearer {KEY}"}
    for _ in range(10):
        with httpx.stream("POST", f"{chats.url}/v1/chat/completions", json=body, headers=headers) as answer:
            next(answer.iter_bytes())
    ends_at = time.monotonic() + 10
    while time.monotonic() < ends_at:
        told = httpx.get(f"{chats.url}/metrics", headers=headers).text
        if "trimtab_http_in_flight 1.0" in told and "trimtab_service_queued 0.0" in told:
            return
    raise AssertionError(told)


def test_at_sigterm_it_ends_with_nothing_said_of_what_was_sent(server: Running) -> None:
    """The last one here: the server is gone afterwards."""
    assert server.ends() == 0
    server.wait_for("closed")
    assert not any("bad story" in line for line in server.lines)
    assert not any(KEY in line for line in server.lines)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/health")
