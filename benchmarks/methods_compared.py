"""Methods side by side on one data set: each at the learning rate that is best on dev, then several seeds on test.

    python benchmarks/methods_compared.py --model DIR --data DIR --out FOLDER [--cases full,lora,adapter,...]
              [--rows N] [--epochs 3] [--batch 16] [--precision fp32] [--seeds 3] [--workers 2]

Rates are a third, one and three times the method's own (virtual tokens: one, three, nine), chosen with seed 0. DIR
of the data holds train, dev and test as jsonl. A difference between two methods is that of the same test rows and
seeds; its interval is Student's over the rows, each the mean of its seeds. Every training is a process of its own
with one thread, `--workers` of them at once: figures are scores, not times. What stands in FOLDER is kept.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from machine_facts import print_facts

CASES: dict[str, dict[str, object]] = {
    "full": {"method": "full"},
    "lora": {"method": "lora"},
    "adapter": {"method": "adapter"},
    "freeze": {"method": "freeze", "top_layers": 3},
    "staged": {"method": "freeze", "top_layers": 3, "stages": "top-down"},
    "bitfit": {"method": "bitfit"},
    "prefix": {"method": "prefix"},
    "prompt": {"method": "prompt"},
    "head": {"method": "head"},
}
SHARES = (1 / 3, 1.0, 3.0)
WIDE_SHARES = (1.0, 3.0, 9.0)  # of virtual tokens, whose own rate is low for a small encoder
PAIRS = (
    ("lora", "full"), ("adapter", "full"), ("freeze", "full"), ("staged", "freeze"), ("prompt", "head"),
    ("prefix", "head"),
)  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One training; `share` is its learning rate over the method's own."""

    case: str
    share: float
    seed: int

    @property
    def file(self) -> str:
        return f"{self.case}-{self.share:.3f}-{self.seed}.npz"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cell:
        train(Cell(**json.loads(arguments.cell)), arguments)
        return
    print_facts()
    require_same(arguments)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.rows:
            arguments.data = some_rows(arguments, Path(folder))
        show(dict(best_rates(arguments.cases.split(","), arguments)), arguments)


def require_same(arguments: argparse.Namespace) -> None:
    """What is kept in the folder is of trainings like these."""
    names = ("model", "data", "rows", "epochs", "batch", "precision")
    told = {name: str(getattr(arguments, name)) for name in names}
    arguments.out.mkdir(parents=True, exist_ok=True)
    kept_as = arguments.out / "arguments.json"
    if kept_as.is_file() and json.loads(kept_as.read_text(encoding="utf-8")) != told:
        sys.exit(f"{arguments.out} holds trainings of other settings: {kept_as.read_text(encoding='utf-8')}")
    kept_as.write_text(json.dumps(told), encoding="utf-8")


def some_rows(arguments: argparse.Namespace, folder: Path) -> Path:
    """Training rows, evenly from the whole file; dev and test as they are."""
    lines = (arguments.data / "train.jsonl").read_text(encoding="utf-8").splitlines()
    wanted = min(len(lines), arguments.rows)
    rows = [lines[number * len(lines) // wanted] for number in range(wanted)]
    (folder / "train.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    for split in ("dev", "test"):
        (folder / f"{split}.jsonl").write_bytes((arguments.data / f"{split}.jsonl").read_bytes())
    return folder


def best_rates(cases: list[str], arguments: argparse.Namespace) -> Iterator[tuple[str, float]]:
    """The share of each method's own rate that is best on dev with seed 0."""
    tried = {case: WIDE_SHARES if case in ("prompt", "prefix") else SHARES for case in cases}
    run([Cell(case, share, 0) for case in cases for share in tried[case]], arguments)
    for case in cases:
        found = {share: float(kept(Cell(case, share, 0), arguments)["dev"]) for share in tried[case]}
        yield case, max(found, key=lambda share: found[share])
        print(f"{case:8} dev by rate: " + ", ".join(f"{share:.2f}x {dev:.4f}" for share, dev in found.items()))


def show(rates: dict[str, float], arguments: argparse.Namespace) -> None:
    """Scores of every method, and the differences of PAIRS."""
    from trimtab.metrics import paired_difference

    cells = {case: [Cell(case, share, seed) for seed in range(arguments.seeds)] for case, share in rates.items()}
    run([cell for several in cells.values() for cell in several], arguments)
    right = {}
    print(f"{'method':8} {'rate':>8} {'trained':>10} {'test':>7}  test of each seed")
    for case, several in cells.items():
        found = [kept(cell, arguments) for cell in several]
        right[case] = np.mean([one["right"] for one in found], axis=0)
        seeds = " ".join(f"{one['right'].mean():.4f}" for one in found)
        trained = int(found[0]["trained"])
        print(f"{case:8} {float(found[0]['rate']):8.1e} {trained:10,} {right[case].mean():7.4f}  {seeds}")
    for one, other in PAIRS:
        if one in right and other in right:
            difference = paired_difference(right[one], right[other])
            points = " ".join(f"{100 * x:+.2f}" for x in (difference.mean, difference.low, difference.high))
            print(f"{one} - {other}: points, low, high {points}")


def run(cells: list[Cell], arguments: argparse.Namespace) -> None:
    """Those that are not there yet."""
    missing = [cell for cell in dict.fromkeys(cells) if not (arguments.out / cell.file).is_file()]
    with ThreadPoolExecutor(arguments.workers) as pool:
        list(pool.map(lambda cell: in_process(cell, arguments), missing))


def in_process(cell: Cell, arguments: argparse.Namespace) -> None:
    words = [sys.executable, *sys.argv, "--data", str(arguments.data), "--cell", json.dumps(asdict(cell))]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    found = kept(cell, arguments)
    print(f"  {cell.file:24} dev {float(found['dev']):.4f} test {found['right'].mean():.4f}", flush=True)


def kept(cell: Cell, arguments: argparse.Namespace) -> dict[str, np.ndarray]:
    with np.load(arguments.out / cell.file) as found:
        return dict(found)


def train(cell: Cell, arguments: argparse.Namespace) -> None:
    from dataclasses import replace

    from trimtab import planning
    from trimtab.data import count_tokens, describe, open_corpus
    from trimtab.hardware import this_machine
    from trimtab.methods import Choices, method_named
    from trimtab.models import ModelSource, read_spec
    from trimtab.training import Finished, Job, Training

    case = CASES[cell.case]
    method = method_named(str(case["method"]))
    source = ModelSource(folder=arguments.model, name=str(arguments.model))
    spec, corpus = read_spec(source), open_corpus(str(arguments.data))
    facts = describe(corpus, count_tokens(corpus.train, source.folder / "tokenizer.json"))
    settings = planning.Settings(
        epochs=arguments.epochs, batch=arguments.batch, learning_rate=method.learning_rate * cell.share,
        precision=arguments.precision, recompute=False, stages=case.get("stages"), seed=cell.seed,
    )  # fmt: skip
    made = planning.plan(
        spec, facts, this_machine(), method=method.name, choices=Choices(top_layers=case.get("top_layers")),
        settings=settings,
    )  # fmt: skip
    strategy = replace(made.chosen.estimate.strategy, micro_batch=arguments.batch)
    with tempfile.TemporaryDirectory() as out:
        training = Training(
            Job(source=source, spec=spec, data=facts, strategy=strategy, folder=Path(out), threads=1), corpus
        )
        (ended,) = (event.run for event in training if isinstance(event, Finished))
        session = training.session
        assert session is not None and session.test is not None, "the data have a test split"
        outputs = session.objective.outputs(session.model, session.test, session.collator)
    np.savez(
        arguments.out / cell.file,
        right=outputs.argmax(1) == session.test.labels,
        dev=ended.dev.main.value,
        rate=settings.learning_rate,
        trained=strategy.trainable_parameters(spec, facts.outputs),
    )


if __name__ == "__main__":
    main()
