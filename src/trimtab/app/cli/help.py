"""Help pages. Typer's own speak English and cut Chinese lines short, so the pages are laid out here; an option
declares its help as a code of the catalogue, and the page looks it up in the reader's language.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from trimtab.app.cli.face import Face

_DEFAULT_PANEL = "TT-V051"
_WIDEST = 110  # columns; longer lines are hard to read


class VerbCommand(TyperCommand):
    """A verb, with our help page."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        _print_page(ctx, ())


class VerbGroup(TyperGroup):
    """A command with verbs below it, with our help page."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        _print_page(ctx, self.commands.items())


def _print_page(ctx: typer.Context, verbs: Iterable[tuple[str, Any]]) -> None:
    from rich.padding import Padding

    from trimtab.app.cli.flow import Flow

    face: Face = ctx.obj
    out = face.out
    out.width = min(out.width, _WIDEST)
    out.print(f"\n{face.say('TT-V050')}: {_usage(ctx)}\n")
    out.print(Padding(Flow(face.say(ctx.command.help or "TT-V001")), (0, 0, 0, 2)))
    rows = [(name, face.say(verb.help)) for name, verb in verbs]
    _print_panel(face, "TT-V053", rows)
    for panel, parameters in _panels(ctx):
        _print_panel(face, panel, [(_left(p), _right(p, face)) for p in parameters])
    out.print(Padding(Flow(face.say("TT-V002"), "dim"), (1, 0, 1, 2)))


def _usage(ctx: typer.Context) -> str:
    """ "trimtab plan [MODEL] --data D [OPTIONS]": what must be given is shown, the rest is options."""
    words = [ctx.command_path]
    for parameter in ctx.command.params:
        argument = parameter.param_type_name == "argument"
        if parameter.required:
            words.append(_name(parameter) if argument else _left(parameter))
        elif argument:
            words.append(f"[{_name(parameter)}]")
    words.append("VERB ..." if isinstance(ctx.command, VerbGroup) else "[OPTIONS]")
    return " ".join(words)


def _panels(ctx: typer.Context) -> Iterator[tuple[str, list[Any]]]:
    """Parameters by panel, in the order in which the panels first appear; arguments before options."""
    panels: dict[str, list[Any]] = {"TT-V052": [], _DEFAULT_PANEL: []}
    for parameter in ctx.command.get_params(ctx):
        argument = parameter.param_type_name == "argument"
        panel = "TT-V052" if argument else getattr(parameter, "rich_help_panel", None) or _DEFAULT_PANEL
        panels.setdefault(panel, []).append(parameter)
    general = panels.pop(_DEFAULT_PANEL)
    yield from panels.items()
    yield _DEFAULT_PANEL, general


def _print_panel(face: Face, title: str, rows: list[tuple[str, str]]) -> None:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from trimtab.app.cli.flow import Flow

    if not rows:
        return
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1)
    for left, right in rows:
        grid.add_row(Text(left, style="cyan"), Flow(right))
    face.out.print()
    face.out.print(Text(face.say(title), style="bold"))
    face.out.print(Padding(grid, (0, 0, 0, 2)))


def _name(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _left(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return _name(parameter)
    flag = ", ".join(parameter.opts)
    return flag if parameter.is_flag else f"{flag} {_name(parameter)}"


def _right(parameter: Any, face: Face) -> str:
    if parameter.name == "help":
        return face.say("TT-V054")
    text = face.say(parameter.help)
    shown = parameter.default not in (None, False, "", (), []) and not callable(parameter.default)
    if parameter.required:
        return f"{text} {face.say('TT-V055')}"
    return f"{text} {face.say('TT-V056', default=parameter.default)}" if shown else text
