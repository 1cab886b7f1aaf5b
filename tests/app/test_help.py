"""Help pages: complete, in both languages, within the terminal, and instant."""

import os
import re
import resource
import subprocess
import sys

import pytest
import typer
from rich.cells import cell_len

from trimtab.app.cli import application

VERBS = [
    "demo",
    "doctor",
    "plan",
    "estimate",
    "train",
    "predict",
    "evaluate",
    "bench",
    "serve",
    "ledger",
    "ui",
    "adapters",
    "compress",
    "data",
    "cost",
]
PAGES = [
    [],
    *([verb] for verb in VERBS),
    ["data", "check"],
    ["cost", "train"],
    ["cost", "serve"],
    ["cost", "total"],
]
PAGES += [["compress", verb] for verb in ("auto", "distill", "prune", "trim", "quantize", "export")]
PAGES += [["adapters", verb] for verb in ("list", "show", "merge", "import", "delete")]


def parameters(path: list[str]) -> list[object]:
    command = typer.main.get_command(application())
    for verb in path:
        command = command.commands[verb]
    return command.params


@pytest.mark.parametrize("page", PAGES, ids=" ".join)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_page_shows_every_option_in_words(tt, page: list[str], language: str, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = tt(*page, "--help", "--lang", language)
    assert (shown.code, shown.err) == (0, "")
    assert "TT-" not in shown.out
    assert bool(re.search("[一-鿿]", shown.out)) == (language == "zh")
    assert all(cell_len(line.rstrip()) <= 80 for line in shown.out.splitlines())
    for parameter in parameters(page):
        for flag in parameter.opts if parameter.param_type_name == "option" else [parameter.metavar]:
            assert flag in shown.out


def test_all_verbs_are_listed_and_alone_the_command_shows_them(tt) -> None:
    page = tt("--help").out
    assert all(re.search(rf"^  {verb}\b", page, re.MULTILINE) for verb in VERBS)
    assert tt().out.split() == page.split()
    assert "check" in tt("data").out


def test_the_page_says_what_is_required_and_what_is_the_default(tt) -> None:
    page = " ".join(tt("plan", "--help").out.split())
    assert "Usage: trimtab plan [MODEL] --data D [OPTIONS]" in page
    assert "demo. Required." in page and "Default: balanced." in page


def test_help_is_instant_and_loads_nothing_heavy() -> None:
    """The best of five, in seconds of a processor, since other programs may hold it: under 0.4 s for the whole
    process."""
    command = [sys.executable, "-X", "importtime", "-m", "trimtab", "--help"]
    seconds = []
    for _ in range(5):
        started = _children_seconds()
        finished = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))
        seconds.append(_children_seconds() - started)
    imported = {line.rpartition("|")[2].strip() for line in finished.stderr.splitlines() if "|" in line}
    assert not imported & {"torch", "numpy", "transformers", "sqlalchemy", "huggingface_hub", "pyarrow"}
    assert min(seconds) < 0.4


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
