"""plan and estimate: the facts as JSON, and the table for people."""

import json
import re
import shlex
import subprocess
import sys

import typer
from rich.cells import cell_len

from trimtab.app.cli import application, options

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
    assert {row["method"] for row in plan["candidates"]} == set(options.METHODS.split("|")) - {"auto", "staged"}


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
        *table, command = shown.out.splitlines()  # which is one line, to be copied
        assert "trimtab train" in command and all(cell_len(line.rstrip()) <= 80 for line in table)
        assert "…  " not in shown.out and "[" not in shown.out


def test_nothing_fits_shows_the_candidates_and_exits_3(tt, reviews: str) -> None:
    refused = tt("plan", "--data", reviews, *ON, "--memory", "64MiB")
    assert refused.code == 3
    assert "✗" in refused.out and "✓" not in refused.out
    assert refused.err.startswith("TT-P020") and "--memory" in refused.err.splitlines()[1]
    facts = json.loads(tt("plan", "--data", reviews, *ON, "--memory", "64MiB", "--json").out)
    assert facts["plan"]["chosen"] is None and not any(row["fits"] for row in facts["plan"]["candidates"])


def test_the_next_command_is_the_one_typed_with_another_verb(tt, reviews: str) -> None:
    shown = tt("plan", "demo", "--data", reviews, "--method", "head", "--epochs", "2")
    assert f"trimtab train demo --data {reviews} --method head --epochs 2 --out runs/head" in shown.out


def next_command(shown: str) -> tuple[str, list[str]]:
    """What stands before the command, and its words."""
    (line,) = (line for line in shown.splitlines() if line.startswith(("Next", "下一步")))
    said, _, command = line.partition(" trimtab ")
    return said, shlex.split(command)


def test_a_plan_for_another_machine_says_what_to_run_there(tt, reviews: str) -> None:
    said, words = next_command(tt("plan", "--data", reviews, *ON, "--memory", "4GiB").out)
    assert said == "Next, on laptop-16g:"
    method = words[words.index("--method") + 1]
    assert words == [
        "train", "demo", "--data", reviews, "--memory", "4GiB", "--method", method, "--out", f"runs/{method}",
    ]  # fmt: skip
    said, same = next_command(
        tt("plan", "--data", reviews, "--on=laptop-16g", "--memory", "4GiB", "--lang", "zh").out
    )
    assert (said, same) == ("下一步，在 laptop-16g 上运行：", words)


def test_the_price_of_an_offer_goes_along_where_the_training_needs_one(tt, reviews: str) -> None:
    rented = ("plan", "demo", "--data", reviews, "--on", "a10")
    assert "--price" not in next_command(tt(*rented).out)[1]
    for wish in (("--money", "50CNY"), ("--goal", "money"), ("--rate", "7.1")):
        words = next_command(tt(*rented, *wish).out)[1]
        assert words[words.index("--price") + 1] == "8.5794CNY" and set(wish) < set(words)
    said = next_command(tt(*rented, "--money", "50CNY", "--price=9USD").out)[1]
    assert "--price=9USD" in said and "--price" not in said


def test_the_next_command_takes_only_options_that_train_has(tt, reviews: str) -> None:
    verbs = typer.main.get_command(application()).commands
    options = {verb: {flag for p in verbs[verb].params for flag in p.opts} for verb in ("plan", "train")}
    assert options["plan"] - options["train"] == {"--on", "--prices", "--models"}, (
        "of several models nothing is next"
    )


def test_estimate_needs_no_data(tt) -> None:
    guessed = tt(
        "estimate",
        "demo",
        "--method",
        "lora",
        "--examples",
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


FALCON = ("falcon-7b", "--method", "lora")


def test_what_cannot_be_trained_is_estimated_and_not_planned(tt, reviews: str) -> None:
    refused = tt("plan", "falcon-7b", "--data", reviews, "--on", "a100-80g-sxm")
    assert refused.code == 5 and refused.err.startswith('TT-P017: falcon-7b is a model of type "falcon"')
    assert "trimtab estimate" in refused.err.splitlines()[1] and refused.out == ""
    for verb in (
        ("estimate", *FALCON, "--on", "a100-80g-sxm"),
        ("cost", "train", *FALCON, "--on", "a100-80g-sxm"),
    ):
        assert "`trimtab train` cannot run a model of this type yet" in tt(*verb).out
        assert "`trimtab train` 暂不支持" in tt(*verb, "--lang", "zh").out
        assert json.loads(tt(*verb, "--json").out)["model"]["can_be_trained"] is False
    assert "cannot run" not in tt("estimate", "bert-base-chinese", "--method", "lora", *ON).out


def test_planning_does_not_load_torch(reviews: str) -> None:
    code = (
        "import sys; from trimtab.app.cli import run; "
        f"run(['plan', '--data', {reviews!r}, '--on', 'laptop-16g'], {{}}); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'peft')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_estimate_lists_what_is_trained(tt) -> None:
    words = ("estimate", "bert-base-uncased", "--method", "lora", *ON, "--trainable")
    facts = json.loads(tt(*words, "--json").out)
    found = {tensors["name"]: tensors for tensors in facts["trained"]}
    place = found["bert.encoder.layer.{0-11}.attention.self.value.lora_B.default.weight"]
    assert (place["shape"], place["count"], place["parameters"]) == ([768, 8], 12, 12 * 768 * 8)
    total = facts["plan"]["chosen"]["estimate"]["trainable_parameters"]
    assert sum(tensors["parameters"] for tensors in found.values()) == total
    shown = tt(*words).out
    assert "12 x (768 x 8)" in shown and f"{total:,}" in shown
    assert "trained" not in json.loads(tt(*words[:-1], "--json").out)


def test_a_plan_says_which_optimiser_it_takes(tt, reviews: str) -> None:
    words = ("plan", "--data", reviews, *ON, "--method", "full", "--optimizer", "lion", "--decay", "wsd")
    strategy = json.loads(tt(*words, "--json").out)["plan"]["chosen"]["strategy"]
    assert (strategy["optimizer"]["rule"], strategy["schedule"]["decay"]) == ("lion", "wsd")
    shown = tt(*words).out
    assert "lion" in shown and "--optimizer lion" in shown.splitlines()[-1]
    refused = tt(*words[:-4], "--optimizer", "lionn")
    assert (refused.code, refused.err[:7]) == (2, "TT-U040")


def test_the_command_that_comes_next_trains_as_deep_as_the_plan(tt, reviews: str) -> None:
    """A method that is named has a depth of its own."""
    deep = []
    for memory in ("1575MiB", "2GiB"):
        words = (
            "plan",
            "bert-base-uncased",
            "--data",
            reviews,
            *ON,
            "--optimizer",
            "adafactor",
            "--memory",
            memory,
        )
        parts = json.loads(tt(*words, "--json").out)["plan"]["chosen"]["strategy"]["parts"]
        depths = [part["top_layers"] for part in parts if part.get("top_layers")]
        following = tt(*words).out.rpartition("trimtab train")[2]
        assert [f"--top-layers {depth}" for depth in depths] == re.findall(r"--top-layers \d+", following)
        deep += depths
    assert deep == [4]
