"""A training on a csv of a million rows: seconds of each phase and resident memory, part by part.

    python benchmarks/million_rows.py [--rows 1000000] [--method head] [--steps 20] [--whole] [--model DIR]

The rows are sst2's sentences, made distinct by a number behind each. Three trainings, each in a process of its
own: of a thousand rows, which shows what imports, model, optimiser and steps take; of all rows with nothing kept;
of all rows again, whose tokens are found. Phases are the library's own, in the order in which `trimtab train` has
them:

    open      the file read, checked and split
    count     tokens counted for the plan, and kept
    plan      the strategy chosen, this machine measured
    rows      tokens found or made, as a training has them
    load      the model and its optimiser
    train     preflight and `--steps` steps, then stopped as by SIGTERM, a checkpoint included

`--whole`: to the end instead, evaluations and report included. Memory is what /proc says every 10 ms: anonymous,
and mapped from files, which the system may take back at any time.
"""

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from machine_facts import print_facts

MIB = 1 << 20
MODEL = Path.home() / ".cache/trimtab-dev-models/paraphrase-minilm-l3-v2"
SST2 = Path(__file__).resolve().parents[1] / "../shared/data/sst2"
BASE_ROWS = 1000
PHASES = ("import", "open", "count", "plan", "rows", "load", "train")


def write_rows(path: Path, rows: int, sst2: Path) -> None:
    """sst2's training sentences again and again, a number behind each."""
    with (sst2 / "train.jsonl").open(encoding="utf-8") as file:
        known = [json.loads(line) for line in file]
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["text", "label"])
        for number in range(rows):
            row = known[number % len(known)]
            table.writerow([f"{row['text']} {number // len(known)}", row["label"]])


# ---------------------------------------------------------------- the training


def mark(phase: str, **facts: float) -> None:
    print(json.dumps({"phase": phase, "at": time.monotonic(), **facts}), flush=True)


def one(task: dict) -> None:
    mark("import")
    from trimtab.data import Corpus
    from trimtab.errors import Interrupted
    from trimtab.hardware import this_machine
    from trimtab.methods import Choices
    from trimtab.models import TokenizerFile, locate, read_spec
    from trimtab.planning import Settings
    from trimtab.study import gather
    from trimtab.study.margins import with_margins
    from trimtab.study.opening import Opened
    from trimtab.study.request import Planned, TrainRequest
    from trimtab.study.training import carry_out
    from trimtab.training import Started, Step

    settings = Settings(epochs=1, prefix_cache="off")
    request = TrainRequest(
        model=task["model"], data=task["data"], out=task["out"], method=task["method"], choices=Choices(),
        settings=settings,
    )  # fmt: skip
    mark("open")
    corpus: Corpus = gather.open_corpus(request.data, request.reading)
    mark("count")
    source = locate(request.model)
    facts = gather.describe(corpus, TokenizerFile(source.folder / "tokenizer.json"), trains=True)
    mark("plan")
    opened = Opened(
        source=source, spec=read_spec(source), corpus=corpus, data=facts, machine=with_margins(this_machine())
    )
    steps = 0
    try:
        for event in carry_out(request, opened):
            if isinstance(event, Planned):
                mark("rows")
            if isinstance(event, Started):
                mark("load", load_seconds=event.load_seconds, read_seconds=event.read_seconds)
                mark("train", parameters=event.total_parameters)
            steps += isinstance(event, Step)
            if isinstance(event, Step) and steps == task["steps"]:
                os.kill(os.getpid(), signal.SIGTERM)
    except Interrupted:
        pass
    mark("end", steps=steps, tokens=facts.lengths.tokens(facts.lengths.longest), train_rows=facts.train_rows)


# ---------------------------------------------------------------- what is seen of it


@dataclass(slots=True)
class Seen:
    """Phases with their seconds; resident bytes at the highest moment of each: all, anonymous, of files."""

    seconds: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    facts: dict[str, float] = field(default_factory=dict)
    last: str = "import"
    at: float = 0.0

    @property
    def peak(self) -> tuple[int, int, int]:
        return max(self.peaks.values())

    def mark(self, line: dict) -> None:
        phase, at = line.pop("phase"), line.pop("at")
        if self.at:
            self.seconds[self.last] = at - self.at
        self.last, self.at = phase, at
        self.facts |= line

    def look(self, pid: int) -> None:
        try:
            words = Path(f"/proc/{pid}/status").read_text().split()
            found = tuple(
                1024 * int(words[words.index(f"{name}:") + 1]) for name in ("VmRSS", "RssAnon", "RssFile")
            )
        except (OSError, ValueError):  # it has ended
            return
        self.peaks[self.last] = max(self.peaks.get(self.last, (0, 0, 0)), found)


def watched(task: dict, home: Path) -> Seen:
    """One training in a process of its own. Raises CalledProcessError."""
    seen, done = Seen(), threading.Event()
    environment = os.environ | {"TRIMTAB_HOME": str(home)}
    command = [sys.executable, __file__, "--one", json.dumps(task)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:

        def sample() -> None:
            while not done.wait(0.01):
                seen.look(child.pid)

        thread = threading.Thread(target=sample)
        thread.start()
        assert child.stdout is not None
        for line in child.stdout:
            if line.startswith('{"phase"'):
                seen.mark(json.loads(line))
        done.set()
        thread.join()
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    load = seen.facts.get("load_seconds", 0.0)
    seen.seconds["rows"] = seen.facts.get("read_seconds", 0.0)
    seen.seconds["load"] = load - seen.seconds["rows"]
    return seen


def compare(rows: int, arguments: argparse.Namespace) -> dict[str, Seen]:
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for name, count in {"base": BASE_ROWS, "all": rows, "again": rows}.items():
            data = place / f"rows-{count}.csv"
            if not data.exists():
                write_rows(data, count, Path(arguments.sst2))
            task = {
                "model": arguments.model, "data": str(data), "out": str(place / name), "method": arguments.method,
                "steps": 0 if arguments.whole else arguments.steps,
            }  # fmt: skip
            found[name] = watched(task, place / "home")
            print_seen(name, count, found[name])
        kept = sum(file.stat().st_size for file in (place / "home" / "tokens").rglob("*") if file.is_file())
    beyond = max(seen.peak[0] for seen in found.values()) - found["base"].peak[0]
    print(
        f"{rows:,} rows: {beyond / MIB:,.0f} MiB beyond a training of {BASE_ROWS:,} rows; "
        f"{kept / MIB:,.0f} MiB of tokens kept"
    )
    return found


def print_seen(name: str, rows: int, seen: Seen) -> None:
    print(f"{name}: {rows:,} rows, {seen.facts.get('tokens', 0):,} tokens in train")
    for phase in PHASES:
        seconds, peak = seen.seconds.get(phase), seen.peaks.get(phase)
        told = "" if peak is None else "  peak {:6.0f} MiB = {:6.0f} anonymous + {:5.0f} of files".format(
            *(part / MIB for part in peak)
        )  # fmt: skip
        if seconds is not None:
            print(f"  {phase:7}{seconds:8.2f} s {rows / max(seconds, 1e-9):12,.0f} rows/s{told}", flush=True)
    model = 4 * seen.facts.get("parameters", 0)
    print(
        f"  highest {seen.peak[0] / MIB:.0f} MiB, of which {model / MIB:.0f} MiB are the model's weights",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=10**6)
    parser.add_argument("--method", default="head")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--model", default=str(MODEL))
    parser.add_argument("--sst2", default=str(SST2))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        one(json.loads(arguments.one))
        return
    print_facts()
    compare(arguments.rows, arguments)


if __name__ == "__main__":
    main()
