"""trimtab estimate: memory, time, disk and money of one strategy, on real data or on a shape of data; or memory
and time of every row of a table of setups."""

from typing import TYPE_CHECKING

import typer

from trimtab.app.cli import options
from trimtab.errors import UsageError

if TYPE_CHECKING:
    from trimtab.app.cli.face import Face
    from trimtab.study import Pricing


def estimate(
    ctx: typer.Context,
    *,
    model: options.MaybeModel = None,
    method: options.MaybeMethod = None,
    rows: options.Rows = None,
    data: options.MaybeData = None,
    examples: options.Examples = None,
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
    prices: options.Prices = None,
    rate: options.Exchange = None,
    json: options.Json = False,
) -> None:
    if rows is not None:
        _refuse_beside_rows(ctx)
        _estimate_rows(ctx.obj, rows, exact=exact, pricing=options.pricing(prices, rate))
        return
    from trimtab import study
    from trimtab.app.cli.show.plan import show_plan

    model, method = _named("MODEL", model), _named("--method", method)
    planned = study.estimate(
        model,
        method=options.method_of(method),
        data=data,
        shape=options.shape(examples, length, labels),
        on=on,
        choices=options.choices(rank, top_layers),
        settings=options.settings(
            epochs=epochs, batch=batch, lr=lr, max_length=max_length, precision=precision, seed=seed
        ),
        reading=options.reading(task, text, label, seed),
        trust_remote_code=trust_remote_code,
        exact=exact,
        pricing=options.pricing(prices, rate),
    )
    show_plan(ctx.obj, planned)


def _named(word: str, value: str | None) -> str:
    """Raises UsageError where what an estimate of one strategy needs was not said."""
    if value is None:
        raise UsageError("TT-U013", word=word)
    return value


def _refuse_beside_rows(ctx: typer.Context) -> None:
    """A row says all there is to say. Raises UsageError for whatever is said beside."""
    said, alone = [], ("rows", "exact", "prices", "rate", "json")
    for parameter in ctx.command.params:
        source = ctx.get_parameter_source(parameter.name or "")
        if parameter.name not in alone and source and source.name == "COMMANDLINE":
            said.append("MODEL" if parameter.name == "model" else parameter.opts[0])
    if said:
        raise UsageError("TT-U014", said=", ".join(said))


def _estimate_rows(face: "Face", file: str, *, exact: bool, pricing: "Pricing") -> None:
    from trimtab import study
    from trimtab.app.cli.show.rows import show_rows

    show_rows(face, study.estimate_rows(file, exact=exact, pricing=pricing))
