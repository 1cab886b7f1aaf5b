"""trimtab data check: what a data set is and what is wrong with it, before anything is trained on it."""

from typing import Annotated

import typer

from trimtab.app.cli import options


def check(
    ctx: typer.Context,
    *,
    data: options.DataArgument,
    model: Annotated[
        str | None, typer.Option("--model", metavar="MODEL", help="TT-V164", rich_help_panel=options.DATA)
    ] = None,
    task: options.Task = None,
    text: options.Text = None,
    label: options.Label = None,
    keep_overlap: options.KeepOverlap = False,
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    from trimtab import study
    from trimtab.app.cli.show.data import show_data

    checked = study.check(data, options.reading(task, text, label, seed, keep_overlap), model=model)
    ctx.obj.show(checked, show_data)
