"""Predicted beside measured peak memory and step time, 12 cells: 4 methods x 3 settings of batch and length.

    python benchmarks/memory_prediction.py [--model DIR] [--data FILE_OR_FOLDER] [--epochs 1]

Every cell is a process of its own that trains for real and reports its high-water mark. The prediction is made
before the cell runs, from a calibration of this machine. The bare runtime is what the process holds when all is
imported and nothing is read. Run nothing else beside it.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from machine_facts import print_facts

METHODS = ("full", "lora", "freeze", "head")
SETTINGS = ((16, 16, 64), (32, 32, 128), (64, 16, 256))  # batch, micro-batch, tokens
MIB = 1024**2


def cell(model: str, data: str, method: str, setting: tuple[int, int, int], precision: str) -> dict[str, float]:
    """Train one cell in this process; returns predicted and measured figures."""
    from trimtab.estimation import estimate
    from trimtab.hardware import calibration_key, this_machine
    from trimtab.methods import Choices, Schedule, Strategy, method_named
    from trimtab.models import locate, read_spec
    from trimtab.study import Reading, gather
    from trimtab.training import Finished, Job, Training
    from trimtab.training.calibrate import calibrated

    bare = _resident_bytes()
    batch, micro_batch, length = setting
    machine = this_machine()
    machine = replace(machine, calibration=calibrated(calibration_key(machine), machine.cores))
    source = locate(model)
    spec = read_spec(source)
    corpus = gather.open_corpus(data, Reading())
    facts = gather.describe(corpus, gather.TokenizerFile(source.folder / "tokenizer.json"))
    preset = method_named(method)
    strategy = Strategy(
        method=method,
        parts=preset.parts(spec, Choices()),
        base_precision=preset.base_precision,
        precision=precision,
        batch=batch,
        micro_batch=micro_batch,
        max_length=length,
        schedule=Schedule(epochs=1, learning_rate=preset.learning_rate),
    )
    predicted = estimate(strategy, spec, facts, machine)
    with tempfile.TemporaryDirectory() as folder:
        job = Job(
            source=source, spec=spec, data=facts, strategy=strategy, folder=Path(folder), threads=machine.cores
        )
        run = next(event.run for event in Training(job, corpus) if isinstance(event, Finished))
    return {
        "predicted": predicted.memory.peak_bytes.value,
        "measured": run.peak_memory_bytes,
        "predicted_runtime": machine.calibration.runtime_bytes,
        "measured_runtime": bare,
        "predicted_step": predicted.time.step_seconds.value,
        "measured_step": (run.seconds - run.evaluate_seconds) / run.steps,
    }


def _resident_bytes() -> int:
    """What this process holds now."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--data", default="demo")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cell:
        method, *numbers = arguments.cell.split(",")
        batch, micro_batch, length = map(int, numbers)
        print(
            json.dumps(
                cell(arguments.model, arguments.data, method, (batch, micro_batch, length), arguments.precision)
            )
        )
        return
    print_facts()
    print(f"{arguments.model} on {arguments.data}, {arguments.precision}, one epoch a cell")
    print(f"{'cell':26} {'predicted':>10} {'measured':>10} {'error':>7} {'above runtime':>14} {'step error':>11}")
    whole, above, steps = [], [], []
    for method in METHODS:
        for setting in SETTINGS:
            words = ",".join(map(str, (method, *setting)))
            command = [sys.executable, __file__, "--model", arguments.model, "--data", arguments.data]
            command += ["--precision", arguments.precision, "--cell", words]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            found = json.loads(output.strip().split("\n")[-1])
            errors = _errors(found)
            print(
                f"{words:26} {found['predicted'] / MIB:8.0f} M {found['measured'] / MIB:8.0f} M "
                f"{errors[0]:+7.1%} {errors[1]:+14.1%} {errors[2]:+11.1%}",
                flush=True,
            )
            for values, error in zip((whole, above, steps), errors, strict=True):
                values.append(abs(error))
    print(
        f"median absolute error: whole {statistics.median(whole):.1%}, above the bare runtime "
        f"{statistics.median(above):.1%}, step time {statistics.median(steps):.1%}"
    )


def _errors(found: dict[str, float]) -> tuple[float, float, float]:
    predicted_above = found["predicted"] - found["predicted_runtime"]
    measured_above = found["measured"] - found["measured_runtime"]
    return (
        found["predicted"] / found["measured"] - 1,
        predicted_above / measured_above - 1,
        found["predicted_step"] / found["measured_step"] - 1,
    )


if __name__ == "__main__":
    main()
