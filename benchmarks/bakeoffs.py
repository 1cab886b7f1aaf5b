"""A bake-off under a budget beside the exhaustive comparison that it stands for: is its choice as good, and at
what share of the time?

    python benchmarks/bakeoffs.py everything --model DIR --data DIR --out DIR [--methods A,B,..]
              [--only "freeze (top 3),lora,.."]
    python benchmarks/bakeoffs.py against    --out DIR --bakeoff DIR

everything: each strategy that a bake-off would try, at three learning rates a factor of three apart, trained on
all rows; then each at its best rate (on dev) with its artifact. What is done is kept in DIR/everything.jsonl, and
the same command goes on. against: the strategy that `trimtab compare` chose (its folder) beside the best of
everything on dev: the paired difference on test with its interval, and the seconds of both. Run nothing else
beside it.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from machine_facts import print_facts

from trimtab.hardware import calibration_key
from trimtab.planning import Field, Limits, Trial
from trimtab.planning.halving import RATE_STEP
from trimtab.study.bakeoff import CompareRequest, TrialResult
from trimtab.study.bakeoff_records import from_text, to_text
from trimtab.study.comparing import RUN_TRIAL, field_of, open_bakeoff, training_of
from trimtab.study.entrants import entrants
from trimtab.study.orders import Judged, JudgingOrder, TrialOrder
from trimtab.study.request import Reading
from trimtab.study.verdict import JUDGE
from trimtab.study.workshop import Answered, Crashed, run_apart
from trimtab.training.calibrate import calibrated

_NO_LIMIT_SECONDS = 1e7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=("everything", "against"))
    parser.add_argument("--model", default="")
    parser.add_argument("--data", default="")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", default="")
    parser.add_argument("--only", default="", help="of the strategies those, by name")
    parser.add_argument("--bakeoff", type=Path)
    asked = parser.parse_args()
    print_facts()
    everything(asked) if asked.mode == "everything" else against(asked)


def everything(asked: argparse.Namespace) -> None:
    request = CompareRequest(
        models=(asked.model,),
        data=asked.data,
        out=str(asked.out),
        methods=tuple(filter(None, asked.methods.split(","))),
        limits=Limits(seconds=_NO_LIMIT_SECONDS),
    )
    prepared = open_bakeoff(request)
    machine = prepared.machine
    machine = replace(machine, calibration=calibrated(calibration_key(machine), machine.cores))
    field = field_of(prepared, entrants(request, prepared.models, machine), 0.0)
    only = tuple(filter(None, asked.only.split(",")))
    field = replace(field, entrants=tuple(one for one in field.entrants if not only or one.name in only))
    done = list(_done(asked.out))
    for trial in _every(field):
        done += _run(request, field, trial, done, asked.out)
    for entrant in field.entrants:
        mine = [one for one in done if one.trial.entrant == entrant.name and one.dev is not None]
        if mine:
            best = max(mine, key=lambda one: one.dev.merit).trial
            done += _run(request, field, replace(best, kept=True, rung=3), done, asked.out)
    _show(done)


def _every(field: Field) -> Iterator[Trial]:
    for entrant in field.entrants:
        for factor in (1.0, 1 / RATE_STEP, RATE_STEP):
            yield Trial(
                rung=0,
                entrant=entrant.name,
                learning_rate=entrant.learning_rate * factor,
                rows=field.train_rows,
                dev_rows=field.dev_rows,
                epochs=entrant.epochs,
            )


def _run(
    request: CompareRequest, field: Field, trial: Trial, done: Sequence[TrialResult], out: Path
) -> Iterator[TrialResult]:
    if any(one.trial == trial for one in done):
        return
    began = time.time()
    order = TrialOrder(trial=trial, request=training_of(request, field, trial, None))
    for said in run_apart(RUN_TRIAL, order, fresh=trial.kept):
        if isinstance(said, Crashed):
            print(f"  {trial.key}: {said}", flush=True)
        elif isinstance(said, Answered):
            result = replace(said.answer, seconds=time.time() - began)
            with (out / "everything.jsonl").open("a", encoding="utf-8") as file:
                file.write(to_text(result) + "\n")
            _line(result)
            yield result


def _done(out: Path) -> Iterator[TrialResult]:
    file = out / "everything.jsonl"
    if file.exists():
        yield from map(from_text, file.read_text(encoding="utf-8").splitlines())


def _line(one: TrialResult) -> None:
    dev = "-" if one.dev is None else f"{one.dev.value:.4f}"
    test = "-" if one.test is None else f"{one.test.value:.4f}"
    rate = f"{one.trial.learning_rate:.1e}"
    print(f"  {one.trial.entrant:16} {rate}  dev {dev}  test {test}  {one.seconds:6.1f} s", flush=True)


def _show(done: Sequence[TrialResult]) -> None:
    print("\nAt its best rate, the best on dev first:")
    kept = [one for one in done if one.trial.kept and one.dev is not None]
    for one in sorted(kept, key=lambda one: -one.dev.merit):
        _line(one)
    print(f"all trainings: {sum(one.seconds for one in done if not one.trial.kept):.0f} s")


def against(asked: argparse.Namespace) -> None:
    done = tuple(_done(asked.out))
    best = max((one for one in done if one.trial.kept), key=lambda one: one.dev.merit)
    told = json.loads((asked.bakeoff / "comparison.json").read_text(encoding="utf-8"))
    chosen = told["standings"][0]
    order = JudgingOrder(
        folders=(best.folder, chosen["best"]["folder"]), data=told["command"].split("--data ")[1].split()[0],
        reading=Reading(),
    )  # fmt: skip
    judged: tuple[Judged, ...] = next(
        said.answer for said in run_apart(JUDGE, order) if isinstance(said, Answered)
    )
    whole = sum(one.seconds for one in done if not one.trial.kept)
    spent, budget = told["spent_seconds"], told["budget_seconds"]
    gained, name = judged[1].compared, chosen["entrant"]["name"]
    print(f"chosen: {name}, dev {chosen['best']['dev']['value']:.4f}, test {chosen['best']['test']['value']:.4f}")
    print(f"best of everything: {best.trial.entrant}, dev {best.dev.value:.4f}, test {best.test.value:.4f}")
    print(f"chosen less best, on test: 95 % interval {gained.low:+.4f} to {gained.high:+.4f}")
    print(f"seconds: {spent:.0f} of {budget:.0f} asked for; everything {whole:.0f}; {spent / whole:.0%} of it")


if __name__ == "__main__":
    main()
