"""A chat model learns to answer by several methods: loss before and after, memory, and whether answers end.

    python benchmarks/chat_methods.py --model DIR --data FOLDER --out FOLDER [--cases lora,qlora,adapter,prompt]
              [--rows 400] [--prompts 20] [--epochs 1] [--batch 16] [--length 256] [--precision bf16]

Every training is `trimtab train`, a process of its own, so that peaks are its own; all with the same rows, batch
and precision. The first hundred rows of dev are scored, before training and after; the first prompts of test are
answered by `trimtab predict`. LoRA and QLoRA are merged into their base, which refuses to keep what answers
otherwise than the adapter. What stands in --out is not made again.
"""

import argparse
import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

from machine_facts import print_facts

from trimtab.units import format_bytes

MERGED = ("lora", "qlora")
# Virtual tokens have a rate of their own for small models; the others keep the method's own.
RATES = {"prompt": "1e-2"}
HELD_OUT_ROWS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cases", default="lora,qlora,adapter,prompt")
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--precision", default="bf16")
    arguments = parser.parse_args()
    print_facts()
    rows = some_rows(arguments)
    for case in arguments.cases.split(","):
        print(line(case, trained(case, rows, arguments), answered(case, rows, arguments)), flush=True)
        if case in MERGED:
            print(f"  merged: {merged(case, arguments)}", flush=True)


def some_rows(arguments: argparse.Namespace) -> Path:
    """The folder of rows that is trained on, with the prompts beside it."""
    folder = arguments.out / "data"
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in {"train": arguments.rows, "dev": HELD_OUT_ROWS, "test": arguments.prompts}.items():
        with (arguments.data / f"{split}.jsonl").open(encoding="utf-8") as source:
            (folder / f"{split}.jsonl").write_text("".join(islice(source, count)), encoding="utf-8")
    return folder


def trained(case: str, rows: Path, arguments: argparse.Namespace) -> dict:
    """The report of the training."""
    out = arguments.out / case
    if not (out / "report.json").is_file():
        options = {
            "--data": rows, "--out": out, "--method": case, "--epochs": arguments.epochs,
            "--batch": arguments.batch, "--max-length": arguments.length, "--precision": arguments.precision,
            "--lr": RATES.get(case),
        }  # fmt: skip
        trimtab("train", arguments.model, *(str(x) for pair in options.items() if pair[1] for x in pair))
    return json.loads((out / "report.json").read_text(encoding="utf-8"))


def answered(case: str, rows: Path, arguments: argparse.Namespace) -> list[dict]:
    """What the model answers to the prompts of test."""
    lines = trimtab("predict", str(arguments.out / case), "--file", str(rows / "test.jsonl"), "--json")
    return [json.loads(text) for text in lines.splitlines()]


def merged(case: str, arguments: argparse.Namespace) -> str:
    out = arguments.out / f"{case}-merged"
    if not out.is_dir():
        trimtab("adapters", "merge", str(arguments.out / case), "--out", str(out))
    return format_bytes((out / "model.safetensors").stat().st_size)


def line(case: str, report: dict, answers: list[dict]) -> str:
    run, memory = report["run"], report["comparison"]["memory"]
    dev = next(metric for metric in report["scores"]["dev"]["metrics"] if metric["name"] == "loss")
    ended = sum(answer["ended"] for answer in answers)
    return (
        f"{case:8} {report['trainable_parameters']:>10,} trained, dev loss {run['untrained_metric']:.4f} -> "
        f"{dev['value']:.4f} ({dev['low']:.4f}..{dev['high']:.4f}), answers ended {ended}/{len(answers)}, peak "
        f"{format_bytes(memory['measured'])} (predicted {format_bytes(memory['predicted'])}), "
        f"{run['seconds']:.0f} s"
    )


def trimtab(*words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "trimtab", *words], check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"trimtab {' '.join(words)}\n{done.stderr[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    main()
