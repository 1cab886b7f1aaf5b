"""trimtab cost train: what a training costs on machines that are rented out."""

from typing import Annotated

import typer

from trimtab.app.cli import options
from trimtab.app.cli.groups import grouped


@grouped
def train(
    ctx: typer.Context,
    *,
    model: options.Model,
    data: options.MaybeData = None,
    shape: options.Shape,
    columns: options.Columns,
    on: Annotated[
        str | None, typer.Option("--on", metavar="NAME", help="TT-V170", rich_help_panel=options.LIMITS)
    ] = None,
    runs: Annotated[int, typer.Option(metavar="N", help="TT-V171", rich_help_panel=options.LIMITS)] = 1,
    idle: Annotated[float, typer.Option(metavar="X", help="TT-V172", rich_help_panel=options.LIMITS)] = 0.0,
    spot: Annotated[bool, typer.Option("--spot", help="TT-V173", rich_help_panel=options.LIMITS)] = False,
    prices: options.Prices,
    method: options.Method = "auto",
    training: options.Training,
    trust_remote_code: options.TrustCode = False,
    json: options.Json = False,
) -> None:
    from trimtab import study
    from trimtab.app.cli.show.cost import show_training_cost
    from trimtab.study.jsonable import jsonable

    found = study.cost_train(
        model,
        data=data,
        shape=shape.imagined(),
        on=on,
        method=options.method_of(method),
        choices=training.choices(),
        settings=training.settings(),
        reading=columns.reading(training.seed),
        runs=runs,
        idle_share=idle,
        spot=spot,
        pricing=prices.pricing(),
        trust_remote_code=trust_remote_code,
    )
    if json:
        ctx.obj.print_json(jsonable(found, ctx.obj.language))
    else:
        show_training_cost(ctx.obj, found)
