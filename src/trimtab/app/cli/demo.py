"""trimtab demo: plan, train and report on an embedded model and real text, without a network."""

import tempfile
from typing import Annotated

import typer

from trimtab.app.cli import options


def demo(
    ctx: typer.Context,
    out: Annotated[str | None, typer.Option("--out", metavar="DIR", help="TT-V154")] = None,
    json: options.Json = False,
) -> None:
    from trimtab import study
    from trimtab.app.cli.show.training import follow

    folder = out or tempfile.mkdtemp(prefix="trimtab-demo-")
    request = study.TrainRequest(model="demo", data="demo", out=folder, language=ctx.obj.language)
    follow(ctx.obj, study.train(request))
