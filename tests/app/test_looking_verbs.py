"""doctor, data check, ledger: what is there, in words and as JSON."""

import json
from pathlib import Path

from trimtab import __version__


def test_version(tt) -> None:
    assert tt("--version").out == f"trimtab {__version__}\n"


def test_doctor(tt) -> None:
    facts = json.loads(tt("doctor", "--json").out)
    assert facts["machine"]["is_here"] and facts["machine"]["device"]["memory_bytes"] > 0
    shown = tt("doctor", "--lang", "zh").out
    assert facts["machine"]["device"]["name"] in shown and "机器" in shown
    assert all(finding["text"] for finding in facts["findings"])


def test_data_check_counts_labels_and_names_places(tt, tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    rows = [f"row number {n},{'a' if n % 4 else 'b'}" for n in range(80)] + ["row number 3,a"]
    path.write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    facts = json.loads(tt("data", "check", str(path), "--json").out)
    assert facts["task"] == "classify" and sorted(facts["labels"]) == ["a", "b"]
    places = [place for problem in facts["problems"] for place in problem["places"]]
    assert any(place["row"] == 81 for place in places)  # the repeated row, counted from 1
    shown = tt("data", "check", str(path)).out
    assert "d.csv:81" in shown and "classify" in shown


def test_data_check_prints_the_next_step_of_a_problem_that_has_one(tt, tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    rows = [f"row number {n},{'b' if n % 40 == 0 else 'a'}" for n in range(400)] + ["row number 3,a"]
    path.write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    problems = json.loads(tt("data", "check", str(path), "--json").out)["problems"]
    codes = {problem["message"]["code"] for problem in problems}
    assert {"TT-D066"} < codes  # unbalanced labels, which has a next step; others have none
    lines = tt("data", "check", str(path)).out.splitlines()
    steps = [line for line in lines if "Read macro-F1" in line]
    assert len(steps) == 1 and steps[0].startswith("  ")
    assert "macro-F1" in tt("data", "check", str(path), "--lang", "zh").out


def test_the_advice_on_estimated_lengths_can_be_taken(tt, reviews: str) -> None:
    unknown = tt("data", "check", reviews, "--model", "no-such-model")
    assert (unknown.code, unknown.err[:7]) == (5, "TT-M001")
    assert "data check takes --model" in tt("data", "check", reviews).out
    shown = tt("data", "check", reviews, "--model", "demo")
    assert (shown.code, shown.err) == (0, "") and "TT-D076" not in shown.out
    checked = json.loads(tt("data", "check", reviews, "--model", "demo", "--json").out)
    planned = json.loads(tt("plan", "demo", "--data", reviews, "--on", "laptop-16g", "--json").out)
    assert checked["lengths"] == planned["data"]["lengths"]


def test_an_empty_ledger_says_so(tt) -> None:
    shown = tt("ledger").out
    assert "empty" in shown and "litgpt" in shown, "published runs stand in the scoreboard all the same"
    facts = json.loads(tt("ledger", "--json").out)
    assert facts["entries"] == [] and {row["device_kind"] for row in facts["scoreboard"]} == {"gpu"}
