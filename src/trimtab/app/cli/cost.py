"""trimtab cost train, serve and total: what a training costs on machines that are rented out, what it costs to
answer requests, and both over months."""

from typing import Annotated

import typer

from trimtab.app.cli import options, serving_options
from trimtab.app.cli.groups import grouped


@grouped
def train(
    ctx: typer.Context,
    *,
    model: options.Model,
    data: options.MaybeData = None,
    shape: options.Shape,
    columns: options.Columns,
    on: Annotated[
        str | None, typer.Option("--on", metavar="NAME", help="TT-V170", rich_help_panel=options.LIMITS)
    ] = None,
    runs: options.Runs,
    offers: options.Offers,
    method: options.Method = "auto",
    training: options.Training,
    trust_remote_code: options.TrustCode = False,
    json: options.Json = False,
) -> None:
    from trimtab import study
    from trimtab.app.cli.show.cost import show_training_cost

    found = study.cost_train(
        model,
        data=data,
        shape=shape.imagined(),
        on=on,
        method=options.method_of(method),
        choices=training.choices(),
        settings=training.settings(),
        reading=columns.reading(training.seed),
        runs=runs.runs,
        idle_share=runs.idle,
        spot=offers.spot,
        pricing=offers.pricing(),
        trust_remote_code=trust_remote_code,
    )
    ctx.obj.show(found, show_training_cost)


@grouped
def serve(
    ctx: typer.Context,
    *,
    model: serving_options.ServedModel,
    requests: serving_options.Requests,
    adapters: serving_options.Adapters = 0,
    on: serving_options.OnMachines = None,
    computed: serving_options.Computed,
    said: serving_options.ThroughputSaid,
    price: Annotated[
        str | None, typer.Option("--price", metavar="SUM", help="TT-V766", rich_help_panel=options.LIMITS)
    ] = None,
    offers: options.Offers,
    trust_remote_code: options.TrustCode = False,
    json: options.Json = False,
) -> None:
    from trimtab import study
    from trimtab.app.cli.show.serving_cost import show_serving_cost

    found = study.cost_serve(
        model,
        requests.traffic(),
        adapters=adapters,
        on=serving_options.machine_names(on),
        choice=computed.choice(),
        spot=offers.spot,
        throughput=said.measured(),
        price=options.sum_of(price),
        pricing=offers.pricing(),
        trust_remote_code=trust_remote_code,
    )
    ctx.obj.show(found, show_serving_cost)


@grouped
def total(
    ctx: typer.Context,
    *,
    model: serving_options.ServedModel,
    requests: serving_options.Requests,
    ways: serving_options.Ways,
    on: serving_options.OnMachines = None,
    computed: serving_options.Computed,
    data: options.MaybeData = None,
    shape: options.Shape,
    columns: options.Columns,
    runs: options.Runs,
    offers: options.Offers,
    trust_remote_code: options.TrustCode = False,
    json: options.Json = False,
) -> None:
    from trimtab import study
    from trimtab.app.cli.show.total_cost import show_total_cost

    found = study.cost_total(
        model,
        requests.traffic(),
        tasks=ways.tasks,
        months=ways.months,
        student=ways.student,
        api=ways.api(),
        data=data,
        shape=shape.imagined(),
        reading=columns.reading(seed=0),
        runs=runs.runs,
        idle_share=runs.idle,
        on=serving_options.machine_names(on),
        choice=computed.choice(),
        spot=offers.spot,
        pricing=offers.pricing(),
        trust_remote_code=trust_remote_code,
    )
    ctx.obj.show(found, show_total_cost)
