"""trimtab compare: a bake-off under a budget; which strategy is best for these data on this machine, measured."""

from typing import TYPE_CHECKING, Annotated, cast

import typer

from trimtab.app.cli import options
from trimtab.app.cli.groups import grouped

if TYPE_CHECKING:
    from trimtab.study.bakeoff import Objective


@grouped
def compare(
    ctx: typer.Context,
    *,
    model: options.Model = "demo",
    models: options.Models = None,
    data: options.Data,
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="TT-B051")],
    methods: Annotated[str | None, typer.Option("--methods", metavar="A,B,..", help="TT-B050")] = None,
    seeds: Annotated[int, typer.Option("--seeds", metavar="N", help="TT-B052")] = 3,
    frontier: Annotated[str, typer.Option("--frontier", metavar="A,B,..", help="TT-B057")] = "score,memory,time",
    store: Annotated[str | None, typer.Option("--store", metavar="URL", help="TT-B053")] = None,
    columns: options.Columns,
    keep_overlap: options.KeepOverlap = False,
    limits: options.Limits,
    rate: options.Exchange = None,
    training: options.Training,
    trust_remote_code: options.TrustCode = False,
    json: options.Json = False,
) -> None:
    from trimtab import study
    from trimtab.app.cli.show.comparing import follow

    request = study.CompareRequest(
        models=options.several(models) or (model,),
        data=data,
        out=out,
        methods=options.several(methods),
        seeds=seeds,
        objectives=cast("tuple[Objective, ...]", options.several(frontier)),  # the verb refuses another word
        store=store,
        limits=limits.limits(),
        choices=training.choices(),
        settings=training.settings(),
        reading=columns.reading(training.seed, keep_overlap),
        price=limits.hourly(),
        pricing=options.pricing(None, rate),
        trust_remote_code=trust_remote_code,
        language=ctx.obj.language,
    )
    follow(ctx.obj, study.compare(request))
