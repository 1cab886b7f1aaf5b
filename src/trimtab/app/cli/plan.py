"""trimtab plan: every strategy predicted, the best one chosen, and why not the others."""

import typer

from trimtab.app.cli import options


def plan(
    ctx: typer.Context,
    *,
    model: options.Model = "demo",
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
    from trimtab.app.cli.show.plan import show_plan

    planned = study.plan(
        model,
        data,
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
    source = ctx.get_parameter_source("model")
    show_plan(ctx.obj, planned, model_typed=source is not None and source.name == "COMMANDLINE")
