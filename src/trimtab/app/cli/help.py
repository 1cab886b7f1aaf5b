"""Help pages. Typer's own speak English and cut Chinese lines short, so the pages are laid out here. An
option declares its help as a code of the catalogue; the page looks it up in the reader's language.
"""

import difflib
from collections.abc import Iterable, Iterator
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from trimtab.app.cli.face import Face
from trimtab.errors import UsageError, message

_DEFAULT_PANEL = "TT-V051"
_WIDEST = 110  # columns; longer lines are hard to read


class VerbCommand(TyperCommand):
    """A verb, with our help page."""

    allow_extra_args = True  # refused below: the parser would do it in English

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Raises UsageError TT-V917 where words are left over."""
        rest = super().parse_args(ctx, args)
        if rest and not ctx.resilient_parsing:
            raise UsageError("TT-V917", extra=" ".join(rest), verb=ctx.command_path)
        return rest

    def format_help(self, ctx: Any, formatter: Any) -> None:
        _print_page(ctx, ())


class VerbGroup(TyperGroup):
    """A command with verbs below it, with our help page."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        _print_page(ctx, self.commands.items())

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The verb that was typed. Raises UsageError TT-V910 with the nearest."""
        if args[0] not in self.commands:
            nearest = difflib.get_close_matches(args[0], self.commands, n=1, cutoff=0.0)[0]
            raise UsageError("TT-V910", asked=args[0], nearest=nearest, known=", ".join(self.commands))
        return super().resolve_command(ctx, args)


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
    parameters = ctx.command.params
    arguments = [parameter for parameter in parameters if parameter.param_type_name == "argument"]
    positions = [_name(p) if p.required else f"[{_name(p)}]" for p in arguments]
    required = [_left(p) for p in parameters if p.required and p not in arguments]
    rest = "VERB ..." if isinstance(ctx.command, VerbGroup) else "[OPTIONS]"
    return " ".join((ctx.command_path, *positions, *required, rest))


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
    face.out.print(Padding(grid, (0, 0, 0, 2), expand=False))


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
    text = message(parameter.help)
    if parameter.required:
        return face.say("TT-V055", text=text)
    if parameter.default in (None, False):
        return face.tell(text)
    return face.say("TT-V056", text=text, default=parameter.default)
