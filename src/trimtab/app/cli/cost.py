"""trimtab cost train: what a training costs on machines that are rented out."""

from typing import Annotated

import typer

from trimtab.app.cli import options


def train(
    ctx: typer.Context,
    *,
    model: options.Model,
    data: options.MaybeData = None,
    examples: options.Examples = None,
    length: options.Length = None,
    labels: options.Labels = None,
    task: options.Task = None,
    text: options.Text = None,
    label: options.Label = None,
    on: Annotated[
        str | None, typer.Option("--on", metavar="NAME", help="TT-V170", rich_help_panel=options.LIMITS)
    ] = None,
    runs: Annotated[int, typer.Option(metavar="N", help="TT-V171", rich_help_panel=options.LIMITS)] = 1,
    idle: Annotated[float, typer.Option(metavar="X", help="TT-V172", rich_help_panel=options.LIMITS)] = 0.0,
    spot: Annotated[bool, typer.Option("--spot", help="TT-V173", rich_help_panel=options.LIMITS)] = False,
    prices: options.Prices = None,
    rate: options.Exchange = None,
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
    from trimtab.app.cli.show.cost import show_training_cost
    from trimtab.study.jsonable import jsonable

    found = study.cost_train(
        model,
        data=data,
        shape=options.shape(examples, length, labels),
        on=on,
        method=options.method_of(method),
        choices=options.choices(rank, top_layers),
        settings=options.settings(
            epochs=epochs, batch=batch, lr=lr, max_length=max_length, precision=precision, seed=seed
        ),
        reading=options.reading(task, text, label, seed),
        runs=runs,
        idle_share=idle,
        spot=spot,
        pricing=options.pricing(prices, rate),
        trust_remote_code=trust_remote_code,
    )
    if json:
        ctx.obj.print_json(jsonable(found, ctx.obj.language))
    else:
        show_training_cost(ctx.obj, found)
