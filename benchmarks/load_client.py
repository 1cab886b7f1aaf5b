"""Clients for a load test: requests sent at their own times, whatever became of those before them (open loop), or
as many at once as are given (closed loop); from several processes, over loopback, with connections kept.

A latency counts from the moment at which the request was due, so that a server which makes its clients wait is not
flattered. HTTP/1.1 by hand: a client library takes more of the two cores than the server leaves.
"""

import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from subprocess import PIPE, Popen

Body = dict[str, object]
_PATIENCE_SECONDS = 60.0
_START_SECONDS = 1.0  # for all clients to be there


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """`rate` requests a second at random times for `seconds`; 0 = `in_flight` at once. Each asks one of `models`
    with one of `texts`."""

    port: int
    models: tuple[str, ...]
    texts: tuple[str, ...]
    seconds: float
    rate: float = 0.0
    in_flight: int = 32
    seed: int = 0
    path: str = "/v1/classify"


@dataclass(kw_only=True, slots=True)
class Outcome:
    """`latencies`: seconds of the requests that were answered with 200; `statuses`: how often each; 0 = no answer.
    `late_seconds`: by which the busiest client sent behind its timetable; `wall_seconds`: of the whole load."""

    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    late_seconds: float = 0.0
    wall_seconds: float = 0.0

    def add(self, other: "Outcome") -> None:
        self.latencies += other.latencies
        self.statuses += other.statuses
        self.late_seconds = max(self.late_seconds, other.late_seconds)
        self.wall_seconds = max(self.wall_seconds, other.wall_seconds)

    @property
    def answered_a_second(self) -> float:
        return len(self.latencies) / self.wall_seconds

    def quantile(self, share: float) -> float:
        """Seconds; the highest of so small a share of all."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")

    def line(self) -> str:
        spread = ", ".join(f"p{percent} {self.quantile(percent / 100) * 1000:.1f} ms" for percent in (50, 95, 99))
        counts = ", ".join(f"{status or 'none'}: {count}" for status, count in sorted(self.statuses.items()))
        behind = f", clients up to {self.late_seconds * 1000:.0f} ms late" if self.late_seconds > 0.02 else ""
        return f"{self.answered_a_second:7.1f} /s   {spread}   status {counts}{behind}"


def run(load: Load, processes: int = 2) -> Outcome:
    """The load, shared among so many processes, which begin together; they import nothing of Trimtab."""
    begin = time.time() + _START_SECONDS
    shares = [
        replace(
            load, rate=load.rate / processes, in_flight=max(1, load.in_flight // processes), seed=load.seed + part
        )
        for part in range(processes)
    ]
    command = [sys.executable, __file__]
    clients = [Popen(command, stdin=PIPE, stdout=PIPE, text=True) for _ in shares]
    for client, share in zip(clients, shares, strict=True):
        assert client.stdin is not None
        json.dump({"begin": begin, "load": asdict(share)}, client.stdin)
        client.stdin.close()
    whole = Outcome()
    for client in clients:
        assert client.stdout is not None
        told = json.load(client.stdout)
        client.wait()
        statuses = Counter({int(status): count for status, count in told.pop("statuses").items()})
        whole.add(Outcome(**told, statuses=statuses))
    return whole


def main() -> None:
    """One client: a load on stdin, what became of it on stdout."""
    told = json.load(sys.stdin)
    load = Load(**told["load"] | {name: tuple(told["load"][name]) for name in ("models", "texts")})
    time.sleep(max(0.0, told["begin"] - time.time()))
    found = asyncio.run(_Client(load).run())
    # asdict would count the pairs of a Counter.
    json.dump({name: getattr(found, name) for name in Outcome.__slots__}, sys.stdout)


class _Client:
    """One process. Connections that are free are taken again; there are as many as requests at once."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._draw = random.Random(load.seed)
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._found = Outcome()

    async def run(self) -> Outcome:
        begun = time.perf_counter()
        await (self._open(begun) if self._load.rate else self._closed(begun))
        self._found.wall_seconds = time.perf_counter() - begun
        for _, writer in self._free:
            writer.close()
        return self._found

    async def _open(self, begun: float) -> None:
        sent, due = set(), begun
        while (due := due + self._draw.expovariate(self._load.rate)) < begun + self._load.seconds:
            if (early := due - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            self._found.late_seconds = max(self._found.late_seconds, time.perf_counter() - due)
            task = asyncio.create_task(self._ask(due))
            sent.add(task)
            task.add_done_callback(sent.discard)
        await asyncio.gather(*sent)

    async def _closed(self, begun: float) -> None:
        async def one_after_the_other() -> None:
            while time.perf_counter() < begun + self._load.seconds:
                await self._ask(time.perf_counter())

        await asyncio.gather(*(one_after_the_other() for _ in range(self._load.in_flight)))

    async def _ask(self, due: float) -> None:
        body = {"model": self._draw.choice(self._load.models), "input": [self._draw.choice(self._load.texts)]}
        try:
            status = await asyncio.wait_for(self._answered(body), _PATIENCE_SECONDS)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            status = 0
        self._found.statuses[status] += 1
        if status == 200:
            self._found.latencies.append(time.perf_counter() - due)

    async def _answered(self, body: Body) -> int:
        connection = (
            self._free.pop() if self._free else await asyncio.open_connection("127.0.0.1", self._load.port)
        )
        reader, writer = connection
        writer.write(request_bytes(self._load.port, self._load.path, body))
        status, length, kept = await read_head(reader)
        await reader.readexactly(length)
        if kept:
            self._free.append(connection)
        else:
            writer.close()
        return status


def request_bytes(port: int, path: str, body: Body) -> bytes:
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


async def read_head(reader: asyncio.StreamReader) -> tuple[int, int, bool]:
    """Status, bytes of the body (0 = in chunks or none), and whether the connection may be taken again."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
    fields = dict(line.partition(":")[::2] for line in lines[1:] if line)
    kept = fields.get("connection", "").strip() != "close"
    return int(lines[0].split()[1]), int(fields.get("content-length", "0")), kept


async def break_off(port: int, bodies: Sequence[Body], path: str, at_once: int) -> Counter[str]:
    """Ask for streams and leave each after its first piece, by turns politely and with a reset. Counts what was
    seen of them."""
    seen: Counter[str] = Counter()
    limit = asyncio.Semaphore(at_once)

    async def one(number: int, body: Body) -> None:
        async with limit:
            seen[await _broken_off(port, path, body, reset=number % 2 == 1)] += 1

    await asyncio.gather(*(one(number, body) for number, body in enumerate(bodies)))
    return seen


async def _broken_off(port: int, path: str, body: Body, *, reset: bool) -> str:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request_bytes(port, path, body))
        status, _, _ = await asyncio.wait_for(read_head(reader), _PATIENCE_SECONDS)
        piece = await asyncio.wait_for(reader.readuntil(b"data:"), _PATIENCE_SECONDS) if status == 200 else b""
        close: Callable[[], None] = writer.transport.abort if reset else writer.close
        close()
    except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
        return type(error).__name__
    return "left in mid-stream" if piece else f"status {status}"


if __name__ == "__main__":
    main()
