"""docs/serving_costs.md: every figure of ours on the page is what the program says of docs/serving_costs.csv."""

import csv
import re
from datetime import date
from pathlib import Path

import pytest

from trimtab.estimation.serving import published_servings
from trimtab.study import EngineChoice, Pricing, ServedOffer, ServingCost, Traffic, cost_serve

DOCS = Path(__file__).resolve().parents[2] / "docs"
ROWS = list(csv.DictReader((DOCS / "serving_costs.csv").open(encoding="utf-8")))
PAGE = (DOCS / "serving_costs.md").read_text(encoding="utf-8")
# What circulates: CNY an hour, and a month.
THEIRS = {
    "t4": (3, 5, 2_200, 3_600),
    "a10": (8, 12, 6_000, 9_000),
    "a100": (25, 40, 18_000, None),
    "cpu": (0.5, 1, 400, 700),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ServingCost]:
    """Shipped prices alone, on a fixed day."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIMTAB_HOME", str(tmp_path_factory.mktemp("home")))
        return {row["id"]: served(row) for row in ROWS}


def served(row: dict[str, str]) -> ServingCost:
    traffic = Traffic(
        per_day=float(row["per_day"]),
        input_tokens=int(row["input_tokens"]),
        output_tokens=int(row["output_tokens"]),
    )
    return cost_serve(
        row["model"],
        traffic,
        on=tuple(row["machines"].split()),
        choice=EngineChoice(weights=row["weights"]),
        pricing=Pricing(today=date(2026, 11, 25)),
    )


def alone(cost: ServingCost, *, spot: bool = False) -> list[ServedOffer]:
    """List prices of machines with one device, the cheapest first."""
    return [
        one
        for one in cost.offers
        if one.offer.basis == "list" and one.spot == spot and one.offer.accelerator_count < 2
    ]


def priced(one: ServedOffer) -> str:
    price = one.money.price
    return (
        f"{one.money.monthly.cny.value:,.0f} ({price.hourly.amount:.2f} {price.hourly.currency}/h, {price.as_of})"
    )


def test_the_page_says_what_the_program_says(found: dict[str, ServingCost]) -> None:
    lines = [line for line in PAGE.splitlines() if re.match(r"\| (T4|A10|A100|CPU)\b", line)]
    assert len(lines) == len(ROWS) == 4
    for line, row in zip(lines, ROWS, strict=True):
        _, cheapest, alibaba, spot, answers = (cell.strip() for cell in line.strip("|").split("|"))
        offers, spots = alone(found[row["id"]]), alone(found[row["id"]], spot=True)
        theirs = [one for one in offers if one.offer.provider == "alibaba"]
        ends = [f"{one.money.monthly.cny.value:,.0f}" for one in (theirs[0], theirs[-1])]
        speed = offers[0].served.fleet.per_second
        assert cheapest == priced(offers[0]), row["id"]
        assert alibaba == f"{ends[0]} to {ends[1]} ({theirs[0].money.price.as_of})", row["id"]
        assert spot == (priced(spots[0]) if spots else "-"), row["id"]
        assert answers.endswith(f": {speed.value:.1f} ({speed.low:.1f}–{speed.high:.1f})"), row["id"]
        assert offers[0].served.fleet.devices.value == 1, row["id"]


def test_theirs_hold_and_fail_where_the_page_says(found: dict[str, ServingCost]) -> None:
    def hourly(name: str, *providers: str) -> list[float]:
        offers = alone(found[name])
        return [o.money.hourly.cny.value for o in offers if not providers or o.offer.provider in providers]

    low, high, month_low, month_high = THEIRS["t4"]
    assert all(low <= min(hourly("t4", cloud)) <= high for cloud in ("aws", "gcp", "azure"))
    assert 2 * high < min(hourly("t4", "alibaba")) and min(hourly("t4", "alibaba")) > min(hourly("a10", "alibaba"))
    assert month_low <= alone(found["t4"])[0].money.monthly.cny.value <= month_high
    low, high, month_low, month_high = THEIRS["a10"]
    assert low <= min(hourly("a10", "alibaba", "lambda")) <= high
    assert month_low <= alone(found["a10"])[0].money.monthly.cny.value <= month_high
    low, high, month_low, _ = THEIRS["a100"]
    assert low <= min(hourly("a100", "alibaba")) <= high and low <= min(hourly("a100", "gcp")) <= high
    assert month_low <= min(hourly("a100", "alibaba", "gcp")) * 720
    assert low / 4 < min(hourly("a100", "runpod")) < max(hourly("a100", "lambda")) < 0.6 * low
    _, high, _, month_high = THEIRS["cpu"]
    assert min(hourly("cpu")) > 2 * high and alone(found["cpu"])[0].money.monthly.cny.value > 2 * month_high
    assert min(one.money.hourly.cny.value for one in alone(found["cpu"], spot=True)) > 2 * high


def test_few_requests_keep_the_machines_as_busy_as_the_page_says(found: dict[str, ServingCost]) -> None:
    assert 1 / 8 < alone(found["a10"])[0].served.fleet.used < 1 / 6
    assert 1 / 4 < alone(found["cpu"])[0].served.fleet.used < 1 / 3


def test_the_errors_on_the_page_are_those_of_the_formula() -> None:
    shown = [
        f"| {row.device} | {row.version} | {row.model} | {row.workload.input_tokens}+{row.workload.output_tokens} "
        f"| {row.per_second:g} | {row.predicted_per_second:.4g} "
        f"| {100 * (row.predicted_per_second / row.per_second - 1):+.0f} % |"
        for row in published_servings()
    ]
    there = [line for line in PAGE.splitlines() if re.match(r"\| (a10|a30|a100|t4|rtx)\S* \|", line)]
    assert there == shown
