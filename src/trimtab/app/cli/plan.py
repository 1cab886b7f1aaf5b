"""trimtab plan: every strategy predicted, the best one chosen, and why not the others; of one model or more."""

from typing import TYPE_CHECKING, TypedDict

import typer

from trimtab.app.cli import options
from trimtab.errors import UsageError

if TYPE_CHECKING:
    from trimtab.methods import Choices
    from trimtab.planning import Goal, Limits, Settings
    from trimtab.study import Pricing, Reading
    from trimtab.units import Money


class _Asked(TypedDict):
    """What both verbs of the library take, by their own names."""

    on: str | None
    goal: "Goal"
    limits: "Limits"
    method: str | None
    choices: "Choices"
    settings: "Settings"
    reading: "Reading"
    trust_remote_code: bool
    price: "Money | None"
    pricing: "Pricing"


def plan(
    ctx: typer.Context,
    *,
    model: options.Model = "demo",
    models: options.Models = None,
    data: options.Data,
    task: options.Task = None,
    text: options.Text = None,
    label: options.Label = None,
    on: options.On = None,
    memory: options.Memory = None,
    time: options.Time = None,
    money: options.Money = None,
    price: options.Price = None,
    prices: options.Prices = None,
    rate: options.Exchange = None,
    goal: options.Goal = "balanced",
    method: options.Method = "auto",
    rank: options.Rank = None,
    top_layers: options.TopLayers = None,
    epochs: options.Epochs = None,
    batch: options.Batch = None,
    lr: options.Rate = None,
    max_length: options.MaxLength = None,
    precision: options.Precision = None,
    seed: options.Seed = 0,
    trust_remote_code: options.TrustCode = False,
    json: options.Json = False,
) -> None:
    from trimtab import study
    from trimtab.app.cli.show.models import show_models
    from trimtab.app.cli.show.plan import show_plan

    source = ctx.get_parameter_source("model")
    model_typed = source is not None and source.name == "COMMANDLINE"
    asked = _Asked(
        on=on,
        goal=options.goal_of(goal),
        limits=options.limits(memory, time, money),
        method=options.method_of(method),
        choices=options.choices(rank, top_layers),
        settings=options.settings(
            epochs=epochs, batch=batch, lr=lr, max_length=max_length, precision=precision, seed=seed
        ),
        reading=options.reading(task, text, label, seed),
        trust_remote_code=trust_remote_code,
        price=options.sum_of(price),
        pricing=options.pricing(prices, rate),
    )
    if models is None:
        show_plan(ctx.obj, study.plan(model, data, **asked), model_typed=model_typed)
        return
    if model_typed:
        raise UsageError("TT-U016", model=model)
    named = [name.strip() for name in models.split(",") if name.strip()]
    show_models(ctx.obj, study.plan_models(named, data, **asked))
