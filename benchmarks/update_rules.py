"""Update rules side by side: dev accuracy, peak memory predicted and measured, time of a step.

    python benchmarks/update_rules.py --model DIR --data DIR [--method full] [--steps 300] [--batch 16] [--seeds 1]

Every rule trains the same model on the same rows for one epoch, in a process of its own, at the learning rate that
the planner would give it. DIR of the data holds train, dev and test as jsonl. Memory is the high-water mark of the
process until the best weights are back. Run nothing else beside it.
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
RULES = ("adamw", "adamw8bit", "lion", "adafactor")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--method", default="full")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--ema", type=float)
    parser.add_argument("--lr", type=float, help="in place of the rule's own")
    parser.add_argument("--only", choices=RULES)
    parser.add_argument("--cell", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cell:
        print(json.dumps(train(*arguments.cell, arguments)))
        return
    print_facts()
    head = f"{'rule':12} {'seed':>4} {'dev':>7} {'loss':>7} {'peak':>9} {'predicted':>9} {'step':>8}"
    print(f"{head} {'predicted':>9}")
    with tempfile.TemporaryDirectory() as folder:
        data = some_rows(arguments, Path(folder))
        for rule in (arguments.only,) if arguments.only else RULES:
            for seed in range(arguments.seeds):
                print_row(rule, seed, in_process(rule, str(seed), data))


def some_rows(arguments: argparse.Namespace, folder: Path) -> Path:
    """As many training rows as the steps read, evenly from the whole file; dev and test as they are."""
    lines = (arguments.data / "train.jsonl").read_text(encoding="utf-8").splitlines()
    wanted = min(len(lines), arguments.steps * arguments.batch)
    rows = [lines[number * len(lines) // wanted] for number in range(wanted)]
    (folder / "train.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    for split in ("dev", "test"):
        (folder / f"{split}.jsonl").write_bytes((arguments.data / f"{split}.jsonl").read_bytes())
    return folder


def in_process(rule: str, seed: str, data: Path) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as out:
        words = [sys.executable, *sys.argv, "--data", str(data), "--cell", rule, seed, out]
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def print_row(rule: str, seed: int, found: dict[str, float]) -> None:
    peaks = [f"{found[name] / MIB:6.0f}MiB" for name in ("peak", "predicted_peak")]
    steps = [f"{1000 * found[name]:6.0f}ms" for name in ("step", "predicted_step")]
    dev = f"{found['dev']:7.4f} {found['loss']:7.4f}"
    print(f"{rule:12} {seed:4} {dev} {peaks[0]} {peaks[1]} {steps[0]} {steps[1]:>9}", flush=True)


def train(rule: str, seed: str, out: str, arguments: argparse.Namespace) -> dict[str, float]:
    from dataclasses import replace

    from trimtab.data import count_tokens, describe, open_corpus
    from trimtab.estimation import estimate
    from trimtab.hardware import calibration_key, this_machine
    from trimtab.methods import Choices, Schedule, Strategy, method_named, update_rule_named
    from trimtab.models import ModelSource, read_spec
    from trimtab.training import Finished, Job, Step, Training
    from trimtab.training.calibrate import calibrated

    source = ModelSource(folder=arguments.model, name=str(arguments.model))
    spec, corpus, chosen = read_spec(source), open_corpus(str(arguments.data)), update_rule_named(rule)
    facts = describe(corpus, count_tokens(corpus.train, source.folder / "tokenizer.json"))
    method = method_named(arguments.method)
    rate = arguments.lr or method.learning_rate * chosen.rate_share
    strategy = Strategy(
        method=method.name,
        parts=method.parts(spec, Choices()),
        precision=arguments.precision,
        optimizer=chosen,
        schedule=Schedule(epochs=1, learning_rate=rate, evaluations=3),
        batch=arguments.batch,
        micro_batch=arguments.batch,
        ema_decay=arguments.ema,
        seed=int(seed),
    )
    machine = this_machine()
    machine = replace(machine, calibration=calibrated(calibration_key(machine), machine.cores))
    job = Job(source=source, spec=spec, data=facts, strategy=strategy, folder=Path(out))
    events = list(Training(job, corpus))
    (run,) = (event.run for event in events if isinstance(event, Finished))
    guess = estimate(strategy, spec, facts, machine)
    return {
        "dev": run.dev.main.value,
        "loss": run.dev.loss,
        "peak": run.peak_memory_bytes,
        "predicted_peak": guess.memory.peak_bytes.value,
        "step": median(event.seconds for event in events if isinstance(event, Step)),
        "predicted_step": guess.time.step_seconds.value,
    }


if __name__ == "__main__":
    main()
