"""trimtab evaluate: how good a trained artifact is on a data set, with intervals."""

import typer

from trimtab.app.cli import options


def evaluate(
    ctx: typer.Context,
    *,
    folder: options.Folder,
    data: options.Data,
    text: options.Text = None,
    label: options.Label = None,
    trust_remote_code: options.TrustCode = False,
    json: options.Json = False,
) -> None:
    from trimtab import study
    from trimtab.app.cli.show.score import show_score
    from trimtab.study.jsonable import jsonable

    reading = options.reading(None, text, label, seed=0)
    score = study.evaluate(folder, data, reading, trust_remote_code=trust_remote_code)
    if json:
        ctx.obj.print_json(jsonable(score))
    else:
        show_score(ctx.obj, score)
