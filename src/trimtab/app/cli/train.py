"""trimtab train: plan, preflight, train, evaluate, report."""

from typing import Annotated

import typer

from trimtab.app.cli import options


def train(
    ctx: typer.Context,
    *,
    model: options.Model,
    data: options.Data,
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="TT-V150")],
    resume: Annotated[bool, typer.Option("--resume", help="TT-V151")] = False,
    allow_changed: Annotated[bool, typer.Option("--allow-changed", help="TT-V152")] = False,
    trust_remote_code: options.TrustCode = False,
    task: options.Task = None,
    text: options.Text = None,
    label: options.Label = None,
    keep_overlap: options.KeepOverlap = False,
    memory: options.Memory = None,
    time: options.Time = None,
    money: options.Money = None,
    price: options.Price = None,
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
    json: options.Json = False,
) -> None:
    from trimtab import study

    request = study.TrainRequest(
        model=model,
        data=data,
        out=out,
        resume=resume,
        allow_changed=allow_changed,
        trust_remote_code=trust_remote_code,
        goal=options.goal_of(goal),
        limits=options.limits(memory, time, money),
        method=options.method_of(method),
        choices=options.choices(rank, top_layers),
        settings=options.settings(
            epochs=epochs, batch=batch, lr=lr, max_length=max_length, precision=precision, seed=seed
        ),
        reading=options.reading(task, text, label, seed, keep_overlap),
        price=options.sum_of(price),
        pricing=options.pricing(None, rate),
        language=ctx.obj.language,
    )
    events = study.train(request)
    from trimtab.app.cli.show.training import follow  # torch, which a refusal need not wait for

    follow(ctx.obj, events)
