"""Write a finished training into the store: the run, its scores, and two lines of the ledger."""

import json
from pathlib import Path

from trimtab.methods import strategy_to_json
from trimtab.store import LedgerEntry, RunRecord, open_store
from trimtab.study.margins import keep_margins
from trimtab.study.report import Comparison, Report, report_json

_IN_LEDGER = ("memory", "time")


def record(report: Report, folder: Path) -> None:
    """One run record and its ledger entries, in one transaction. Raises TrimtabError TT-S…."""
    strategy = json.dumps(strategy_to_json(report.plan.chosen.estimate.strategy))
    facts = report_json(report)
    run = report.run
    scores = (run.dev,) if run.test is None else (run.dev, run.test)
    entries = tuple(_entry(report, row, strategy) for row in report.comparisons if row.quantity in _IN_LEDGER)
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


def _entry(report: Report, row: Comparison, strategy: str) -> LedgerEntry:
    estimate = report.plan.chosen.estimate
    return LedgerEntry(
        quantity="memory" if row.quantity == "memory" else "time",
        method=estimate.strategy.method,
        strategy=strategy,
        model=report.model.name,
        family=report.model.family,
        device=report.machine.device.name,
        device_kind=report.machine.device.kind,
        precision=estimate.strategy.precision,
        batch=estimate.strategy.batch,
        micro_batch=report.run.micro_batch,
        max_length=estimate.strategy.max_length,
        trainable_parameters=estimate.trainable_parameters,
        total_parameters=estimate.total_parameters,
        predicted=row.predicted.value,
        low=row.predicted.low,
        high=row.predicted.high,
        evidence=row.predicted.evidence,
        measured=row.measured,
        versions=report.run.versions,
    )
