"""The words on the help pages are the words of the rooms."""

import typing

from trimtab import data, methods, planning
from trimtab.app.cli import options


def test_lists_on_help_pages_are_the_rooms_lists() -> None:
    assert tuple(options.GOALS.split("|")) == planning.GOALS
    assert set(options.METHODS.split("|")) == {"auto"} | {method.name for method in methods.METHODS}
    assert options.PRECISIONS.split("|") == list(methods.PRECISIONS)
    assert tuple(options.TASKS.split("|")) == data.TASKS == typing.get_args(data.Task)
