"""Stages beside training all at once, at the same number of trained layers: scores, time, memory.

    python benchmarks/stages.py --model DIR --data DIR [--rows N] [--epochs N] [--batch N] [--top 3] [--seeds N]

Every row of CASES is planned as `trimtab train` plans it and trained in a process of its own, on the same rows.
DIR of the data holds train, dev and test as jsonl. Run nothing else beside it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from machine_facts import print_facts

MIB = 1024**2
# name -> method, upper layers (None = all), stages (None = all at once), learning rate of a layer over the next
CASES: dict[str, tuple[str, bool, str | None, float | None]] = {
    "full": ("full", False, None, None),
    "full, decay 0.9": ("full", False, None, 0.9),
    "staged top-down": ("staged", False, "top-down", None),
    "staged bottom-up": ("staged", False, "bottom-up", None),
    "freeze": ("freeze", True, None, None),
    "staged top": ("staged", True, "top-down", None),
    "lora": ("lora", False, None, None),
    "lora top-down": ("lora", False, "top-down", None),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=4800)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--top", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--lr", type=float, help="in place of each method's own")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--only", nargs="*", choices=CASES)
    parser.add_argument("--cell", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cell:
        print(json.dumps(train(*arguments.cell, arguments)))
        return
    print_facts()
    print(
        f"{'case':18} {'seed':>4} {'dev':>7} {'test':>7} {'best':>5} {'seconds':>8} {'predicted':>9} {'peak':>9}",
        end=" ",
    )
    print(f"{'predicted':>9}")
    with tempfile.TemporaryDirectory() as folder:
        data = some_rows(arguments, Path(folder))
        for name in arguments.only or CASES:
            for seed in range(arguments.seeds):
                print_row(name, seed, in_process(name, str(seed), data))


def some_rows(arguments: argparse.Namespace, folder: Path) -> Path:
    """Training rows, evenly from the whole file; dev and test as they are."""
    lines = (arguments.data / "train.jsonl").read_text(encoding="utf-8").splitlines()
    wanted = min(len(lines), arguments.rows)
    rows = [lines[number * len(lines) // wanted] for number in range(wanted)]
    (folder / "train.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    for split in ("dev", "test"):
        (folder / f"{split}.jsonl").write_bytes((arguments.data / f"{split}.jsonl").read_bytes())
    return folder


def in_process(name: str, seed: str, data: Path) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as out:
        words = [sys.executable, *sys.argv, "--data", str(data), "--cell", name, seed, out]
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def print_row(name: str, seed: int, found: dict[str, float]) -> None:
    scores = f"{found['dev']:7.4f} {found['test']:7.4f} {found['best']:5.0f}"
    seconds = f"{found['seconds']:7.1f}s {found['predicted_seconds']:8.1f}s"
    peaks = " ".join(f"{found[peak] / MIB:6.0f}MiB" for peak in ("peak", "predicted_peak"))
    print(f"{name:18} {seed:4} {scores} {seconds} {peaks}", flush=True)


def train(name: str, seed: str, out: str, arguments: argparse.Namespace) -> dict[str, float]:
    from dataclasses import replace

    from trimtab import planning
    from trimtab.data import count_tokens, describe, open_corpus
    from trimtab.hardware import calibration_key, this_machine
    from trimtab.methods import Choices
    from trimtab.models import ModelSource, read_spec
    from trimtab.training import Finished, Job, Training
    from trimtab.training.calibrate import calibrated

    method, upper, stages, decay = CASES[name]
    source = ModelSource(folder=arguments.model, name=str(arguments.model))
    spec, corpus = read_spec(source), open_corpus(str(arguments.data))
    facts = describe(corpus, count_tokens(corpus.train, source.folder / "tokenizer.json"))
    machine = this_machine()
    machine = replace(machine, calibration=calibrated(calibration_key(machine), machine.cores))
    settings = planning.Settings(
        epochs=arguments.epochs, batch=arguments.batch, learning_rate=arguments.lr, precision=arguments.precision,
        recompute=False, stages=stages, layer_decay=decay, seed=int(seed),
    )  # fmt: skip
    choices = Choices(top_layers=arguments.top if upper else None)
    plan = planning.plan(spec, facts, machine, method=method, choices=choices, settings=settings)
    guess = plan.chosen.estimate
    job = Job(source=source, spec=spec, data=facts, strategy=guess.strategy, folder=Path(out))
    (run,) = (event.run for event in Training(job, corpus) if isinstance(event, Finished))
    assert run.test is not None, "the data have a test split"
    return {
        "dev": run.dev.main.value,
        "test": run.test.main.value,
        "best": run.best_step,
        "seconds": run.seconds,
        "predicted_seconds": guess.time.total_seconds.value,
        "peak": run.peak_memory_bytes,
        "predicted_peak": guess.memory.peak_bytes.value,
    }


if __name__ == "__main__":
    main()
