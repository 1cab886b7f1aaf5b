"""trimtab plan: every strategy predicted, the best one chosen, and why not the others; of one model or more."""

from collections.abc import Callable
from typing import TypeVar

import typer

from trimtab.app.cli import options
from trimtab.app.cli.groups import grouped
from trimtab.errors import UsageError

Answer = TypeVar("Answer")


@grouped
def plan(
    ctx: typer.Context,
    *,
    model: options.Model = "demo",
    models: options.Models = None,
    data: options.Data,
    columns: options.Columns,
    on: options.On = None,
    limits: options.Limits,
    prices: options.Prices,
    goal: options.Goal = "balanced",
    method: options.Method = "auto",
    training: options.Training,
    trust_remote_code: options.TrustCode = False,
    json: options.Json = False,
) -> None:
    from trimtab import study
    from trimtab.app.cli.show.models import show_models
    from trimtab.app.cli.show.plan import show_plan

    source = ctx.get_parameter_source("model")
    model_typed = source is not None and source.name == "COMMANDLINE"

    def answer(verb: Callable[..., Answer], asked_of: str | list[str]) -> Answer:
        return verb(
            asked_of,
            data,
            on=on,
            goal=options.goal_of(goal),
            limits=limits.limits(),
            method=options.method_of(method),
            choices=training.choices(),
            settings=training.settings(),
            reading=columns.reading(training.seed),
            trust_remote_code=trust_remote_code,
            price=limits.hourly(),
            pricing=prices.pricing(),
        )

    if models is None:
        show_plan(ctx.obj, answer(study.plan, model), model_typed=model_typed)
        return
    if model_typed:
        raise UsageError("TT-U016", model=model)
    named = [name.strip() for name in models.split(",") if name.strip()]
    show_models(ctx.obj, answer(study.plan_models, named))
