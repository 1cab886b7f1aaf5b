"""Write what is finished into the store: a training with its scores and two lines of the ledger, a smaller model,
and the training inside of making it."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.artifacts import Change, glance
from trimtab.hardware import Machine
from trimtab.methods import strategy_to_json
from trimtab.models import ModelSpec
from trimtab.planning import Plan
from trimtab.store import LedgerEntry, RunRecord, VariantRecord, open_store
from trimtab.study.jsonable import jsonable
from trimtab.study.margins import keep_margins
from trimtab.study.report import Comparison, Report, comparisons, report_json
from trimtab.study.request import Planned

if TYPE_CHECKING:
    from trimtab.training.run import Run

_IN_LEDGER = ("memory", "time")


def record(report: Report, folder: Path) -> None:
    """One run record and its ledger entries, in one transaction. Raises TrimtabError TT-S…."""
    strategy = json.dumps(strategy_to_json(report.plan.chosen.estimate.strategy))
    facts = report_json(report)
    run = report.run
    scores = (run.dev,) if run.test is None else (run.dev, run.test)
    entries = _entries(report.plan, report.model, report.machine, run)
    store = open_store()
    store.record_run(
        RunRecord(
            model=report.model.name,
            data=report.data.name,
            machine=report.machine.name,
            model_fingerprint=report.model.fingerprint,
            data_fingerprint=report.data.fingerprint,
            goal=report.plan.goal,
            method=report.plan.chosen.estimate.strategy.method,
            strategy=strategy,
            plan=json.dumps(facts["plan"]),
            run=json.dumps(facts["run"]),
            seed=run.seed,
            seconds=run.seconds,
            peak_memory_bytes=run.peak_memory_bytes,
            folder=str(folder.resolve()),
            scores=scores,
        ),
        entries,
    )
    keep_margins(report.machine.device.kind, store.entries(device_kind=report.machine.device.kind))


@dataclass(frozen=True, kw_only=True, slots=True)
class Lesson:
    """A training inside a step: what was predicted, and what was measured."""

    planned: Planned
    run: "Run"

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        return comparisons(self.planned.plan, self.run)


def record_lesson(lesson: Lesson, step: str) -> None:
    """Two lines of the ledger, whose method is the step. Raises TrimtabError TT-S…."""
    planned, kind = lesson.planned, lesson.planned.machine.device.kind
    store = open_store()
    for entry in _entries(planned.plan, planned.model, planned.machine, lesson.run):
        store.record(replace(entry, method=step))
    keep_margins(kind, store.entries(device_kind=kind))


def variant_of(folder: Path, changes: tuple[Change, ...], machine: Machine) -> VariantRecord:
    """The smaller model in `folder`, made by `changes`, as the store keeps it. Its metric is that of test where
    there is one: dev has decided what is kept."""
    first, last = changes[0].compared[-1], changes[-1].compared[-1]
    alone = len(changes) == 1
    before = first.before if first.metric == last.metric else None  # another one where the tokens became others
    return VariantRecord(
        parent=changes[0].parent,
        folder=str(folder.resolve()),
        steps=tuple(" ".join((change.step, *change.settings)) for change in changes),
        model=glance(folder).base.name,
        machine=machine.name,
        seconds=sum(change.seconds for change in changes),
        weight_bytes_before=changes[0].weight_bytes_before,
        weight_bytes=changes[-1].weight_bytes_after,
        split=last.split,
        rows=last.rows,
        metric=last.metric,
        before=before,
        after=last.after,
        low=last.low if alone else None,
        high=last.high if alone else None,
        changes=json.dumps(jsonable(changes), ensure_ascii=False),
    )


def record_variant(record: VariantRecord) -> None:
    """Raises TrimtabError TT-S…."""
    open_store().record_variant(record)


def _entries(plan: Plan, model: ModelSpec, machine: Machine, run: "Run") -> tuple[LedgerEntry, ...]:
    found = (row for row in comparisons(plan, run) if row.quantity in _IN_LEDGER)
    return tuple(_entry(plan, model, machine, run, row) for row in found)


def _entry(plan: Plan, model: ModelSpec, machine: Machine, run: "Run", row: Comparison) -> LedgerEntry:
    estimate = plan.chosen.estimate
    return LedgerEntry(
        quantity="memory" if row.quantity == "memory" else "time",
        method=estimate.strategy.method,
        strategy=json.dumps(strategy_to_json(estimate.strategy)),
        model=model.name,
        family=model.family,
        device=machine.device.name,
        device_kind=machine.device.kind,
        precision=estimate.strategy.precision,
        batch=estimate.strategy.batch,
        micro_batch=run.micro_batch,
        max_length=estimate.strategy.max_length,
        trainable_parameters=estimate.trainable_parameters,
        total_parameters=estimate.total_parameters,
        predicted=row.predicted.value,
        low=row.predicted.low,
        high=row.predicted.high,
        evidence=row.predicted.evidence,
        measured=row.measured,
        versions=run.versions,
    )
