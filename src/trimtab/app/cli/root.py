"""The command itself, above the verbs: its version, and the flags that work everywhere."""

from typing import Annotated

import typer

from trimtab import __version__


def root(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="TT-V141")] = False,
    # These two may stand anywhere: Face reads them before the parser runs. They stand here for the help page.
    lang: Annotated[str | None, typer.Option("--lang", metavar="en|zh", help="TT-V142")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="TT-V143")] = False,
) -> None:
    if version:
        ctx.obj.out.print(f"trimtab {__version__}")
    else:
        help_if_alone(ctx)


def help_if_alone(ctx: typer.Context) -> None:
    """Without a verb there is nothing to do but to show the verbs."""
    if ctx.invoked_subcommand is None:
        ctx.get_help()
