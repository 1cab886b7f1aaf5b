"""Predicted beside measured over real trainings on this machine: memory, step time, and whether "fits" holds.

    python benchmarks/real_runs.py [--models DIR] [--out FILE.jsonl] [--only TEXT]
    python benchmarks/real_runs.py --edge 30 [--out FILE.jsonl]

A grid of models x methods x precision x batch and length x recompute (`grid`, 94 runs): small and multilingual
encoders and a decoder, full tuning, freezing, LoRA, bottleneck adapters, head. Every run is what `trimtab train`
does, in a process of its own: plan, a dozen steps on real text with the longest batch first, saving, opening what
was saved. The calibration of this machine is the same for all, and none knows of the others. Results go to FILE as
they come; a run that stands there is not run again. `--edge N`: N of them again, each with a memory limit of
exactly what was predicted as the high end; a watchdog kills what goes beyond. Run nothing else beside it.
"""

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from machine_facts import print_facts

MODELS = Path("~/.cache/trimtab-dev-models").expanduser()
DATA = Path(__file__).parents[2] / "shared" / "data"
STEPS, MIB = 12, 1024**2


@dataclass(frozen=True)
class Cell:
    """One training. `length`: texts are cut after so many tokens, and most are longer."""

    model: str
    data: str
    method: str
    precision: str
    batch: int
    length: int
    recompute: bool

    @property
    def name(self) -> str:
        words = (self.model, self.method, self.precision, f"{self.batch}x{self.length}")
        return " ".join((*words, *(("recompute",) if self.recompute else ())))


def grid() -> Iterator[Cell]:
    methods = ("full", "freeze", "lora", "adapter", "head")
    english, chinese = ("all-minilm-l6-v2", "ag_news"), ("multilingual-e5-small", "chnsenticorp")
    chat = ("smollm2-135m-instruct", "ag_news")
    shapes = {
        english: ((16, 64), (32, 32), (16, 128), (8, 256)),
        chinese: ((16, 64), (8, 128)),
        chat: ((8, 32), (4, 64)),
    }
    for (model, data), cuts in shapes.items():
        for method, (batch, length) in itertools.product(methods, cuts):
            for precision, recompute in (("fp32", False), ("bf16", False), ("fp32", True)):
                if recompute and method in ("head", "freeze"):
                    continue
                if precision == "bf16" and length in (32, 64) and model == english[0]:
                    continue
                yield Cell(model, data, method, precision, batch, length, recompute)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--out", type=Path, default=Path("real_runs.jsonl"))
    parser.add_argument("--only", default="", help="runs whose name holds this")
    parser.add_argument("--edge", type=int, default=0)
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cell:
        print(json.dumps(train(Cell(**json.loads(arguments.cell)), arguments)))
        return
    print_facts()
    with tempfile.TemporaryDirectory() as folder:
        arguments.home = Path(folder, "calibrated")
        calibrate(arguments.home)
        run_grid(arguments)


def run_grid(arguments: argparse.Namespace) -> None:
    cells = [cell for cell in grid() if arguments.only in cell.name]
    done = known(arguments.out)
    if arguments.edge:
        edge(cells, done, arguments)
        return
    print(f"{'run':66} {'predicted':>10} {'measured':>10} {'error':>7} {'above runtime':>14} {'step error':>11}")
    for cell in cells:
        if cell.name not in done:
            done[cell.name] = in_process(cell, arguments)
            with arguments.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"name": cell.name, **asdict(cell), **done[cell.name]}) + "\n")
        print_run(cell, done[cell.name])
    summary({cell.name: done[cell.name] for cell in cells})


def known(path: Path) -> dict[str, dict[str, float]]:
    if not path.is_file():
        return {}
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    return {row["name"]: row for row in rows}


def in_process(cell: Cell, arguments: argparse.Namespace) -> dict[str, float]:
    with fresh_home(arguments.home) as environment:
        done = subprocess.run(
            _command(cell, arguments), check=True, stdout=subprocess.PIPE, text=True, env=environment
        )
    return json.loads(done.stdout.strip().split("\n")[-1])


def _command(cell: Cell, arguments: argparse.Namespace) -> list[str]:
    where = ["--models", str(arguments.models), "--data", str(arguments.data)]
    return [sys.executable, __file__, *where, "--cell", json.dumps(asdict(cell))]


@contextmanager
def fresh_home(calibrated: Path) -> Iterator[dict[str, str]]:
    """An environment with a TRIMTAB_HOME that holds the calibration and no run."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder, "home")
        shutil.copytree(calibrated, home)
        yield {**os.environ, "TRIMTAB_HOME": str(home)}


def calibrate(home: Path) -> None:
    """Measure this machine into an empty home."""
    program = (
        "from trimtab.hardware import calibration_key, this_machine\n"
        "from trimtab.training.calibrate import calibrated\n"
        "machine = this_machine()\n"
        "print(calibrated(calibration_key(machine), machine.cores))"
    )
    environment = {**os.environ, "TRIMTAB_HOME": str(home)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


# -------------------------------------------------------------------- one run


def train(cell: Cell, arguments: argparse.Namespace) -> dict[str, float]:
    """`trimtab train` in this process, cut to a dozen steps."""
    from trimtab import study
    from trimtab.planning import Settings
    from trimtab.training import Finished

    with tempfile.TemporaryDirectory() as folder:
        request = study.TrainRequest(
            model=str(arguments.models / cell.model),
            data=_cut(cell, arguments.data, Path(folder)),
            out=str(Path(folder, "out")),
            method=cell.method,
            settings=Settings(
                epochs=1,
                batch=cell.batch,
                max_length=cell.length,
                precision=cell.precision,  # type: ignore[arg-type]
                recompute=cell.recompute,
            ),
        )
        for event in study.train(request):
            if isinstance(event, Finished):
                run = event.run
            if isinstance(event, study.Planned):
                planned = event
            if isinstance(event, study.Trained):
                compared = {row.quantity: row for row in event.rows}
    memory, step = compared["memory"], compared["step"]
    calibration = planned.machine.calibration
    return {
        "predicted": memory.predicted.value,
        "high": memory.predicted.high,
        "measured": memory.measured,
        "predicted_runtime": calibration.runtime_bytes if calibration else 0,
        "measured_runtime": run.runtime_memory_bytes,
        "micro_batch": run.micro_batch,
        "phase": planned.plan.chosen.estimate.memory.phase,
        "predicted_step": step.predicted.value,
        "measured_step": step.measured,
    }


def _cut(cell: Cell, data: Path, folder: Path) -> str:
    """A folder of splits with just enough rows for the steps; every eighth row is kept for dev."""
    wanted = cell.batch * STEPS
    with (data / cell.data / "train.jsonl").open(encoding="utf-8") as file:
        rows = list(itertools.islice(file, 2 * wanted))
    (folder / "train.jsonl").write_text("".join(rows[:wanted]), encoding="utf-8")
    (folder / "dev.jsonl").write_text("".join(rows[wanted : wanted + max(16, wanted // 8)]), encoding="utf-8")
    return str(folder)


# -------------------------------------------------------------------- figures


def errors(found: dict[str, float]) -> tuple[float, float, float]:
    """Of the whole, of the part above the bare runtime (the imports), of a step."""
    bare = found["predicted_runtime"]
    return (
        found["predicted"] / found["measured"] - 1,
        (found["predicted"] - bare) / (found["measured"] - bare) - 1,
        found["predicted_step"] / found["measured_step"] - 1,
    )


def print_run(cell: Cell, found: dict[str, float]) -> None:
    whole, above, step = errors(found)
    print(
        f"{cell.name:66} {found['predicted'] / MIB:8.0f} M {found['measured'] / MIB:8.0f} M {whole:+7.1%} "
        f"{above:+14.1%} {step:+11.1%}",
        flush=True,
    )


def summary(found: dict[str, dict[str, float]]) -> None:
    for label, chosen in {"all": found, **_parts(found)}.items():
        whole, above, step = zip(*(errors(run) for run in chosen.values()), strict=True)
        over = sum(run["measured"] > run["high"] for run in chosen.values())
        print(
            f"{label:24} n {len(chosen):3}  memory median {_middle(whole):5.1%} worst {_worst(whole):5.1%}, above "
            f"the runtime {_middle(above):5.1%}, step median {_middle(step):5.1%}; above high {over}"
        )


def _parts(found: dict[str, dict[str, float]]) -> dict[str, dict[str, dict[str, float]]]:
    parts: dict[str, dict[str, dict[str, float]]] = {}
    for name, run in found.items():
        for word in name.split()[:3]:
            parts.setdefault(word, {})[name] = run
    return parts


def _middle(values: Sequence[float]) -> float:
    return median(abs(value) for value in values)


def _worst(values: Sequence[float]) -> float:
    return max(abs(value) for value in values)


# -------------------------------------------------------------------- near the edge


def edge(cells: Sequence[Cell], done: dict[str, dict[str, float]], arguments: argparse.Namespace) -> None:
    """Runs that are said to fit a limit of exactly their high end: none may be killed by it."""
    chosen = [cell for cell in cells if cell.name in done]
    chosen = chosen[:: max(1, len(chosen) // arguments.edge)][: arguments.edge]
    killed = 0
    for cell in chosen:
        limit = int(done[cell.name]["high"])
        with fresh_home(arguments.home) as environment:
            peak, died = watched(_command(cell, arguments), limit, environment)
        killed += died
        print(
            f"{cell.name:66} limit {limit / MIB:7.0f} M, peak {peak / MIB:7.0f} M {'KILLED' if died else 'fits'}",
            flush=True,
        )
    print(f"killed by their limit: {killed} of {len(chosen)}")


def watched(command: list[str], limit: int, environment: dict[str, str]) -> tuple[int, bool]:
    """Run under a watchdog on the resident set, which stands for a memory cgroup."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    peak = 0
    while process.poll() is None:
        peak = max(peak, _high_water(process.pid))
        if peak > limit:
            process.kill()
            process.wait()
            return peak, True
        time.sleep(0.02)
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    return peak, False


def _high_water(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/status") as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS:")), 0)
    except OSError:
        return 0


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
