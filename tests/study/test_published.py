"""Published runs in the ledger: as they were measured, predicted anew, and how far off. The guard of every change
to the formulas of other stacks: benchmarks/published_runs.py says the same with fitted constants judged out of
sample."""

import json
from collections import defaultdict
from statistics import median

from trimtab.store import LedgerEntry, scoreboard
from trimtab.study.published import published_entries, published_rows

MEMORY_MEDIAN, MEMORY_NINTH, ABOVE_HIGH = 0.08, 0.25, 0.05
TIME_MEDIAN, TIME_NINTH = 0.25, 0.60


def errors(entries: list[LedgerEntry]) -> list[float]:
    return sorted(abs(entry.error_share) for entry in entries)


def ninth(values: list[float]) -> float:
    return values[int(0.9 * (len(values) - 1))]


def exact(quantity: str) -> list[LedgerEntry]:
    return [e for e in published_entries() if e.quantity == quantity and not e.source.endswith("(limit)")]


def test_every_row_is_an_entry_with_its_address() -> None:
    rows = published_rows()
    memory = [entry for entry in published_entries() if entry.quantity == "memory"]
    assert len(memory) == sum(bool(row["peak_bytes"]) for row in rows) >= 150
    assert all(row["source_url"].startswith("https://") for row in rows)
    by_id = {row["id"]: row for row in rows}
    for entry in memory:
        assert entry.measured == float(by_id[entry.run_id]["peak_bytes"])
        assert json.loads(entry.strategy)["model_key"] == entry.model
    assert len({entry.id for entry in published_entries()}) == len(published_entries())


def test_memory_of_exact_lengths_is_met_by_source() -> None:
    by_source: dict[str, list[LedgerEntry]] = defaultdict(list)
    for entry in exact("memory"):
        by_source[entry.source].append(entry)
    assert set(by_source) == {"qwen", "litgpt", "tune"}
    for source, entries in by_source.items():
        assert median(errors(entries)) <= MEMORY_MEDIAN, source
        assert ninth(errors(entries)) <= MEMORY_NINTH, source


def test_few_runs_take_more_than_the_interval_says() -> None:
    entries = exact("memory")
    assert sum(entry.measured > entry.high for entry in entries) <= ABOVE_HIGH * len(entries)
    assert median(entry.high / entry.predicted for entry in entries) <= 1.3


def test_step_times_are_met() -> None:
    entries = [entry for entry in published_entries() if entry.quantity == "time"]
    assert len(entries) >= 100
    assert median(errors(entries)) <= TIME_MEDIAN and ninth(errors(entries)) <= TIME_NINTH


def test_the_scoreboard_has_a_row_a_source_and_method() -> None:
    rows = scoreboard(published_entries())
    assert {"peft (limit)", "qwen", "litgpt"} <= {row.source for row in rows}
    assert sum(row.n for row in rows) == len(published_entries())
