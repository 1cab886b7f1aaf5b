"""trimtab bench: how fast models answer, side by side."""

from typing import Annotated

import typer

from trimtab.app.cli import options


def bench(
    ctx: typer.Context,
    *,
    folders: Annotated[list[str], typer.Argument(metavar="DIR..", help="TT-V521")],
    length: Annotated[int, typer.Option("--length", metavar="N", help="TT-V518")] = 32,
    batch: Annotated[int, typer.Option("--batch", metavar="N", help="TT-V519")] = 32,
    rounds: Annotated[int, typer.Option("--rounds", metavar="N", help="TT-V520")] = 100,
    trust_remote_code: options.TrustCode = False,
    json: options.Json = False,
) -> None:
    from trimtab import study
    from trimtab.app.cli.show.compressing import show_speeds
    from trimtab.study.jsonable import jsonable

    timed = study.bench(folders, length=length, batch=batch, rounds=rounds, trust_remote_code=trust_remote_code)
    if json:
        ctx.obj.print_json(jsonable(timed))
    else:
        show_speeds(ctx.obj, timed)
