"""Report: everything known of one finished training, as report.json (facts for programs) and as one HTML
file.

Leaves out: writing the files, and the page's layout (report_page.py).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from trimtab.data.spec import DataSpec
from trimtab.errors import Message, message
from trimtab.estimation.estimate import Estimate
from trimtab.hardware.machine import Machine
from trimtab.metrics import Confusion, Sample, WorstExample
from trimtab.models.spec import ModelSpec
from trimtab.planning.plan import Plan
from trimtab.study.jsonable import jsonable
from trimtab.units import Evidence, Figure, Foretold

if TYPE_CHECKING:
    from trimtab.training.run import Run  # its room imports torch, which a report does not need

FORMAT = 1

_EVIDENCE = {
    Evidence.RULE: "TT-R261",
    Evidence.FORMULA: "TT-R262",
    Evidence.DRY_RUN: "TT-R263",
    Evidence.PROBE: "TT-R264",
    Evidence.MEASURED: "TT-R265",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison(Foretold):
    """One predicted figure beside its measurement, in bytes (memory, prefix_states) or seconds (time, step,
    prefix)."""

    quantity: Literal["memory", "time", "step", "prefix", "prefix_states"]

    @property
    def is_bytes(self) -> bool:
        return self.quantity in ("memory", "prefix_states")

    @property
    def evidence_word(self) -> Message:
        """Where the prediction comes from, in a word."""
        return message(_EVIDENCE[self.predicted.evidence])


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a report is made of. `command` is the exact command line that makes this run again; `created_at`
    is UTC, ISO 8601. `worst`, `confusion` and `samples` are of the split that `score` gives."""

    plan: Plan
    run: "Run"
    data: DataSpec
    model: ModelSpec
    machine: Machine
    command: str
    created_at: str = ""
    worst: tuple[WorstExample, ...] = ()
    confusion: Confusion | None = None
    samples: tuple[Sample, ...] = ()

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        return comparisons(self.plan, self.run)


def comparisons(plan: Plan, run: "Run") -> tuple[Comparison, ...]:
    """Memory, total time and one step: predicted beside measured. The ledger takes its entries from here.

    The predicted time is for the steps that were run: a training that stopped early after half of its steps
    is compared with half of the predicted time. What a teacher answers before the training begins is measured in
    neither: its seconds are taken off, and where it is the peak, memory is left out. Of a frozen part that was run
    once there are the seconds of that, unless an earlier run had left what it gives, and the bytes of its states.
    """
    estimate = plan.chosen.estimate
    share = run.steps / estimate.time.steps if estimate.time.steps else 1.0
    trained = _without(estimate.time.total_seconds, estimate.time.teacher_seconds)
    built = estimate.time.prefix_seconds
    if built is not None and not run.prefix_built:
        trained = _without(trained, built)
    time = Comparison(quantity="time", predicted=_scaled(trained, share), measured=run.seconds)
    memory = Comparison(quantity="memory", predicted=estimate.memory.peak_bytes, measured=run.peak_memory_bytes)
    return (
        *(() if estimate.memory.phase == "ask" else (memory,)),
        time,
        Comparison(quantity="step", predicted=estimate.time.step_seconds, measured=run.step_seconds),
        *_of_prefix(estimate, run),
    )


def _of_prefix(estimate: Estimate, run: "Run") -> tuple[Comparison, ...]:
    built = estimate.time.prefix_seconds
    if built is None or not run.prefix_bytes:
        return ()
    states = Figure.within(estimate.prefix_bytes, 0.02, Evidence.FORMULA)
    size = Comparison(quantity="prefix_states", predicted=states, measured=run.prefix_bytes)
    if not run.prefix_built:
        return (size,)
    return (Comparison(quantity="prefix", predicted=built, measured=run.prefix_seconds), size)


def report_json(report: Report, language: str = "en") -> dict[str, Any]:
    """The content of report.json. Names carry units; every number is finite or null."""
    run, estimate = report.run, report.plan.chosen.estimate
    facts = jsonable(run, language)
    scores = {"dev": facts.pop("dev"), "test": facts.pop("test")}
    versions = dict(facts.pop("versions"))
    speed = {"samples_per_second": run.samples_per_second, "tokens_per_second": run.tokens_per_second}
    return {
        "format": FORMAT,
        "created_at": report.created_at,
        "command": report.command,
        "seed": run.seed,
        "plan": _plan_facts(report.plan, language),
        "run": facts | speed,
        "comparison": {entry.quantity: _comparison_facts(entry) for entry in report.comparisons},
        "scores": scores,
        "data": jsonable(report.data, language),
        "model": jsonable(report.model, language) | {"parameters": report.model.parameters},
        "trainable_parameters": estimate.trainable_parameters,
        "total_parameters": estimate.total_parameters,
        "machine": jsonable(report.machine, language),
        "versions": versions,
        "problems": jsonable(report.data.problems, language),
        "worst": jsonable(report.worst, language),
        "confusion": jsonable(report.confusion, language),
        "samples": jsonable(report.samples, language),
    }


def report_html(report: Report, language: Literal["en", "zh"] = "en") -> str:
    """One self-contained HTML file: no network, no script; light or dark as the reader's system is; prints
    well."""
    from trimtab.study.report_page import page

    return page(report, language)


def _without(figure: Figure, part: Figure | None) -> Figure:
    """Both ends less by what the part is, and as far away in proportion."""
    return figure if part is None else _scaled(figure, 1 - part.value / figure.value)


def _scaled(figure: Figure, share: float) -> Figure:
    return Figure(figure.value * share, figure.low * share, figure.high * share, figure.evidence)


def _plan_facts(plan: Plan, language: str) -> dict[str, Any]:
    chosen = jsonable(plan.chosen.estimate, language)
    strategy = chosen.pop("strategy")
    rows = [_candidate_facts(jsonable(candidate, language)) for candidate in plan.candidates]
    return {
        "method": plan.chosen.estimate.strategy.method,
        "strategy": strategy,
        "estimate": chosen,
        "goal": plan.goal,
        "limits": jsonable(plan.limits, language),
        "reason": jsonable(plan.chosen.reason, language),
        "candidates": rows,
    }


def _candidate_facts(candidate: dict[str, Any]) -> dict[str, Any]:
    strategy = candidate["estimate"].pop("strategy")
    return {"method": strategy["method"], "strategy": strategy} | candidate


def _comparison_facts(entry: Comparison) -> dict[str, Any]:
    predicted = entry.predicted
    return {
        "unit": "bytes" if entry.is_bytes else "seconds",
        "predicted": predicted.value,
        "low": predicted.low,
        "high": predicted.high,
        "evidence": str(predicted.evidence),
        "measured": entry.measured,
        "error_share": entry.error_share,
        "inside": entry.inside,
    }
