"""plan and estimate: the facts as JSON, and the table for people."""

import json
import subprocess
import sys

from rich.cells import cell_len

ON = ("--on", "laptop-16g")


def test_json_is_all_there_is_on_stdout(tt, reviews: str) -> None:
    planned = tt("plan", "--data", reviews, *ON, "--json")
    assert (planned.code, planned.err) == (0, "")
    facts = json.loads(planned.out)
    assert facts["model"]["layers"] == 6 and facts["model"]["parameters"] == 22_713_216
    assert facts["data"]["labels"] == ["bad", "good"] and facts["data"]["lengths"]["longest"] > 3
    plan = facts["plan"]
    assert plan["chosen"] == plan["candidates"][0]
    chosen = plan["chosen"]
    assert chosen["fits"] and chosen["reason"]["text"]
    parts = chosen["estimate"]["memory"]["parts"]
    assert sum(parts.values()) == chosen["estimate"]["memory"]["peak_bytes"]["value"]
    assert {row["method"] for row in plan["candidates"]} == {"full", "lora", "freeze", "head"}


def test_the_same_command_prints_the_same(tt, reviews: str) -> None:
    first, second = (tt("plan", "--data", reviews, *ON, "--json") for _ in range(2))
    assert first.out == second.out


def test_in_a_pipe_every_candidate_is_one_line(tt, reviews: str) -> None:
    lines = tt("plan", "--data", reviews, *ON).out.splitlines()
    rows = [
        line for line in lines if line[:1] in "✓✗ " and any(f" {m} " in line for m in ("full", "lora", "head"))
    ]
    assert len([line for line in lines if line.startswith("✓")]) == 1
    assert len(rows) >= 4 and all("MiB" in row or "GiB" in row for row in rows)


def test_on_a_narrow_terminal_nothing_is_cut_off(tt, reviews: str, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for language in ("en", "zh"):
        shown = tt("plan", "--data", reviews, *ON, "--lang", language)
        assert all(cell_len(line.rstrip()) <= 80 for line in shown.out.splitlines())
        assert "…  " not in shown.out and "[" not in shown.out


def test_nothing_fits_shows_the_candidates_and_exits_3(tt, reviews: str) -> None:
    refused = tt("plan", "--data", reviews, *ON, "--memory", "64MiB")
    assert refused.code == 3
    assert "✗" in refused.out and "✓" not in refused.out
    assert refused.err.startswith("TT-P020") and "--memory" in refused.err.splitlines()[1]
    facts = json.loads(tt("plan", "--data", reviews, *ON, "--memory", "64MiB", "--json").out)
    assert facts["plan"]["chosen"] is None and not any(row["fits"] for row in facts["plan"]["candidates"])


def test_the_next_command_is_the_one_typed_with_another_verb(tt, reviews: str) -> None:
    assert "Next:" not in tt("plan", "--data", reviews, *ON).out  # a plan for another machine is not run here
    shown = tt("plan", "demo", "--data", reviews, "--method", "head", "--epochs", "2")
    assert f"trimtab train demo --data {reviews} --method head --epochs 2 --out runs/head" in shown.out


def test_estimate_needs_no_data(tt) -> None:
    guessed = tt(
        "estimate",
        "demo",
        "--method",
        "lora",
        "--rows",
        "320",
        "--length",
        "64",
        *ON,
        "--epochs",
        "1",
        "--json",
    )
    facts = json.loads(guessed.out)
    (only,) = facts["plan"]["candidates"]
    assert only["strategy"]["parts"][0]["part"] == "lora" and only["strategy"]["max_length"] == 64
    assert only["estimate"]["time"]["steps"] == 10


def test_planning_does_not_load_torch(reviews: str) -> None:
    code = (
        "import sys; from trimtab.app.cli import run; "
        f"run(['plan', '--data', {reviews!r}, '--on', 'laptop-16g'], {{}}); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'peft')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
