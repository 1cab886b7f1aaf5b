"""trimtab estimate: memory, time, disk and money of one strategy, on real data or on a shape of data; or memory
and time of every row of a table of setups."""

from typing import TYPE_CHECKING

import typer

from trimtab.app.cli import options
from trimtab.app.cli.groups import grouped
from trimtab.errors import UsageError

if TYPE_CHECKING:
    from trimtab.app.cli.face import Face
    from trimtab.study import Pricing


@grouped
def estimate(
    ctx: typer.Context,
    *,
    model: options.MaybeModel = None,
    method: options.MaybeMethod = None,
    rows: options.Rows = None,
    data: options.MaybeData = None,
    shape: options.Shape,
    columns: options.Columns,
    on: options.On = None,
    training: options.Training,
    trust_remote_code: options.TrustCode = False,
    exact: options.Exact = False,
    trainable: options.Trainable = False,
    prices: options.Prices,
    json: options.Json = False,
) -> None:
    if rows is not None:
        _refuse_beside_rows(ctx)
        _estimate_rows(ctx.obj, rows, exact=exact, pricing=prices.pricing())
        return
    from trimtab import study
    from trimtab.app.cli.show.plan import show_plan

    model, method = _named("MODEL", model), _named("--method", method)
    planned = study.estimate(
        model,
        method=options.method_of(method),
        data=data,
        shape=shape.imagined(),
        on=on,
        choices=training.choices(),
        settings=training.settings(),
        reading=columns.reading(training.seed),
        trust_remote_code=trust_remote_code,
        exact=exact,
        trainable=trainable,
        pricing=prices.pricing(),
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
