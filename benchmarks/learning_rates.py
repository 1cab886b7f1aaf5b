"""Learning rates of methods side by side: accuracy on dev, time of a step.

    python benchmarks/learning_rates.py --model DIR --data DIR --cells prompt:1e-1,prompt:3e-1,head:2e-3
                                        [--rows 2048] [--epochs 1] [--batch 16] [--seeds 1] [--virtual-tokens N]

Every cell trains the same model on the same rows, evenly from the whole file, from the seeds 0, 1, ... DIR of the
data holds train and dev as jsonl.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import mean, median

from machine_facts import print_facts

from trimtab.data import count_tokens, describe, open_corpus
from trimtab.methods import Choices, Schedule, Strategy, method_named
from trimtab.models import ModelSource, read_spec
from trimtab.training import Finished, Job, Step, Training


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cells", required=True)
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--virtual-tokens", type=int)
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    print_facts()
    print(f"{'method':10} {'rate':>8} {'dev':>7} {'step':>7}  dev of each seed")
    with tempfile.TemporaryDirectory() as folder:
        some_rows(arguments, Path(folder))
        arguments.data = Path(folder)
        for cell in arguments.cells.split(","):
            method, _, rate = cell.partition(":")
            found = [train(method, float(rate), seed, arguments) for seed in range(arguments.seeds)]
            dev, step = (mean(column) for column in zip(*found, strict=True))
            seeds = " ".join(f"{one[0]:.4f}" for one in found)
            print(f"{method:10} {rate:>8} {dev:7.4f} {1000 * step:5.0f}ms  {seeds}", flush=True)


def some_rows(arguments: argparse.Namespace, folder: Path) -> None:
    lines = (arguments.data / "train.jsonl").read_text(encoding="utf-8").splitlines()
    wanted = min(len(lines), arguments.rows)
    rows = [lines[number * len(lines) // wanted] for number in range(wanted)]
    (folder / "train.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "dev.jsonl").write_bytes((arguments.data / "dev.jsonl").read_bytes())


def train(name: str, rate: float, seed: int, arguments: argparse.Namespace) -> tuple[float, float]:
    """Accuracy on dev, median seconds of a step."""
    source = ModelSource(folder=arguments.model, name=str(arguments.model))
    spec, corpus, method = read_spec(source), open_corpus(str(arguments.data)), method_named(name)
    facts = describe(corpus, count_tokens(corpus.train, source.folder / "tokenizer.json"))
    chosen = Choices()
    if "virtual_tokens" in method.takes:
        chosen = replace(chosen, virtual_tokens=arguments.virtual_tokens)
    strategy = Strategy(
        method=name,
        parts=method.parts(spec, chosen),
        schedule=Schedule(epochs=arguments.epochs, learning_rate=rate),
        batch=arguments.batch,
        micro_batch=arguments.batch,
        seed=seed,
    )
    with tempfile.TemporaryDirectory() as out:
        job = Job(
            source=source, spec=spec, data=facts, strategy=strategy, folder=Path(out), threads=arguments.threads
        )
        events = list(Training(job, corpus))
    (run,) = (event.run for event in events if isinstance(event, Finished))
    step = median(event.seconds for event in events if isinstance(event, Step))
    return run.dev.main.value, step


if __name__ == "__main__":
    main()
