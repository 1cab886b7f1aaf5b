"""The end of a server: what is in flight is answered, what comes new is told, and then it is over."""

import asyncio
import socket
import threading
import time
from pathlib import Path

import pytest
from http_served import WritingService, code_of, events_of, made_place, place, resealed, running, settings
from safetensors.torch import load_file, save_file

from trimtab.errors import ArtifactError
from trimtab.serving.facts import ServedAdapter
from trimtab.serving.http.run import HttpServer
from trimtab.serving.http.sockets import bound
from trimtab.serving.service import Service

BODY = {"model": "talk", "messages": [{"role": "user", "content": "good"}], "max_tokens": 40, "stream": True}


def test_what_is_in_flight_ends_and_what_is_new_is_refused(tmp_path: Path) -> None:
    writer = WritingService(tmp_path, pause_seconds=0.03)
    with running(writer) as (server, client, thread):
        with client.stream("POST", "/v1/chat/completions", json=BODY) as answer:
            pieces = answer.iter_text()
            text = next(pieces)
            server.drain()
            refused = client.post("/v1/chat/completions", json=BODY)
            assert code_of(refused) == (503, "TT-N003") and refused.headers["connection"] == "close"
            assert client.get("/health").status_code == 200
            assert client.get("/ready").json() == {"status": "draining"}
            text += "".join(pieces)
        assert events_of(text)[-1] == "[DONE]"
        thread.join(5)
        assert not thread.is_alive() and (writer.ended, writer.given_up) == (1, 0)


def test_what_does_not_end_in_time_is_cut_off(tmp_path: Path) -> None:
    writer = WritingService(tmp_path, pause_seconds=0.2)
    with running(writer, drain_seconds=0.3) as (server, client, thread):
        with client.stream("POST", "/v1/chat/completions", json=BODY) as answer:
            next(answer.iter_text())
            server.drain()
            thread.join(6)
            assert not thread.is_alive()
        ends_at = time.monotonic() + 3
        while not writer.given_up and time.monotonic() < ends_at:
            time.sleep(0.02)
        assert writer.given_up == 1


def test_connections_that_send_no_whole_head_are_closed() -> None:
    whole = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with running(place().service("mood"), head_seconds=0.3) as (_, client, _):
        for first, then in ((b"", b""), (b"", whole[:25]), (whole, b"GET /he")):
            with socket.create_connection((client.base_url.host, client.base_url.port), timeout=4) as connection:
                connection.sendall(first)
                assert not first or b"200 OK" in _received(connection)
                connection.sendall(then)
                while _received(connection):  # ends where it was closed
                    pass


def _received(connection) -> bytes:  # type: ignore[no-untyped-def]
    try:
        return connection.recv(4096)
    except ConnectionResetError:
        return b""


def test_an_adapter_that_cannot_be_loaded_ends_the_start(tmp_path: Path) -> None:
    mine = made_place(tmp_path, "mood")
    service = mine.service("mood")
    file = mine.cards / "mood" / "adapter_model.safetensors"
    save_file({name: tensor * float("nan") for name, tensor in load_file(file).items()}, file)
    resealed(mine.cards / "mood")
    told = settings(port=0)
    with pytest.raises(ArtifactError, match="TT-A0"):
        asyncio.run(HttpServer(service, told, bound(told), ["mood"]).serve())


class SlowToLoad(Service):
    """Loads nothing before `may_load`."""

    def __init__(self, base: str) -> None:
        super().__init__(base)
        self.may_load = threading.Event()

    def load(self, name: str) -> ServedAdapter:
        self.may_load.wait(10)
        return super().load(name)


def test_an_end_while_it_loads_is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    service = SlowToLoad(str(place().base.folder))
    service.register("mood", place().cards / "mood")
    told = settings(port=0)
    server = HttpServer(service, told, bound(told), ["mood"])
    server.drain()
    timer = threading.Timer(1, service.may_load.set)  # asyncio waits for the thread, whose task it has cancelled
    timer.start()
    with service, caplog.at_level("ERROR", logger="asyncio"):
        asyncio.run(server.serve())
    timer.join()
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []
