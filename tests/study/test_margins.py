"""Margins: what the ledger's runs have shown becomes the least width of an interval."""

import random
from dataclasses import replace

import pytest

from trimtab import planning
from trimtab.estimation.margins import widened
from trimtab.hardware import machine_named
from trimtab.hardware.machine import Margin
from trimtab.models.catalogue import shape_named
from trimtab.planning import Limits
from trimtab.store import LedgerEntry, margin
from trimtab.study import Shape, gather
from trimtab.study.margins import keep_margins, with_margins
from trimtab.units import Evidence, Figure

ENTRY = LedgerEntry(
    quantity="memory", method="lora", strategy="{}", model="m", family="bert", device="cpu", device_kind="cpu",
    precision="fp32", batch=32, micro_batch=8, max_length=128, trainable_parameters=1, total_parameters=2,
    predicted=100.0, low=90.0, high=110.0, evidence=Evidence.FORMULA, measured=100.0,
)  # fmt: skip


def entries(*measured: float, **changed: object) -> tuple[LedgerEntry, ...]:
    return tuple(replace(ENTRY, measured=value, **changed) for value in measured)  # type: ignore[arg-type]


def test_a_margin_by_hand() -> None:
    """39 runs, ratios 0.81 to 1.19: the 38th smallest is 1.18 and the 38th largest 0.82."""
    found = margin(entries(*range(81, 120)))
    assert found == Margin(low=0.82, high=1.18, runs=39)


def test_few_runs_say_nothing() -> None:
    assert margin(entries(*[100.0] * 18)) is None
    assert margin(entries(*range(91, 110))) == Margin(low=0.91, high=1.09, runs=19)


def test_nineteen_of_twenty_new_runs_stay_below() -> None:
    """Coverage, by drawing: over many ledgers of 60 runs the next run is within `high` in at least 95 %."""
    draw, within = random.Random(0), 0
    for _ in range(2000):
        ratios = [draw.lognormvariate(0, 0.2) for _ in range(61)]
        found = margin(entries(*(100 * ratio for ratio in ratios[:60])))
        assert found is not None
        within += ratios[60] <= found.high
    assert 0.94 <= within / 2000 <= 0.985


def test_an_interval_is_never_narrower_than_the_record() -> None:
    figure = Figure(100.0, 90.0, 110.0, Evidence.FORMULA)
    assert widened(figure, None) == figure
    assert widened(figure, Margin(low=0.95, high=1.05, runs=50)) == figure
    wide = widened(figure, Margin(low=0.7, high=1.4, runs=50))
    assert (wide.low, wide.value, wide.high) == (70.0, 100.0, 140.0)


@pytest.fixture
def home(tmp_path, monkeypatch):  # type: ignore[no-untyped-def]
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path))
    return tmp_path


def test_a_plan_reads_what_a_run_has_kept(home) -> None:  # type: ignore[no-untyped-def]
    before = gather.machine_for("laptop-16g")
    assert before.memory_margin is None
    runs = entries(*[150.0] * 30), entries(*[80.0] * 30, quantity="time"), entries(*[900.0] * 30, source="paper")
    keep_margins("cpu", tuple(entry for group in runs for entry in group))
    after = gather.machine_for("laptop-16g")
    assert after.memory_margin == Margin(low=1.5, high=1.5, runs=30), "what others published is not of this store"
    assert after.time_margin == Margin(low=0.8, high=0.8, runs=30)
    assert gather.machine_for("t4").memory_margin is None, "another kind of device"


def test_what_ran_over_its_prediction_before_does_not_fit_now(home) -> None:  # type: ignore[no-untyped-def]
    spec, data = shape_named("bert-base-chinese"), gather.imagined(Shape())
    machine = machine_named("laptop-16g")
    leanest = planning.plan(spec, data, machine, method="full", goal="memory")
    keep_margins("cpu", entries(*[300.0] * 30))
    room = Limits(memory_bytes=round(leanest.chosen.estimate.memory.peak_bytes.high) + 1)
    assert planning.plan(spec, data, machine, method="full", limits=room).chosen.fits
    with pytest.raises(planning.NoPlan):
        planning.plan(spec, data, with_margins(machine), method="full", limits=room)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"memory": {"low": 2}}', '{"memory": {"low": 0, "high": 1, "runs": 3}}']
)
def test_a_damaged_file_is_as_none(home, text: str) -> None:  # type: ignore[no-untyped-def]
    (home / "margins").mkdir()
    (home / "margins" / "cpu.json").write_text(text, encoding="utf-8")
    assert gather.machine_for("laptop-16g").memory_margin is None
