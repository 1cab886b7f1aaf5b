"""trimtab train: plan, preflight, train, evaluate, report."""

from typing import Annotated

import typer

from trimtab.app.cli import options
from trimtab.app.cli.groups import grouped


@grouped
def train(
    ctx: typer.Context,
    *,
    model: options.Model,
    data: options.Data,
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="TT-V150")],
    resume: Annotated[bool, typer.Option("--resume", help="TT-V151")] = False,
    allow_changed: Annotated[bool, typer.Option("--allow-changed", help="TT-V152")] = False,
    trust_remote_code: options.TrustCode = False,
    columns: options.Columns,
    keep_overlap: options.KeepOverlap = False,
    limits: options.Limits,
    rate: options.Exchange = None,
    goal: options.Goal = "balanced",
    method: options.Method = "auto",
    training: options.Training,
    events: Annotated[str | None, typer.Option("--events", metavar="jsonl", help="TT-W102")] = None,
    json: options.Json = False,
) -> None:
    from trimtab import study
    from trimtab.app.cli.show.events import print_events, require_format

    if events is not None:
        require_format(events)

    request = study.TrainRequest(
        model=model,
        data=data,
        out=out,
        resume=resume,
        allow_changed=allow_changed,
        trust_remote_code=trust_remote_code,
        goal=options.goal_of(goal),
        limits=limits.limits(),
        method=options.method_of(method),
        choices=training.choices(),
        settings=training.settings(),
        reading=columns.reading(training.seed, keep_overlap),
        price=limits.hourly(),
        pricing=options.pricing(None, rate),
        language=ctx.obj.language,
    )
    happening = study.train(request)
    if events is not None:
        print_events(ctx.obj, happening)
        return
    from trimtab.app.cli.show.training import follow  # torch, which a refusal need not wait for

    follow(ctx.obj, happening)
