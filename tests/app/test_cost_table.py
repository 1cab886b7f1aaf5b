"""The offers on a terminal: every word is whole, and none is missing, however narrow it is."""

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.cells import cell_len

from trimtab import study
from trimtab.app.cli.face import Face
from trimtab.app.cli.show.cost import show_training_cost

Show = Callable[..., str]

_STYLES = re.compile(r"\x1b\[[0-9;]*m")
# Chinese may be broken anywhere; what is not Chinese is a word, with the signs that names and figures hold.
_WORD = re.compile(r"[A-Za-z0-9_.,+%/–…-]*[A-Za-z0-9%]")
_HEADINGS_OF_WORDS = {"Machine", "Offer"}  # they have none where they stand below the figures


@pytest.fixture(scope="module")
def cost() -> study.TrainingCost:
    return study.cost_train("bert-base-chinese", shape=study.Shape(examples=10_000))


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Show:
    """show(cost, language, columns, terminal=...) -> what is printed; `columns` None = a pipe."""
    monkeypatch.setenv("TRIMTAB_HOME", "home")  # a path wider than the terminal cannot but be broken
    monkeypatch.setenv("NO_COLOR", "1")

    def printed(cost: study.TrainingCost, language: str, columns: int | None, *, terminal: bool = False) -> str:
        for name, value in (("COLUMNS", columns), ("FORCE_COLOR", 1 if terminal else None)):
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, str(value))
        capsys.readouterr()
        show_training_cost(Face(arguments=(), language=language), cost)
        return _STYLES.sub("", capsys.readouterr().out)

    return printed


def words(shown: str) -> set[str]:
    return set(_WORD.findall(shown))


def test_words_are_found_whole() -> None:
    assert words("0.22–0.56 CNY (ecs.gn7i-c8g1.2xlarge), gpushare(恒源云), 1,234 USD!") == {
        "0.22–0.56", "CNY", "ecs.gn7i-c8g1.2xlarge", "gpushare", "1,234", "USD",
    }  # fmt: skip


@pytest.mark.parametrize("columns", [80, 100, 120, 160])
@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("rows", [slice(10), slice(-10, None)], ids=["cheapest", "dearest"])
def test_no_word_is_broken_or_lost(
    cost: study.TrainingCost, show: Show, rows: slice, language: str, columns: int, terminal: bool
) -> None:
    """The dearest have the longest names: CPUs, and machines of eight."""
    some = replace(cost, offers=cost.offers[rows])
    in_a_pipe = words(show(some, language, None))
    shown = show(some, language, columns, terminal=terminal)
    assert ("──" in shown) == terminal
    assert all(cell_len(line.rstrip()) <= columns for line in shown.splitlines())
    assert words(shown) - in_a_pipe <= {str(number) for number in range(1, 11)}
    assert in_a_pipe - words(shown) <= _HEADINGS_OF_WORDS
    assert len(in_a_pipe) > 80


def test_unlike_methods_are_told_with_goal_and_quality(cost: study.TrainingCost, show: Show) -> None:
    lines = show(cost, "en", None).splitlines()
    assert any(line.startswith("Goal") and "balanced: on each machine" in line for line in lines)
    rows = [line for line in lines if " USD)" in line and " CNY (" in line]
    assert {costed.strategy.method for costed in cost.offers[:10]} == {"full", "lora"}
    for row, costed in zip(rows, cost.offers[:10], strict=True):
        points = costed.quality.relative
        told = f" {points.value:+.1f} ({points.low:+.0f}…{points.high:+.0f}) " if points.value else " 0 "
        assert told in row and f"({costed.strategy.method}" in row
    assert any("The rows are not equally good" in line for line in lines)


def test_one_method_is_of_one_quality(
    cost: study.TrainingCost, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    alike = tuple(costed for costed in cost.offers if costed.strategy.method == "full")
    show_training_cost(Face(arguments=(), language="en"), replace(cost, offers=alike))
    assert "The rows are not equally good" not in capsys.readouterr().out
