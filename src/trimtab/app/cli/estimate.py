"""trimtab estimate: memory, time, disk and money of one strategy, on real data or on a shape of data."""

import typer

from trimtab.app.cli import options


def estimate(
    ctx: typer.Context,
    *,
    model: options.Model,
    method: options.Method,
    data: options.MaybeData = None,
    rows: options.Rows = None,
    length: options.Length = None,
    labels: options.Labels = None,
    task: options.Task = None,
    text: options.Text = None,
    label: options.Label = None,
    on: options.On = None,
    rank: options.Rank = None,
    top_layers: options.TopLayers = None,
    epochs: options.Epochs = None,
    batch: options.Batch = None,
    lr: options.Rate = None,
    max_length: options.MaxLength = None,
    precision: options.Precision = None,
    seed: options.Seed = 0,
    trust_remote_code: options.TrustCode = False,
    exact: options.Exact = False,
    json: options.Json = False,
) -> None:
    from trimtab import study
    from trimtab.app.cli.show.plan import show_plan

    planned = study.estimate(
        model,
        method=options.method_of(method),
        data=data,
        shape=options.shape(rows, length, labels),
        on=on,
        choices=options.choices(rank, top_layers),
        settings=options.settings(
            epochs=epochs, batch=batch, lr=lr, max_length=max_length, precision=precision, seed=seed
        ),
        reading=options.reading(task, text, label, seed),
        trust_remote_code=trust_remote_code,
        exact=exact,
    )
    show_plan(ctx.obj, planned)
