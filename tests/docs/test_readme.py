"""What the pages show is true: commands and Python run, links lead somewhere, codes and files exist."""

import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from pages import PAGES, README, README_ZH, ROOT, Block, blocks, commands

from trimtab.app.cli import application
from trimtab.errors import catalogue

Run = Callable[..., subprocess.CompletedProcess[str]]

# What takes seconds and loads no weights runs here; the journeys train, predict and evaluate.
LIGHT = {"--help", "doctor", "plan", "estimate", "data", "cost", "ledger"}
SHOWN = tuple(dict.fromkeys(command for page in PAGES for command in commands(page)))


def verb_of(command: str) -> str:
    return shlex.split(command)[1]


def is_light(command: str) -> bool:
    return verb_of(command) in LIGHT or command.endswith(" --help")


def trains(block: Block) -> bool:
    return "trimtab.train(" in block.code


def python_blocks(*, training: bool) -> list[object]:
    return [
        pytest.param(block, id=f"{page.stem}-{number}")
        for page in PAGES
        if page != README_ZH  # the same blocks as in README, as a test below sees to
        for number, block in enumerate(blocks(page, "python"), start=1)
        if trains(block) == training
    ]


@pytest.mark.parametrize("command", [command for command in SHOWN if is_light(command)])
def test_a_light_command_runs(command: str, run_python: Run) -> None:
    done = run_python("-m", *shlex.split(command))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("block", python_blocks(training=False))
def test_a_python_block_runs(block: Block, run_python: Run) -> None:
    done = run_python("-c", block.code)
    assert done.returncode == 0, done.stderr


@pytest.mark.model
@pytest.mark.parametrize("block", python_blocks(training=True))
def test_a_python_block_that_trains_runs(block: Block, run_python: Run) -> None:
    done = run_python("-c", block.code)
    assert done.returncode == 0, done.stderr
    assert "memory" in done.stdout and "loss" in done.stdout


def test_every_command_names_a_verb_and_options_that_exist() -> None:
    verbs = typer.main.get_command(application()).commands  # type: ignore[attr-defined]
    for command in SHOWN:
        _, first, *rest = shlex.split(command)
        if first.startswith("-"):
            continue
        verb = verbs[first]
        if subverbs := getattr(verb, "commands", None):
            verb = subverbs[next((word for word in rest if word in subverbs), "auto")]
        known = {"--help", "--lang"} | {option for parameter in verb.params for option in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= known, command


def test_both_readmes_show_the_same_code_in_the_same_order() -> None:
    assert blocks(README) == blocks(README_ZH)
    assert len(blocks(README, "python")) >= 2


def test_both_readmes_have_the_same_sections_tables_and_open_figures() -> None:
    english, chinese = (page.read_text(encoding="utf-8") for page in (README, README_ZH))
    for pattern in (r"^#+ ", r"^\|", r"^- "):
        count = len(re.findall(pattern, english, re.MULTILINE))
        assert count == len(re.findall(pattern, chinese, re.MULTILINE)), pattern
    for pattern in (r"<!-- measured: .*? -->", r"`[^`\n]+`", r"\d[\d.,]*\d"):
        assert set(re.findall(pattern, english)) == set(re.findall(pattern, chinese)), pattern


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_code_named_exists(page: Path) -> None:
    named = set(re.findall(r"TT-[A-Z]\d{3}", page.read_text(encoding="utf-8")))
    assert named <= set(catalogue())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    for link in links:
        if "://" not in link and not link.startswith("#"):
            assert (page.parent / link.partition("#")[0]).resolve().exists(), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_source_file_named_exists(page: Path) -> None:
    """`src/trimtab/…/x.py` and `x/y.py` in backquotes, from the root or from the package."""
    named = re.findall(r"`((?:[\w.]+/)+[\w.]+\.(?:py|toml|csv|html|md))`", page.read_text(encoding="utf-8"))
    for name in named:
        places = (ROOT, ROOT / "src" / "trimtab")
        assert any((place / name).exists() for place in places), f"{page.name}: {name}"
