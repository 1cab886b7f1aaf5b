"""Finished bake-offs to show: numbers as a real one has them, in every state, and hostile names where asked."""

import math
import random
from dataclasses import fields, replace

from report_cases import LABELS, data_spec, estimate

from trimtab.errors import Message, message
from trimtab.hardware.machine import Device, Machine
from trimtab.methods import Biases, Choices, Head, Lora, Part, Prompt, Weights
from trimtab.planning.halving import Entrant, Trial, TrialCosts
from trimtab.study.bakeoff import Bakeoff, Baseline, Compared, Measure, Standing, Status, TrialResult
from trimtab.units import GIB, MIB

MACHINE = Machine(
    name="laptop-8g", cores=4, host_memory_bytes=8 * GIB, is_here=True,
    device=Device(
        name="Core i5-8265U", kind="cpu", memory_bytes=8 * GIB, usable_bytes=int(5.2 * GIB),
        peaks=(("fp32", 3e11),),
    ),
)  # fmt: skip
_HEAD = (Head(),)
_LORA = (Lora(rank=8, alpha=16, targets=("q", "v")), Head())
_TOP = (Weights(top_layers=2), Head())
_RATE_ROWS, _HALF_ROWS, _ROWS, _BATCH = 640, 1600, 4000, 32
EVIL = "<script>alert(1)</script>"
FORMULA = "=cmd|' /C calc'!A0"


def measure(value: float, rows: int = 500, *, lower: bool = False, name: str = "accuracy") -> Measure:
    half = 1.96 * math.sqrt(max(1e-9, abs(value) * abs(1 - value)) / rows) if not lower else 0.06 * value
    return Measure(
        name=name, value=value, low=value - half, high=value + 0.9 * half, rows=rows, lower_is_better=lower
    )


def entrant(name: str, method: str, rate: float, *, model: str = "all-MiniLM-L6-v2") -> Entrant:
    told = {
        "name": name, "model": model, "method": method, "choices": Choices(), "base_precision": "same",
        "learning_rate": rate, "epochs": 3, "baseline": method == "head", "max_length": 96,
        "costs": TrialCosts(**{field.name: 0.01 for field in fields(TrialCosts)}),
    }  # fmt: skip
    return Entrant(**{field.name: told[field.name] for field in fields(Entrant)})


def curve(steps: int, end: float, chance: random.Random, *, start: float = 1.6) -> tuple[tuple[int, float], ...]:
    return tuple(
        (step, end + (start - end) * math.exp(-3.2 * step / 375) + chance.uniform(-0.05, 0.05))
        for step in range(5, steps + 1, 5)
    )


def result(
    who: Entrant, rung: int, rate: float, value: float | None, *, seconds: float, seed: int = 0,
    memory: float = 1.1, predicted_memory: float = 1.0, failure: Message | None = None, test: float | None = None,
    lower: bool = False, name: str = "accuracy",
) -> TrialResult:  # fmt: skip
    kept = rung >= 3
    rows = (_RATE_ROWS, _RATE_ROWS, _HALF_ROWS, _ROWS, _ROWS, _ROWS)[rung]
    epochs = 3 if kept else 1
    trial = Trial(
        rung=rung, entrant=who.name, learning_rate=rate, rows=rows, dev_rows=500, epochs=epochs, seed=seed,
        kept=kept,
    )  # fmt: skip
    chance = random.Random(f"{who.name} {rung} {rate:.3g} {seed}")
    steps = epochs * math.ceil(rows / _BATCH)
    folder = f"runs/compared/{who.method}-{seed}" if kept else ""
    options = f"--method {who.method} --lr {rate:.3g} --seed {seed} --out {folder or 'OUT'}"
    return TrialResult(
        trial=trial,
        seconds=seconds + 3.1,
        dev=None if value is None else measure(value, lower=lower, name=name),
        dev_loss=math.inf if value is None else abs(1 - value) * 3,
        test=None if test is None or value is None else measure(test, 1000, lower=lower, name=name),
        train_seconds=0.0 if value is None else seconds,
        predicted_seconds=0.0 if value is None else seconds * chance.uniform(0.85, 1.2),
        peak_memory_bytes=int(memory * GIB),
        predicted_memory_bytes=int(predicted_memory * GIB),
        samples_per_second=rows * epochs / seconds,
        steps=steps,
        curve=() if value is None else curve(steps, 1.1 * (1 - min(value, 0.97)), chance),
        command=f"trimtab train {who.model} --data reviews.csv {options}",
        folder=folder,
        failure=failure,
    )


def _finalist(
    who: Entrant, parts: tuple[Part, ...], status: Status, reason: Message, dev: float, test: float,
    memory: float, predicted_memory: float, seconds: float, predicted_seconds: float, *,
    interval: tuple[float, float], kept_mib: float, switchable: bool, mergeable: bool,
    again: tuple[float, ...] = (), speed: float = 0.0031,
) -> Standing:  # fmt: skip
    rate, shares = who.learning_rate, dict(memory=memory, predicted_memory=predicted_memory)
    tried = [
        result(who, 0, rate / 3, dev - 0.11, seconds=seconds / 12),
        result(who, 0, rate, dev - 0.05, seconds=seconds / 12),
        result(who, 0, 3 * rate, dev - 0.045, seconds=seconds / 12),
        result(who, 1, 9 * rate, dev - 0.2, seconds=seconds / 12),
    ]
    best = replace(
        result(who, 3, 3 * rate, dev, seconds=seconds, test=test, **shares), predicted_seconds=predicted_seconds
    )
    seeds = tuple(
        result(
            who, 4 + at, 3 * rate, dev + change, seconds=seconds * 1.02, seed=1 + at, test=test + change, **shares
        )
        for at, change in enumerate(again)
    )
    return Standing(
        entrant=who, status=status, reason=reason,
        estimate=estimate(who.method, parts, predicted_memory, predicted_seconds, -0.3),
        trials=(*tried, result(who, 2, 3 * rate, dev - 0.02, seconds=seconds / 5), best), best=best, again=seeds,
        artifact_bytes=int(kept_mib * MIB), switchable=switchable, mergeable=mergeable,
        compared=Compared(low=interval[0], high=interval[1], text_seconds=speed, texts_per_second=1 / speed * 3),
    )  # fmt: skip


def _out(who: Entrant, parts: tuple[Part, ...], best: float, rung: int, seconds: float) -> Standing:
    rates = [
        result(who, 0, who.learning_rate * factor, best - drop, seconds=seconds)
        for factor, drop in ((1 / 3, 0.08), (1.0, 0.02), (3.0, 0.0))
    ]
    last = [result(who, 2, 3 * who.learning_rate, best + 0.01, seconds=3 * seconds)] if rung == 2 else []
    trials = (*rates, *last)
    return Standing(
        entrant=who, status="out", reason=message("TT-P221", points=-9.7),
        estimate=estimate(who.method, parts, 0.9, 40 * seconds, -4.0), trials=trials, best=trials[-1],
    )  # fmt: skip


def _failed(who: Entrant) -> Standing:
    why = message("TT-R025")
    trials = tuple(
        result(who, 0, who.learning_rate * factor, None, seconds=4.0, failure=why) for factor in (1 / 3, 1.0, 3.0)
    )
    return Standing(
        entrant=who, status="failed", reason=why, trials=trials,
        estimate=estimate(who.method, _LORA, 1.3, 200, -1.0),
    )  # fmt: skip


def rich() -> Bakeoff:
    """Ten strategies in all states, three seeds of the best."""
    slower = message(
        "TT-P201", lost=message("TT-P223", ratio=1.9, mine=304.0, theirs=160.0),
        gained=message("TT-P221", points=0.3),
    )  # fmt: skip
    chosen = _finalist(
        entrant("lora", "lora", 5e-4), _LORA, "chosen", message("TT-P304", rivals=3, share=0.1),
        0.928, 0.916, 1.21, 1.15, 171.4, 160.0, interval=(0.0, 0.0), kept_mib=0.9, switchable=True,
        mergeable=True, again=(-0.004, 0.002),
    )  # fmt: skip
    standings = (
        chosen,
        _finalist(
            entrant("full", "full", 3e-5), (Weights(), Head()), "tied", slower, 0.932, 0.919, 1.92, 1.9, 304.2,
            331.0, interval=(-0.009, 0.015), kept_mib=86.7, switchable=False, mergeable=False,
        ),
        _finalist(
            entrant("freeze (top 2)", "freeze", 6e-5), _TOP, "finalist", slower, 0.909, 0.897, 0.97, 1.02, 121.0,
            104.0, interval=(-0.031, -0.007), kept_mib=86.7, switchable=False, mergeable=False,
        ),
        _finalist(
            entrant("head", "head", 3e-3), _HEAD, "finalist", slower, 0.842, 0.834, 0.61, 0.6, 22.4, 25.0,
            interval=(-0.101, -0.062), kept_mib=0.6, switchable=True, mergeable=False, speed=0.0029,
        ),
        _out(entrant("adapter", "adapter", 4e-4), _LORA, 0.874, 2, 9.0),
        _out(entrant("lora (top 3)", "lora", 5e-4), _LORA, 0.868, 2, 8.0),
        _out(entrant("bitfit", "bitfit", 1e-3), (Biases(), Head()), 0.823, 0, 7.0),
        _out(entrant("prompt", "prompt", 1e-2), (Prompt(), Head()), 0.664, 0, 11.0),
        _failed(entrant("ia3", "ia3", 3e-3)),
        Standing(
            entrant=entrant("qlora", "qlora", 5e-4), status="no time",
            reason=message("TT-P223", ratio=9.0, mine=1440.0, theirs=160.0),
            estimate=estimate("qlora", _LORA, 0.8, 1440, -0.5),
        ),
    )  # fmt: skip
    return Bakeoff(
        models=("all-MiniLM-L6-v2",), data=data_spec("reviews.csv", LABELS), machine=MACHINE, metric="accuracy",
        split="test", budget_seconds=1800.0, spent_seconds=1741.2,
        verdict=message("TT-P304", rivals=3, share=0.1), standings=standings,
        baselines=(
            Baseline(name="majority", seconds=0.01, dev=measure(0.352), test=measure(0.348, 1000)),
            Baseline(name="bag of words", seconds=1.9, dev=measure(0.811), test=measure(0.803, 1000)),
        ),
        command="trimtab compare all-MiniLM-L6-v2 --data data/reviews.csv --time 30m --out runs/compared",
        created_at="2026-11-28T11:48:07+00:00",
        versions=(("torch", "2.13.0"), ("transformers", "5.10.1"), ("peft", "0.21.0"), ("trimtab", "0.1.0")),
    )  # fmt: skip


def single() -> Bakeoff:
    """One strategy, and neither baselines nor notices."""
    whole = rich()
    return replace(whole, standings=whole.standings[:1], baselines=(), spent_seconds=320.0)


def without_test() -> Bakeoff:
    """Differences are those of dev."""
    whole = rich()
    standings = tuple(_untested(one) for one in whole.standings)
    return replace(
        whole, split="dev", standings=standings, notices=(message("TT-D061", count=37),),
        baselines=(replace(whole.baselines[0], test=None),),
    )  # fmt: skip


def _untested(one: Standing) -> Standing:
    again = tuple(replace(result, test=None) for result in one.again)
    return replace(one, best=None if one.best is None else replace(one.best, test=None), again=again)


def of_errors() -> Bakeoff:
    """A regression: of its metric less is better, and rows do not tell finalists apart one by one."""
    whole = rich()

    def turned(measured: Measure | None) -> Measure | None:
        return None if measured is None else measure(1.2 - measured.value, measured.rows, lower=True, name="rmse")

    def of(one: TrialResult) -> TrialResult:
        return replace(one, dev=turned(one.dev), test=turned(one.test))

    standings = tuple(
        replace(
            one,
            trials=tuple(map(of, one.trials)),
            best=None if one.best is None else of(one.best),
            again=tuple(map(of, one.again)),
            compared=None if one.compared is None else replace(one.compared, low=-math.inf, high=math.inf),
        )
        for one in whole.standings
    )
    data = replace(whole.data, task="regress", labels=(), label_counts=(), problems=())
    missing = Baseline(name="bag of words", missing=message("TT-D061", count=1))
    return replace(whole, metric="rmse", standings=standings, data=data, baselines=(missing,))


def hostile() -> Bakeoff:
    """Names that would run in a page or in a spreadsheet."""
    whole = rich()
    names = (EVIL, FORMULA, "+1", "-1", "@SUM(A1)", "\tx", "\rx", "</td></style>" + EVIL, 'a,b\n"c"', "qlora")

    def renamed(one: Standing, name: str) -> Standing:
        def of(result: TrialResult) -> TrialResult:
            trial = replace(result.trial, entrant=name)
            return replace(result, trial=trial, command=f"trimtab train {EVIL}", folder=result.folder and EVIL)

        return replace(
            one,
            entrant=replace(one.entrant, name=name, model=EVIL),
            trials=tuple(map(of, one.trials)),
            best=None if one.best is None else of(one.best),
            again=tuple(map(of, one.again)),
        )

    standings = tuple(renamed(one, name) for one, name in zip(whole.standings, names, strict=True))
    data = data_spec(EVIL, tuple(f"{EVIL}{at}" for at in range(5)))
    return replace(
        whole, models=(EVIL,), data=data, standings=standings, command=f"trimtab compare {EVIL}",
        baselines=(Baseline(name=EVIL, dev=measure(0.8)),), versions=((EVIL, EVIL),),
    )  # fmt: skip


CASES = {"rich": rich, "single": single, "without_test": without_test, "of_errors": of_errors, "hostile": hostile}
