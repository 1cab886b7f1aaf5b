"""trimtab compare: a bake-off under a budget; which strategy is best for these data on this machine, measured."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

import typer

from trimtab.app.cli import options
from trimtab.app.cli.groups import grouped

if TYPE_CHECKING:
    from trimtab.study.bakeoff import Objective


@dataclass(frozen=True, kw_only=True)
class Tried:
    """Who takes part, how often, and what is looked at; where others see it."""

    methods: Annotated[str | None, typer.Option("--methods", metavar="A,B,..", help="TT-B050")] = None
    seeds: Annotated[int, typer.Option("--seeds", metavar="N", help="TT-B052")] = 3
    frontier: Annotated[str, typer.Option("--frontier", metavar="A,B,..", help="TT-B057")] = "score,memory,time"
    store: Annotated[str | None, typer.Option("--store", metavar="URL", help="TT-B053")] = None


@grouped
def compare(
    ctx: typer.Context,
    *,
    model: options.Model = "demo",
    models: options.Models = None,
    data: options.Data,
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="TT-B051")],
    tried: Tried,
    columns: options.Columns,
    keep_overlap: options.KeepOverlap = False,
    limits: options.Limits,
    rate: options.Exchange = None,
    training: options.Training,
    trust_remote_code: options.TrustCode = False,
    events: Annotated[str | None, typer.Option("--events", metavar="jsonl", help="TT-W102")] = None,
    json: options.Json = False,
) -> None:
    from trimtab import study
    from trimtab.app.cli.show.comparing import follow
    from trimtab.app.cli.show.events import print_events, require_format

    if events is not None:
        require_format(events)

    request = study.CompareRequest(
        models=options.models_of(ctx, model, models),
        data=data,
        out=out,
        methods=options.several(tried.methods),
        seeds=tried.seeds,
        objectives=cast("tuple[Objective, ...]", options.several(tried.frontier)),  # the verb refuses another word
        store=tried.store,
        limits=limits.limits(),
        choices=training.choices(),
        settings=training.settings(),
        reading=columns.reading(training.seed, keep_overlap),
        price=limits.hourly(),
        pricing=options.pricing(None, rate),
        trust_remote_code=trust_remote_code,
        language=ctx.obj.language,
    )
    happening = study.compare(request)
    if events is None:
        follow(ctx.obj, happening)
    else:
        print_events(ctx.obj, happening)
