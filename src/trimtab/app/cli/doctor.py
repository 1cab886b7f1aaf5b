"""trimtab doctor: this machine, what it can do, what is missing."""

import typer

from trimtab.app.cli import options


def doctor(ctx: typer.Context, json: options.Json = False) -> None:
    from trimtab import study
    from trimtab.app.cli.show.machine import show_diagnosis
    from trimtab.study.jsonable import jsonable

    diagnosis = study.doctor()
    if json:
        ctx.obj.print_json(jsonable(diagnosis, ctx.obj.language))
    else:
        show_diagnosis(ctx.obj, diagnosis)
