"""trimtab doctor: this machine, what it can do, what is missing."""

import typer

from trimtab.app.cli import options


def doctor(ctx: typer.Context, json: options.Json = False) -> None:
    from trimtab import study
    from trimtab.app.cli.show.machine import show_diagnosis

    diagnosis = study.doctor()
    ctx.obj.show(diagnosis, show_diagnosis)
