"""Conversations padded beside conversations laid end to end: rows a second, peak memory predicted and measured.

    python benchmarks/packing.py --model DIR --data DIR [--method lora] [--steps 24] [--batch 16] [--micro-batch 8]

Both forms train on the same batches, in processes of their own, by turns; "loss" must agree but for dropout. DIR
of the data holds train, dev and test of conversations. Run nothing else beside it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from machine_facts import print_facts

MIB = 1024**2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--method", default="lora")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--micro-batch", type=int, default=8)
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cell", choices=("padded", "packed"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cell:
        print(json.dumps(train(arguments.cell, arguments)))
        return
    print_facts()
    found: dict[str, list[dict[str, float]]] = {"padded": [], "packed": []}
    for _ in range(arguments.rounds):
        for form, runs in found.items():
            words = [sys.executable, *sys.argv, "--cell", form]
            done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
            runs.append(json.loads(done.stdout.strip().splitlines()[-1]))
            print_row(form, runs[-1])
    padded, packed = (median(run["rows"] for run in runs) for runs in found.values())
    print(
        f"packed over padded, medians of {arguments.rounds} rounds: {packed / padded:.2f} times the rows a second"
    )


def print_row(form: str, run: dict[str, float]) -> None:
    peaks = " ".join(f"{run[name] / MIB:6.0f}MiB" for name in ("peak", "predicted_peak"))
    seconds = f"step {run['step']:.2f} s, predicted {run['predicted_step']:.2f} s"
    print(
        f"{form:8} {run['rows']:6.2f} rows/s  {seconds}  peak, predicted {peaks}  loss {run['loss']:.4f}",
        flush=True,
    )


def train(form: str, arguments: argparse.Namespace) -> dict[str, float]:
    from dataclasses import replace

    from trimtab.data import open_corpus
    from trimtab.estimation import estimate
    from trimtab.hardware import calibration_key, this_machine
    from trimtab.methods import Choices, Schedule, Strategy, method_named, parts_for
    from trimtab.models import ModelSource, read_spec
    from trimtab.models.hub import TokenizerFile
    from trimtab.study import gather
    from trimtab.training import Job, Step, Training
    from trimtab.training.calibrate import calibrated

    source = ModelSource(folder=arguments.model, name=str(arguments.model))
    spec, corpus, method = read_spec(source), open_corpus(str(arguments.data)), method_named(arguments.method)
    facts = gather.describe(corpus, TokenizerFile(source.folder / "tokenizer.json"))
    strategy = Strategy(
        method=method.name,
        parts=parts_for(method, "instruct", spec, Choices()),
        precision=arguments.precision,
        schedule=Schedule(epochs=1, learning_rate=method.learning_rate),
        batch=arguments.batch,
        micro_batch=arguments.micro_batch,
        max_length=arguments.max_length,
        packed=form == "packed",
    )
    machine = this_machine()
    machine = replace(machine, calibration=calibrated(calibration_key(machine), machine.cores))
    guess = estimate(strategy, spec, facts, machine)
    steps: list[Step] = []
    with tempfile.TemporaryDirectory() as out:
        job = Job(source=source, spec=spec, data=facts, strategy=strategy, folder=Path(out))
        for event in Training(job, corpus):
            if isinstance(event, Step):
                steps.append(event)
            if len(steps) > arguments.steps:
                break
    kept = steps[1:]  # the first makes kernels
    return {
        "rows": arguments.batch * len(kept) / sum(step.seconds for step in kept),
        "step": sum(step.seconds for step in kept) / len(kept),
        "predicted_step": guess.time.step_seconds.value,
        "peak": max(step.memory_bytes for step in steps),
        "predicted_peak": guess.memory.peak_bytes.value,
        "loss": sum(step.loss for step in kept) / len(kept),
    }


if __name__ == "__main__":
    main()
