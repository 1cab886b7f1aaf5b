"""cost serve and cost total on the command line: both languages, JSON, old prices, 80 columns."""

import json
import re
import typing
from datetime import date
from pathlib import Path

import pytest
from rich.cells import cell_len

from trimtab.app.cli import serving_options
from trimtab.estimation.serving import ENGINES, WEIGHTS
from trimtab.hardware.prices import COLUMNS
from trimtab.planning.fleet import DEFAULT_TARGET
from trimtab.study import Traffic

SERVE = ("cost", "serve", "qwen2.5-7b", "--per-day", "100000", "--input-tokens", "512", "--output-tokens", "128")
TOTAL = (
    "cost", "total", "bert-base-chinese", "--per-day", "500000", "--tasks", "4", "--examples", "3200",
    "--on", "t4,cloud-cpu-16",
)  # fmt: skip
TODAY = date.today().isoformat()
HAN = re.compile("[一-鿿]")


@pytest.fixture
def own(tmp_path: Path) -> str:
    """Prices of one's own: a fresh one, and one of long ago that is dearer and has a spot price."""
    path = tmp_path / "own.csv"
    rows = (f"shop,here,new,rtx4090,1,,,3.6,,CNY,{TODAY},", "shop,there,older,rtx4090,8,,,40,20,CNY,2020-05,")
    path.write_text("\n".join([",".join(COLUMNS), *rows]) + "\n", encoding="utf-8")
    return str(path)


def test_the_words_of_the_help_page_are_those_of_the_rooms() -> None:
    assert serving_options.ENGINES.split("|") == ["auto", *(engine.name for engine in ENGINES)]
    assert serving_options.WEIGHTS.split("|") == ["auto", *WEIGHTS]
    assert serving_options.Requests().traffic() == Traffic()
    assert serving_options.Requests().load == DEFAULT_TARGET
    assert set(typing.get_type_hints(serving_options.Requests)) >= {"per_day", "per_second", "peak", "load"}
    assert serving_options.machine_names("a10, l4,") == ("a10", "l4")


def test_a_month_is_told_with_price_date_and_both_currencies(tt, own: str) -> None:
    shown = tt(*SERVE, "--on", "rtx4090", "--prices", own, "--rate", "7")
    assert (shown.code, shown.err) == (0, "")
    assert "100,000 a day, 3.47 a second at the busiest, 512 tokens read and 128 written" in shown.out
    assert "1 USD = 7 CNY" in shown.out and "up to 70.0 %" in shown.out
    new, older, spot = (
        next(line for line in shown.out.splitlines() if words in line)
        for words in ("(new)", "40.00 CNY (2020-05 !)", "20.00 CNY spot (2020-05 !)")
    )
    assert "2,592 CNY (370 USD)" in new and f"3.60 CNY ({TODAY})" in new and "vllm bf16, published" in new
    assert "8 x rtx4090" in older and "28,800 CNY" in older and "14,400 CNY" in spot
    assert "Speed from: mistral-7b-v0.1 256+100, 11.87/s, vLLM: https://" in shown.out
    assert "a price more than 60 days old" in shown.out and "paid whole" in shown.out
    assert "may be taken away at any time" in shown.out


def test_what_does_not_fit_and_this_machine_are_told_in_both_languages(tt) -> None:
    shown = tt(*SERVE)
    assert "✗ t4: Needs 15.8 GiB for one request, 13.1 GiB may be used" in shown.out and shown.code == 0
    assert "a10 (vllm bf16, formula)" in shown.out and "a100-40g-sxm (vllm bf16, published)" in shown.out
    chinese = tt(*SERVE, "--lang", "zh")
    assert "✗ t4: 一个请求需要 15.8 GiB，可用 13.1 GiB" in chinese.out and "依据" not in shown.out
    told = (
        "cost",
        "serve",
        "demo",
        "--per-second",
        "5",
        "--throughput",
        "88",
        "--throughput-from",
        "bench",
        "--price",
    )
    here = tt(*told, "1CNY").out
    assert re.search(r"This machine \(.*, onnx int8\): 88 requests a second \(70\.4–110\), 1 such machines", here)
    assert "from: measured (bench); 720 CNY (100 USD) a month" in here
    assert re.search("本机（.*，onnx int8）：每秒 88 个请求", tt(*told, "1CNY", "--lang", "zh").out)


def test_facts_are_json_and_nothing_else(tt, own: str) -> None:
    shown = tt(*SERVE, "--on", "rtx4090", "--prices", own, "--json")
    assert (shown.code, shown.err) == (0, "")
    facts = json.loads(shown.out)
    assert facts["load"]["peak"] == 3.0 and facts["workload"] == {"input_tokens": 512, "output_tokens": 128}
    mine = {(one["offer"]["instance"], one["spot"]): one for one in facts["offers"]}
    new = mine["new", False]
    fleet = new["served"]["fleet"]
    assert new["money"]["monthly"]["cny"]["value"] == pytest.approx(fleet["devices"]["value"] * 3.6 * 720)
    assert new["money"]["price"]["is_old"] is False and mine["older", True]["money"]["price"]["is_old"] is True
    assert (new["served"]["basis"], fleet["per_second"]["evidence"]) == ("published", "formula")
    assert fleet["per_second"]["high"] == pytest.approx(1.5 * fleet["per_second"]["value"])
    told = json.loads(tt(*SERVE, "--json", "--lang", "zh").out)
    (refused,) = (one for one in told["misfits"] if one["machine"] == "t4")
    assert refused["reason"]["code"] == "TT-P509" and HAN.search(refused["reason"]["text"])


def test_months_ways_and_where_they_cross(tt) -> None:
    shown = tt(*TOTAL, "--api-price", "0.5/2CNY", "--months", "24")
    assert (shown.code, shown.err) == (0, "")
    assert "4 task(s), 24 month(s)" in shown.out
    for name in ("small on CPU", "base + adapters", "a GPU a task", "hosted API"):
        assert name in shown.out
    assert [line.split()[0] for line in shown.out.splitlines() if re.match(r"\d+ +[\d,.]+ CNY", line)] == [
        "1", "2", "3", "6", "12", "24",
    ]  # fmt: skip
    assert "960 CNY a month, by the token" in shown.out  # 500,000 x 30 x 128 x 0.5 / 10^6
    assert "costs no more than the hosted API from" in shown.out
    assert 'By money: "hosted API"' in shown.out and "The hosted service is another model" in shown.out
    chinese = tt(*TOTAL, "--lang", "zh").out
    assert "按费用：选“CPU 小模型”" in chinese and "托管 API" not in chinese
    facts = json.loads(tt(*TOTAL, "--json").out)
    assert [one["name"] for one in facts["ways"]] == ["small", "adapters", "whole"]
    assert facts["rows"][-1]["month"] == 12 and facts["student"]["layers"] == 6


@pytest.mark.parametrize("columns", ["80", "120"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_nothing_is_cut_off_on_a_terminal(tt, monkeypatch, columns: str, language: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    for words in (SERVE, (*TOTAL, "--api-price", "0.5CNY")):
        shown = tt(*words, "--lang", language)
        home = {line for line in shown.out.splitlines() if "prices.csv" in line}  # a path may be wider
        assert all(cell_len(line.rstrip()) <= int(columns) for line in shown.out.splitlines() if line not in home)
        assert "…" not in shown.out


@pytest.mark.parametrize(
    ("words", "exit_code", "code"),
    [
        (("cost", "serve", "demo"), 2, "TT-P511"),
        ((*SERVE, "--per-second", "1"), 2, "TT-P511"),
        ((*SERVE, "--load", "1.5"), 2, "TT-P513"),
        ((*SERVE, "--latency", "soon"), 2, "TT-U002"),
        ((*SERVE, "--engine", "vlm"), 2, "TT-P501"),
        ((*SERVE, "--weights", "fp8"), 2, "TT-P521"),
        ((*SERVE, "--on", "a11"), 2, "TT-H001"),
        ((*SERVE, "--on", "a10", "--spot"), 2, "TT-U008"),
        ((*SERVE, "--on", "t4"), 3, "TT-P520"),
        ((*SERVE, "--prices", "missing.csv"), 5, "TT-H031"),
        ((*SERVE, "--per-day", "many"), 2, "TT-V914"),
        (("cost", "total", "demo"), 2, "TT-P511"),
        ((*TOTAL, "--api-price", "cheap"), 2, "TT-P523"),
        ((*TOTAL, "--tasks", "0"), 2, "TT-U006"),
    ],
)
def test_what_cannot_be_told_is_refused_in_two_lines(
    tt, words: tuple[str, ...], exit_code: int, code: str
) -> None:
    refused = tt(*words)
    assert refused.code == exit_code
    what, following = refused.err.splitlines()
    assert what.startswith(f"{code}: ") and following.startswith("-> ")


@pytest.mark.parametrize("verb", ["serve", "total"])
@pytest.mark.parametrize("on", ["", ",", " , "])
def test_no_machine_between_commas_is_not_all_of_them(tt, verb: str, on: str) -> None:
    found = tt("cost", verb, "qwen2.5-7b", "--per-day", "10", "--on", on)
    assert (found.code, found.err.partition(":")[0], found.out) == (2, "TT-P529", "")
