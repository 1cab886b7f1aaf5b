"""How a service holds under load: several client processes over loopback, arrivals at random times (open loop).

    python benchmarks/serving_load.py make       --model DIR --adapters DIR [--count 32] [--methods lora,ia3,...]
    python benchmarks/serving_load.py mixed      --model DIR --adapters DIR [--rounds 3] [--seconds 10]
    python benchmarks/serving_load.py overload   --model DIR --adapters DIR [--seconds 60] [--times 3]
    python benchmarks/serving_load.py churn      --model DIR --adapters DIR [--cycles 10000]
    python benchmarks/serving_load.py disconnect --model CHAT_DIR --adapters DIR [--times 1000]

make: artifacts with random weights (made_adapters). mixed: as many answers a second as there are with 32 adapters
asked at random, with one, and from plain PEFT in this process, by turns in each round, and that all say the same;
latencies at 70 % of it. overload: `--times` the capacity. churn: adapters loaded and let go in this process.
disconnect: streams that are left after their first piece. Run nothing else beside it.
"""

import argparse
import asyncio
import gc
import json
import os
import random
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from threading import Event, Thread

import psutil
from load_client import Load, Outcome, break_off, run
from machine_facts import print_facts
from plain_peft import Asked, PlainPeft

from trimtab.artifacts import FACTS_FILE
from trimtab.models import ModelSource, read_spec

MIB = 1024**2
WORDS = (  # noqa: SIM905
    "the film was long and the music loud but nobody in the small room left before its end because what they had "
    "come for was on the last page of a letter that came too late to be read by those it was written for"
).split()
FAR_ENOUGH = 1e-4  # in a probability; answers that differ by more are not the same


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--adapters", type=Path, required=True)
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--methods", default="lora,adapter,ia3,bitfit,head,prompt")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=None)
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--times", type=float, default=None)
    parser.add_argument("--cycles", type=int, default=10_000)
    parser.add_argument("--asked", type=int, default=256, help="requests a round that plain PEFT is given")
    parser.add_argument("--queue", type=int, default=256, help="of the server, under overload")
    arguments = parser.parse_args()
    print_facts()
    MODES[arguments.mode](arguments)


def folders(arguments: argparse.Namespace) -> dict[str, Path]:
    found = sorted(file.parent for file in arguments.adapters.glob(f"*/{FACTS_FILE}"))
    asked = tuple(arguments.methods.split(","))
    return {place.name: place for place in found if place.name.startswith(asked)}


def texts(count: int = 512, seed: int = 0) -> tuple[str, ...]:
    """Of 4 to 40 words, most of them short."""
    draw = random.Random(seed)
    lengths = (min(40, 4 + int(draw.expovariate(1 / 10))) for _ in range(count))
    return tuple(" ".join(draw.choices(WORDS, k=length)) for length in lengths)


@dataclass(slots=True)
class Watched:
    """Memory of a process and its children, bytes, every half second."""

    pid: int
    rss: list[int] = field(default_factory=list)

    def look(self) -> int:
        family = [psutil.Process(self.pid), *psutil.Process(self.pid).children(recursive=True)]
        return sum(process.memory_info().rss for process in family)

    def line(self) -> str:
        first, last = self.rss[: len(self.rss) // 4 or 1], self.rss[-(len(self.rss) // 4 or 1) :]
        grown = (median(last) - median(first)) / MIB
        return f"RSS {self.rss[0] / MIB:.0f} MiB, at most {max(self.rss) / MIB:.0f}; last quarter {grown:+.1f} MiB"


@contextmanager
def watched(pid: int) -> Iterator[Watched]:
    memory, ended = Watched(pid), Event()

    def look() -> None:
        while not ended.wait(0.5):
            memory.rss.append(memory.look())

    memory.rss.append(memory.look())
    thread = Thread(target=look)
    thread.start()
    try:
        yield memory
    finally:
        ended.set()
        thread.join()


@dataclass(frozen=True, slots=True)
class Server:
    port: int
    process: subprocess.Popen[bytes]

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            body: bytes = answer.read()
        return body.decode()

    def post(self, path: str, body: dict[str, object]) -> dict[str, object]:
        asked = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(asked, timeout=60) as answer:
            found: dict[str, object] = json.loads(answer.read())
        return found

    def gauge(self, name: str) -> float:
        """The sum of a metric over its labels."""
        lines = [line for line in self.get("/metrics").splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
        return sum(float(line.rpartition(" ")[2]) for line in lines)


@contextmanager
def serving(arguments: argparse.Namespace, adapters: dict[str, Path], *more: str) -> Iterator[Server]:
    """`trimtab serve`, as a user starts it; its log goes to a file beside the adapters."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    named = [word for name, place in adapters.items() for word in ("--adapter", f"{name}={place}")]
    command = [sys.executable, "-m", "trimtab", "serve", str(arguments.model), *named, "--port", str(port), *more]
    log = arguments.adapters / "serve.log"
    with log.open("wb") as written:
        server = Server(port, subprocess.Popen(command, stdout=written, stderr=written))
        try:
            _wait_until_ready(server, log)
            yield server
        finally:
            server.process.terminate()
            server.process.wait(60)


def _wait_until_ready(server: Server, log: Path, patience_seconds: float = 180.0) -> None:
    end = time.monotonic() + patience_seconds
    while time.monotonic() < end and server.process.poll() is None:
        try:
            server.get("/ready")
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"the server is not ready:\n{log.read_text(errors='replace')[-3000:]}")


def make(arguments: argparse.Namespace) -> None:
    from made_adapters import kinds_named, make_adapters

    source = ModelSource(folder=arguments.model, name=str(arguments.model.resolve()))
    chat = read_spec(source).kind == "decoder"
    made = make_adapters(
        arguments.adapters, source, arguments.count,
        kinds=kinds_named(["lora"] if chat else arguments.methods.split(",")),
        task="instruct" if chat else "classify",
    )  # fmt: skip
    print(f"{len(made)} artifacts in {arguments.adapters}")


def mixed(arguments: argparse.Namespace) -> None:
    adapters, asked, seconds = folders(arguments), texts(), arguments.seconds or 10.0
    plain, names = PlainPeft(arguments.model, adapters), tuple(adapters)
    with serving(arguments, adapters) as server:
        warm_up(server, names)
        print(
            f"largest difference from plain PEFT in a probability: {difference(server, plain, names, asked):.1e}"
        )

        def saturate(models: Sequence[str], seed: int) -> float:
            load = Load(
                port=server.port, models=tuple(models), texts=asked, seconds=seconds,
                in_flight=arguments.in_flight, seed=seed,
            )  # fmt: skip
            return sound(run(load, arguments.clients)).answered_a_second

        def in_process(work: Callable[[list[Asked]], object], seed: int) -> float:
            rows = requests(names, asked, arguments.asked, seed)
            begun = time.perf_counter()
            work(rows)
            return len(rows) / (time.perf_counter() - begun)

        measured: dict[str, Callable[[int], float]] = {
            "mixed": partial(saturate, names),
            "one": partial(saturate, names[:1]),
            "PEFT, one by one": partial(in_process, plain.one_by_one),
            "PEFT, windows of 32": partial(in_process, plain.in_windows),
        }
        rates: dict[str, list[float]] = {name: [] for name in measured}
        with watched(server.process.pid) as memory:
            for number in range(arguments.rounds):
                for turn in range(len(measured)):
                    name = list(measured)[(turn + number) % len(measured)]
                    rates[name].append(measured[name](number))
            show_rates(rates)
            for name, models in (("mixed", names), ("one", names[:1])):
                rate = 0.7 * median(rates["mixed"])
                load = Load(port=server.port, models=models, texts=asked, seconds=seconds, rate=rate)
                print(f"at {rate:.0f} /s, {name:5s} {run(load, arguments.clients).line()}")
        print(memory.line())


def show_rates(rates: dict[str, list[float]]) -> None:
    """Answers a second of each round, and ratios of the same round."""
    for name, found in rates.items():
        print(f"{name:20s} {median(found):7.1f} /s   rounds {', '.join(f'{rate:.0f}' for rate in found)}")
    for name in (name for name in rates if name != "mixed"):
        ratios = [whole / part for whole, part in zip(rates["mixed"], rates[name], strict=True)]
        print(f"mixed / {name:20s} {median(ratios):.2f}   rounds {', '.join(f'{ratio:.2f}' for ratio in ratios)}")


def overload(arguments: argparse.Namespace) -> None:
    adapters, asked = folders(arguments), texts()
    names, seconds = tuple(adapters), arguments.seconds or 60.0
    with serving(arguments, adapters, "--queue", str(arguments.queue)) as server:
        warm_up(server, names)
        at_most = Load(port=server.port, models=names, texts=asked, seconds=5.0, in_flight=arguments.in_flight)
        capacity = sound(run(at_most, arguments.clients)).answered_a_second
        rate = (arguments.times or 3.0) * capacity
        print(f"capacity {capacity:.0f} /s; offered {rate:.0f} /s for {seconds:.0f} s")
        load = Load(port=server.port, models=names, texts=asked, seconds=seconds, rate=rate, seed=1)
        with watched(server.process.pid) as memory:
            outcome = run(load, arguments.clients)
        print(outcome.line())
        print(memory.line())
        after = run(Load(port=server.port, models=names, texts=asked, seconds=3.0, rate=capacity / 4), 1)
        print(f"afterwards, at a quarter of the capacity: {after.line()}")
        print("alive" if server.process.poll() is None else f"ended with {server.process.returncode}")


def churn(arguments: argparse.Namespace) -> None:
    """Without HTTP: what loading and letting go leave behind."""
    from trimtab.serving.service import Service

    process, adapters = psutil.Process(os.getpid()), folders(arguments)
    with Service(str(arguments.model)) as service:
        for name, place in adapters.items():
            service.register(name, place)
        seconds: list[float] = []

        def cycle(count: int) -> None:
            names = list(adapters)
            for number in range(count):
                begun = time.perf_counter()
                service.load(names[number % len(names)])
                seconds.append(time.perf_counter() - begun)
                service.unload(names[number % len(names)])

        cycle(3 * len(adapters))  # what stays after the first times is no leak
        gc.collect()
        before = process.memory_info().rss
        seconds.clear()
        for tenth in range(10):
            cycle(arguments.cycles // 10)
            gc.collect()
            print(
                f"{(tenth + 1) * arguments.cycles // 10:6d} cycles: "
                f"{(process.memory_info().rss - before) / MIB:+.1f} MiB"
            )
    ordered = sorted(seconds)
    print(
        f"a load takes {median(ordered) * 1000:.1f} ms, 99 % of them less than "
        f"{ordered[int(0.99 * len(ordered))] * 1000:.1f} ms"
    )


def disconnect(arguments: argparse.Namespace) -> None:
    adapters = {name: place for name, place in folders(arguments).items()}
    times = int(arguments.times or 1000)
    draw = random.Random(0)
    bodies: list[dict[str, object]] = [
        {
            "model": draw.choice(list(adapters)), "stream": True, "max_tokens": 256,
            "messages": [{"role": "user", "content": " ".join(draw.choices(WORDS, k=12))}],
        }
        for _ in range(times)
    ]  # fmt: skip
    with serving(arguments, adapters) as server, watched(server.process.pid) as memory:
        begun = time.perf_counter()
        seen = asyncio.run(break_off(server.port, bodies, "/v1/chat/completions", at_once=8))
        print(f"{times} streams in {time.perf_counter() - begun:.0f} s: {dict(seen)}")
        stuck = still_there(server)
        print(f"ten seconds later {stuck:.0f} requests wait or run")
        answer = server.post("/v1/chat/completions", bodies[0] | {"stream": False, "max_tokens": 8})
        print(f"the next is answered: {bool(answer.get('choices'))}")
    print(memory.line())


def still_there(server: Server, patience_seconds: float = 10.0) -> float:
    """Requests that the service still has; 0 as soon as there are none."""
    end = time.monotonic() + patience_seconds
    while (found := server.gauge("trimtab_service_queued")) and time.monotonic() < end:
        time.sleep(0.2)
    return found


def requests(names: Sequence[str], asked: Sequence[str], count: int, seed: int) -> list[Asked]:
    draw = random.Random(seed)
    return [(draw.choice(names), draw.choice(asked)) for _ in range(count)]


def sound(outcome: Outcome) -> Outcome:
    """An outcome whose answers are all 200."""
    if set(outcome.statuses) != {200}:
        raise SystemExit(f"not all was answered: {dict(outcome.statuses)}")
    return outcome


def warm_up(server: Server, names: Sequence[str]) -> None:
    for name in names:
        server.post("/v1/classify", {"model": name, "input": [WORDS[0]]})


def difference(server: Server, plain: PlainPeft, names: Sequence[str], asked: Sequence[str]) -> float:
    """Of probabilities, over two texts for every adapter; all in one window, so that they share passes."""
    rows = [(name, text) for name in names for text in asked[:2]]
    wanted = plain.in_windows(rows)
    largest = 0.0
    for (name, text), shares in zip(rows, wanted, strict=True):
        (answer,) = server.post("/v1/classify", {"model": name, "input": [text]})["data"]  # type: ignore[misc]
        found = {one["label"]: one["probability"] for one in answer["scores"]}
        largest = max(largest, *(abs(found[f"label {at}"] - share) for at, share in enumerate(shares)))
    if largest > FAR_ENOUGH:
        raise SystemExit(f"the server says something else than PEFT: {largest:.1e}")
    return largest


MODES = {"make": make, "mixed": mixed, "overload": overload, "churn": churn, "disconnect": disconnect}

if __name__ == "__main__":
    main()
