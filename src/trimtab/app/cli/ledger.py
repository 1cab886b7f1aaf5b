"""trimtab ledger: every prediction beside what was measured."""

import typer

from trimtab.app.cli import options


def ledger(ctx: typer.Context, json: options.Json = False) -> None:
    from trimtab import study
    from trimtab.app.cli.show.ledger import show_ledger
    from trimtab.study.jsonable import jsonable

    found = study.ledger()
    if json:
        ctx.obj.print_json(jsonable(found, ctx.obj.language))
    else:
        show_ledger(ctx.obj, found)
