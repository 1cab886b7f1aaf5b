"""A group of options: one parameter of the verb, its options to Typer."""

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer

from trimtab.app.cli.cost import train as cost_train
from trimtab.app.cli.estimate import estimate
from trimtab.app.cli.groups import grouped
from trimtab.app.cli.options import Training
from trimtab.app.cli.plan import plan
from trimtab.app.cli.train import train


@dataclass(frozen=True, kw_only=True)
class Size:
    rows: Annotated[int, typer.Option(metavar="N")]
    wide: Annotated[bool, typer.Option("--wide")] = False


@grouped
def show(ctx: typer.Context, *, name: str = "x", size: Size, last: int = 3) -> tuple[str, Size, int]:
    return name, size, last


def test_options_of_a_group_stand_in_its_place_and_come_back_as_one() -> None:
    shown = inspect.signature(show).parameters
    assert list(shown) == ["ctx", "name", "rows", "wide", "last"]
    assert shown["rows"].default is inspect.Parameter.empty and shown["wide"].default is False
    assert typing.get_type_hints(show)["rows"] is int
    assert show(ctx=None, name="y", rows=2, wide=True, last=4) == ("y", Size(rows=2, wide=True), 4)


@pytest.mark.parametrize("verb", [plan, estimate, train, cost_train])
def test_every_verb_that_plans_takes_every_option_of_a_training(verb: Callable[..., None]) -> None:
    assert set(inspect.signature(Training).parameters) <= set(inspect.signature(verb).parameters)
