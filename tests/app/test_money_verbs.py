"""Money on the command line: cost train, and plans within a sum."""

import json
import re
from datetime import date
from pathlib import Path

import pytest
from rich.cells import cell_len

from trimtab.hardware.prices import COLUMNS

COST = ("cost", "train", "bert-base-chinese", "--examples", "3200", "--length", "64", "--method", "lora")
HEAD = ",".join(COLUMNS)
TODAY = date.today().isoformat()


@pytest.fixture
def own(tmp_path: Path) -> str:
    """Prices of one's own: a fresh one, and one of long ago that is dearer."""
    path = tmp_path / "own.csv"
    rows = ("shop,here,new,rtx3060-12g,1,,,3.6,,CNY,{today},", "shop,there,older,rtx3060-12g,8,,,2,,USD,2020-05,")
    path.write_text("\n".join([HEAD, *rows]).format(today=TODAY) + "\n", encoding="utf-8")
    return str(path)


def test_costs_are_told_with_price_date_and_both_currencies(tt, own: str) -> None:
    shown = tt(*COST, "--on", "rtx3060-12g", "--prices", own, "--runs", "3", "--idle", "0.5", "--rate", "7")
    assert (shown.code, shown.err) == (0, "")
    assert "3 run(s), 50.0 % idle time, on demand" in shown.out and "1 USD = 7 CNY;" in shown.out
    new, older = (line for line in shown.out.splitlines() if "shop" in line)
    assert f"3.60 CNY ({TODAY})" in new and "USD)" in new and "rtx3060-12g (lora" in new
    assert "2.00 USD (2020-05 !)" in older and "8 x rtx3060-12g" in older and "shop, there (older)" in older
    assert "a price more than 60 days old" in shown.out and "paid whole" in shown.out


def test_facts_are_json_and_nothing_else(tt, own: str) -> None:
    shown = tt(*COST, "--on", "rtx3060-12g", "--prices", own, "--json")
    assert (shown.code, shown.err) == (0, "")
    facts = json.loads(shown.out)
    new, older = facts["offers"]
    assert facts["rate"]["as_of"] == "2026-11-22" and facts["misfits"] == []
    assert new["offer"]["on_demand_hourly"] == {"amount": 3.6, "currency": "CNY"}
    assert (new["money"]["price"]["is_old"], older["money"]["price"]["is_old"]) == (False, True)
    assert new["money"]["cny"]["value"] == pytest.approx(new["seconds"]["value"] / 1000)
    assert older["money"]["usd"]["high"] == pytest.approx(older["seconds"]["high"] / 1800)
    assert new["money"]["cny"]["evidence"] == "formula" and new["strategy"]["method"] == "lora"


def test_without_a_machine_ten_of_the_cheapest_are_shown(tt) -> None:
    shown = tt(*COST)
    rows = [line for line in shown.out.splitlines() if " CNY (" in line]
    assert shown.code == 0 and len(rows) == 10
    assert "dearer offers are left out" in shown.out
    facts = json.loads(tt(*COST, "--json").out)
    assert len(facts["offers"]) > 20


@pytest.mark.parametrize("columns", ["80", "120"])
def test_nothing_is_cut_off_on_a_terminal(tt, monkeypatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    for language in ("en", "zh"):
        shown = tt(*COST, "--lang", language)
        assert all(cell_len(line.rstrip()) <= int(columns) for line in shown.out.splitlines())
        assert not re.search("…(?![+-])", shown.out) and "RTX 4090D, lowest seller" in shown.out


@pytest.mark.parametrize(
    ("words", "exit_code", "code"),
    [
        ((*COST, "--on", "laptop-16g"), 2, "TT-U007"),
        ((*COST, "--on", "a10", "--spot"), 2, "TT-U008"),
        ((*COST, "--runs", "0"), 2, "TT-U006"),
        ((*COST, "--idle", "half"), 2, "TT-V914"),
        ((*COST, "--prices", "missing.csv"), 5, "TT-H031"),
        ((*COST, "--data", "demo"), 2, "TT-U011"),
        (("estimate", "demo", "--method", "lora", "--data", "demo", "--labels", "2"), 2, "TT-U011"),
        ((*COST, "--task", "pair"), 2, "TT-U012"),
        (("plan", "--data", "demo", "--on", "a10", "--price", "9", "--prices", "own.csv"), 2, "TT-U009"),
        (("plan", "--data", "demo", "--on", "laptop-8g", "--rate", "7"), 2, "TT-P015"),
        (("cost", "train", "qwen2.5-7b", "--method", "full", "--on", "t4"), 3, "TT-P020"),
        (("cost", "trian", "demo"), 2, "TT-V910"),
    ],
)
def test_what_cannot_be_told_is_refused_in_two_lines(
    tt, words: tuple[str, ...], exit_code: int, code: str
) -> None:
    refused = tt(*words)
    assert refused.code == exit_code
    what, following = refused.err.splitlines()
    assert what.startswith(f"{code}: ") and following.startswith("-> ")


def test_a_plan_stays_within_a_sum(tt, reviews: str) -> None:
    words = ("plan", "demo", "--data", reviews, "--on", "t4", "--price", "100CNY")
    free = json.loads(tt(*words, "--json").out)["plan"]
    costs = {row["method"]: row["estimate"]["money"]["cny"] for row in free["candidates"]}
    limit = f"{costs['full']['high'] * 0.99:.6f}CNY"
    plan = json.loads(tt(*words, "--money", limit, "--json").out)["plan"]
    assert plan["limits"]["money"]["currency"] == "CNY"
    full = next(row for row in plan["candidates"] if row["method"] == "full")
    assert not full["fits"] and full["reason"]["code"] == "TT-P105" and plan["chosen"]["fits"]
    refused = tt(*words, "--money", "0.000001")
    assert refused.code == 3 and "-> --money 0." in refused.err
    amount = refused.err.partition("--money ")[2].split()[0]
    assert tt(*words, "--money", amount).code == 0


def test_the_goal_money_takes_the_cheapest_and_says_whose_price_it_is(tt, reviews: str) -> None:
    words = ("plan", "demo", "--data", reviews, "--on", "a10", "--goal", "money")
    shown = tt(*words)
    assert "The cheapest of the" in shown.out and "Money: " in shown.out
    dated = "8.58 CNY (alibaba cn-heyuan ecs.gn7i-c8g1.2xlarge, 2024-12-31, more than 60 days old)"
    assert dated in shown.out
    assert "That price may have changed: put a newer one into" in shown.out
    refused = tt(*words, "--money", "0.000001CNY")
    assert refused.code == 3 and f"an hour costs {dated}." in refused.err
    rows = json.loads(tt(*words, "--json").out)["plan"]["candidates"]
    costs = [row["estimate"]["money"]["cny"]["value"] for row in rows]
    assert costs == sorted(costs)


def test_own_prices_that_cannot_be_read_are_said_in_one_line_and_the_plan_goes_on(
    tt, reviews: str, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "prices.csv").write_text(f"{HEAD}\na,b,c,t4,1,,,cheap,,CNY,2026,\n", encoding="utf-8")
    words = ("plan", "demo", "--data", reviews, "--on", "a10")
    shown = tt(*words)
    (said,) = shown.err.splitlines()
    assert shown.code == 0 and said.startswith("TT-H037: ") and 'row 1, column on_demand_price: "cheap"' in said
    assert "✓" in shown.out and "Money" not in shown.out
    printed = tt(*words, "--json")
    assert (printed.code, printed.err) == (0, "")
    assert [notice["code"] for notice in json.loads(printed.out)["notices"]] == ["TT-H037"]
    assert tt(*words, "--money", "50CNY").err.startswith("TT-H034: ")


def test_a_price_of_a_market_is_told_as_what_it_is(tt, reviews: str) -> None:
    words = ("plan", "demo", "--data", reviews, "--on", "rtx5090")
    shown = tt(*words)
    assert "an hour costs from 2.68 CNY (suanjiayun(算家云) cn RTX 5090, lowest seller, 2026" in shown.out
    assert "from = the lowest that the sellers of a market ask" in shown.out
    assert "an hour costs from 2.68 CNY" in tt(*words, "--money", "0.000001").err
    assert "每小时 2.68 CNY 起（suanjiayun" in tt(*words, "--lang", "zh").out
    listed = tt(*COST, "--on", "rtx4090").out
    assert "from 1.24 CNY (2026 !)" in listed and "about 0.40 USD (2025-02-10 !)" in listed
    assert " 0.69 USD (2025-02-10 !)" in listed and "from = the lowest" in listed
    assert "from = the lowest" not in tt(*words[:-1], "a10").out


def test_this_machine_has_a_price_where_the_user_says_so(tt, reviews: str) -> None:
    words = ("plan", "demo", "--data", reviews, "--goal", "money")
    refused = tt(*words)
    assert refused.code == 2 and refused.err.startswith("TT-P015: --goal money needs the price of an hour")
    assert "--price 10CNY" in refused.err
    shown = tt(*words, "--price", "7USD")
    assert shown.code == 0 and "an hour costs 7.00 USD (--price)" in shown.out
    assert f"trimtab train demo --data {reviews} --goal money --price 7USD" in shown.out
    assert tt(*words, "--price", "free").err.startswith("TT-U003")
    assert tt(*words, "--prices", "own.csv").err.startswith("TT-U005")
