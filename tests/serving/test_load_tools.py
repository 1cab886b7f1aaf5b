"""What the load test is made of: its clients against a server whose behaviour is known, its adapters and plain
PEFT against the artifacts."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from load_client import Load, break_off, run
from made_adapters import MIXED, make_adapters, method_named
from plain_peft import PlainPeft

from tiny_models import tiny_model
from trimtab.artifacts import read_facts
from trimtab.data.spec import Example
from trimtab.evaluation import open_artifact
from trimtab.models import ModelSource


class Counting(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, answer: Callable[["Handler"], None]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.asked = self.broken = 0
        self.lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Counting

    def do_POST(self) -> None:
        self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.asked += 1
        self.server.answer(self)

    def log_message(self, *words: object) -> None:
        pass

    def say(self, status: int, content: bytes = b"{}") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def counting(answer: Callable[[Handler], None]) -> Iterator[Counting]:
    server = Counting(answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()


def test_arrivals_do_not_wait_for_answers_and_latency_counts_from_when_they_were_due() -> None:
    """40 a second for a second, each answered after 0.3 s: a closed loop of one would manage three."""

    def slowly(handler: Handler) -> None:
        time.sleep(0.3)
        handler.say(429 if handler.body["model"] == "full" else 200)

    with counting(slowly) as server:
        load = Load(
            port=server.server_port, models=("free", "full"), texts=("a", "b"), seconds=1.0, rate=40.0, seed=3
        )
        outcome = run(load, 2)
    assert 20 < server.asked < 65  # Poisson: 40 +- 6.3
    assert sum(outcome.statuses.values()) == server.asked
    assert set(outcome.statuses) == {200, 429}
    assert len(outcome.latencies) == outcome.statuses[200]
    assert 0.3 <= outcome.quantile(0.5) < 1.5  # one after the other, the last would have waited ten seconds


def test_a_server_that_answers_one_at_a_time_makes_late_ones_later() -> None:
    one = threading.Lock()

    def in_turn(handler: Handler) -> None:
        with one:
            time.sleep(0.1)
        handler.say(200)

    with counting(in_turn) as server:
        outcome = run(Load(port=server.server_port, models=("a",), texts=("a",), seconds=1.0, rate=30.0), 1)
    assert outcome.quantile(0.99) > 0.5  # 30 a second offered, 10 answered
    assert outcome.answered_a_second < 11


def test_streams_are_left_in_the_middle() -> None:
    def stream(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        try:
            for _ in range(400):
                handler.wfile.write(b"8\r\ndata: x\n\r\n")
                time.sleep(0.005)
        except OSError:
            with handler.server.lock:
                handler.server.broken += 1
        handler.close_connection = True

    with counting(stream) as server:
        bodies: list[dict[str, object]] = [{"model": "a"}] * 12
        seen = asyncio.run(break_off(server.server_port, bodies, "/v1/chat/completions", at_once=4))
        end = time.monotonic() + 5
        while server.broken < 12 and time.monotonic() < end:
            time.sleep(0.05)
    assert seen == {"left in mid-stream": 12}
    assert server.broken == 12


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    return tiny_model(tmp_path_factory.mktemp("base") / "bert", "bert")


def test_made_adapters_are_of_all_kinds_and_plain_peft_says_what_they_say(
    base: ModelSource, tmp_path: Path
) -> None:
    made = make_adapters(tmp_path, base, 14)
    facts = {name: read_facts(folder) for name, folder in made.items()}
    assert {one.strategy.method for one in facts.values()} == {method_named(kind.method).name for kind in MIXED}
    assert [one.outputs for one in facts.values()] == [*range(2, 15), 2]
    rows = [(name, text) for name in made for text in ("good film", "a bad story and a poor plot")]
    plain = PlainPeft(base.folder, made)
    for shares in (plain.one_by_one(rows), plain.in_windows(rows, 10)):
        for (name, text), found in zip(rows, shares, strict=True):
            (wanted,) = open_artifact(made[name]).predict([Example((text,), None)])
            assert dict(wanted.scores) == pytest.approx(
                {f"label {index}": share for index, share in enumerate(found)}, abs=1e-6
            )


def test_artifacts_that_are_there_stay(base: ModelSource, tmp_path: Path) -> None:
    made = make_adapters(tmp_path, base, 1)
    before = (made["lora-00"] / "artifact.json").stat().st_mtime_ns
    assert make_adapters(tmp_path, base, 1) == made
    assert (made["lora-00"] / "artifact.json").stat().st_mtime_ns == before
