"""trimtab predict: labels or values for texts, one line each."""

import json as json_module
import sys
from typing import Annotated

import typer

from trimtab.app.cli import options


def predict(
    ctx: typer.Context,
    *,
    folder: options.Folder,
    text: Annotated[list[str] | None, typer.Option("--text", metavar="TEXT", help="TT-V160")] = None,
    file: Annotated[str | None, typer.Option("--file", metavar="F", help="TT-V161")] = None,
    passages: Annotated[bool, typer.Option("--passages", help="TT-D152")] = False,
    trust_remote_code: options.TrustCode = False,
    json: options.Json = False,
) -> None:
    from trimtab import study
    from trimtab.app.cli.show.score import prediction_line
    from trimtab.errors import UsageError
    from trimtab.study.jsonable import jsonable

    if (text is None) == (file is None):
        raise UsageError("TT-V162")
    answers = study.predict(
        folder, text=tuple(text or ()), file=file, passages=passages, trust_remote_code=trust_remote_code
    )
    for prediction in answers:
        if json:
            line = json_module.dumps(jsonable(prediction), ensure_ascii=False, allow_nan=False)
        else:
            line = prediction_line(prediction)
        sys.stdout.write(line + "\n")
        sys.stdout.flush()  # whoever feeds lines through a pipe waits for each answer
