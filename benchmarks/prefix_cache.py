"""A frozen part run once: Trimtab with and without it, and the Hugging Face Trainer, in whole trainings.

    python benchmarks/prefix_cache.py [--rounds 5] [--rows 0] [--cases lora,freeze,head] [--batch 16]

Cases, on an encoder of six layers: `lora` on the upper two, `freeze` (all weights of the upper two), both for
three epochs; `head` alone for five. Contenders: `trimtab` (the frozen part run once, that included), `again`
(found as the run before left it), `trimtab-off` (run in every step), `trainer` with its defaults (fp32, random
order), `trainer-sorted` (batches of like length) and `trainer-bf16` (bf16 as well); each in a process of its own,
interleaved. What is timed is training without its evaluations, from the first step or the build on; medians and
ratios of samples a second, peak resident memory, accuracy on test, and the predicted beside the measured time.
`--rows`: of the training split so many, 0 = all. Run nothing else beside it."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from machine_facts import print_facts
from train_vs_trainer import TRAINER_SETTINGS, run_trainer, run_trimtab

CASES = {
    "lora": {"method": "lora", "top_layers": 2, "epochs": 3},
    "freeze": {"method": "freeze", "top_layers": 2, "epochs": 3},
    "head": {"method": "head", "top_layers": None, "epochs": 5},
}
OURS = {"trimtab": "on", "again": "on", "trimtab-off": "off"}


def samples_per_second(run: dict) -> float:
    return run["samples"] / (run["seconds"] - run.get("evaluate_seconds", 0.0))


def in_process(contender: str, task: dict) -> dict:
    command = [sys.executable, __file__, "--one", json.dumps({**task, "contender": contender})]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return json.loads(done.stdout.strip().split("\n")[-1])


def one(task: dict) -> dict:
    contender = task["contender"]
    if contender in OURS:
        return run_trimtab(task | {"prefix": OURS[contender]})
    return run_trainer(task | {"evaluate": False}, TRAINER_SETTINGS[contender])


def compare(case: str, arguments: argparse.Namespace, data: Path) -> None:
    contenders = [name for name in (*OURS, *TRAINER_SETTINGS) if name in arguments.contenders.split(",")]
    runs: dict[str, list[dict]] = {name: [] for name in contenders}
    for number in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as states:
            for name in contenders:
                task = {"model": arguments.model, "data": str(data), "batch": arguments.batch, "seed": number}
                run = in_process(name, task | CASES[case] | {"steps": 0, "states": states})
                runs[name].append(run)
                print(f"  {case} round {number + 1} {name:15} {_line(run)}", flush=True)
    rate = {name: median(map(samples_per_second, found)) for name, found in runs.items()}
    peak = {name: median(run["peak_bytes"] for run in found) for name, found in runs.items()}
    right = {name: sum(run["accuracy"] for run in found) / len(found) for name, found in runs.items()}
    for name in contenders:
        print(
            f"{case}: {name:15} {rate[name]:7.1f} samples/s, trimtab {rate['trimtab'] / rate[name]:5.2f} x, "
            f"peak {peak[name] / 2**20:5.0f} MiB, test accuracy {right[name]:.4f}",
            flush=True,
        )


def _line(run: dict) -> str:
    words = f"{samples_per_second(run):7.1f} samples/s {run['peak_bytes'] / 2**20:6.0f} MiB {run['accuracy']:.4f}"
    if run.get("prefix_bytes"):
        built = "built" if run["prefix_built"] else "found"
        words += f", {built} in {run['prefix_seconds']:.1f} s ({run['prefix_bytes'] / 2**20:.0f} MiB)"
    if "predicted_seconds" in run:
        words += f", {run['predicted_seconds']:.0f} s predicted, {run['seconds']:.0f} s measured"
    return words


def cut(data: Path, rows: int, folder: Path) -> Path:
    """The data with so many rows to train on; itself where all are wanted."""
    if not rows:
        return data
    for split in ("dev", "test"):
        shutil.copy(data / f"{split}.jsonl", folder)
    with (data / "train.jsonl").open(encoding="utf-8") as file:
        lines = [line for line, _ in zip(file, range(rows), strict=False)]
    (folder / "train.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=os.path.expanduser("~/.cache/trimtab-dev-models/all-minilm-l6-v2"))
    parser.add_argument("--data", default=str(Path(__file__).parents[2] / "shared" / "data" / "sst2"))
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--contenders", default=",".join((*OURS, *TRAINER_SETTINGS)))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one(json.loads(arguments.one))))
        return
    print_facts()
    print(f"{Path(arguments.model).name} on {Path(arguments.data).name}, batch {arguments.batch}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        data = cut(Path(arguments.data), arguments.rows, Path(folder))
        for case in arguments.cases.split(","):
            compare(case, arguments, data)


if __name__ == "__main__":
    main()
