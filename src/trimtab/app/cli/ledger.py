"""trimtab ledger: every prediction beside what was measured."""

import typer

from trimtab.app.cli import options


def ledger(ctx: typer.Context, json: options.Json = False) -> None:
    from trimtab import study
    from trimtab.app.cli.show.ledger import show_ledger

    found = study.ledger()
    ctx.obj.show(found, show_ledger)
