"""trimtab adapters: what trainings have left in a folder, one by one or as a list; merge, import, delete."""

import sys
from typing import TYPE_CHECKING, Annotated, cast

import typer

from trimtab.app.cli import options
from trimtab.errors import UsageError

if TYPE_CHECKING:
    from trimtab import methods
    from trimtab.app.cli.face import Face
    from trimtab.study import ArtifactRow

_Name = Annotated[str, typer.Argument(metavar="NAME|DIR", help="TT-V400")]
_In = Annotated[str | None, typer.Option("--in", metavar="FOLDER", help="TT-V401")]
_Out = Annotated[str, typer.Option("--out", metavar="DIR", help="TT-V402")]


def list_(
    ctx: typer.Context,
    folder: Annotated[str | None, typer.Argument(metavar="[FOLDER]", help="TT-V401", show_default=False)] = None,
    json: options.Json = False,
) -> None:
    from trimtab import study
    from trimtab.app.cli.show.adapters import show_rows

    rows = study.list_adapters(folder)
    ctx.obj.show(rows, show_rows)


def show(ctx: typer.Context, name: _Name, folder: _In = None, json: options.Json = False) -> None:
    from trimtab import study
    from trimtab.app.cli.show.adapters import show_view

    view = study.show_adapter(name, folder)
    ctx.obj.show(view, show_view)


def merge(
    ctx: typer.Context,
    *,
    name: _Name,
    out: _Out,
    folder: _In = None,
    trust_remote_code: options.TrustCode = False,
    json: options.Json = False,
) -> None:
    from trimtab import study
    from trimtab.app.cli.show.adapters import show_made
    from trimtab.study.jsonable import jsonable

    made = study.merge_adapter(name, out, folder, trust_remote_code=trust_remote_code)
    if json:
        ctx.obj.print_json(jsonable(made, ctx.obj.language))
    else:
        show_made(ctx.obj, made, "TT-V440")


def import_(
    ctx: typer.Context,
    *,
    folder: Annotated[str, typer.Argument(metavar="PEFT_DIR", help="TT-V403")],
    base: Annotated[str, typer.Option("--base", metavar="MODEL", help="TT-V404")],
    out: _Out,
    labels: Annotated[str | None, typer.Option("--labels", metavar="A,B,..", help="TT-V405")] = None,
    task: options.Task = None,
    text: options.Text = None,
    label: options.Label = None,
    max_length: Annotated[int | None, typer.Option("--max-length", metavar="N", help="TT-V409")] = None,
    precision: Annotated[
        str | None, typer.Option("--precision", metavar=options.PRECISIONS, help="TT-V406")
    ] = None,
    json: options.Json = False,
) -> None:
    from trimtab import study
    from trimtab.app.cli.show.adapters import show_made
    from trimtab.study.jsonable import jsonable

    made = study.import_adapter(
        folder,
        base,
        out,
        task=options.reading(task, text, label, seed=0).task,
        labels=tuple(name.strip() for name in labels.split(",")) if labels else (),
        columns=tuple(text) if text else ("text",),
        label_column=label or "label",
        max_length=max_length,
        precision=cast("methods.Precision | None", precision),
    )
    if json:
        ctx.obj.print_json(jsonable(made, ctx.obj.language))
    else:
        show_made(ctx.obj, made, "TT-V441")


def delete(
    ctx: typer.Context,
    *,
    name: _Name,
    folder: _In = None,
    yes: Annotated[bool, typer.Option("--yes", help="TT-V407")] = False,
    json: options.Json = False,
) -> None:
    from trimtab import study
    from trimtab.study.jsonable import jsonable

    row = study.deletable_adapter(name, folder)
    if not yes and not _agreed(ctx.obj, row):
        ctx.obj.err.print(ctx.obj.say("TT-V452"))
        raise typer.Exit(1)
    gone = study.delete_adapter(name, folder)
    if json:
        ctx.obj.print_json(jsonable(gone, ctx.obj.language))
    else:
        ctx.obj.out.print(ctx.obj.say("TT-V451", folder=gone.folder, size=gone.size_bytes))


def _agreed(face: "Face", row: "ArtifactRow") -> bool:
    """Ask on stderr. Raises UsageError TT-U104 where nobody is there to answer."""
    if face.json or not sys.stdin.isatty():
        raise UsageError("TT-U104", folder=row.folder)
    asked = face.say("TT-V450", folder=row.folder, size=row.size_bytes, method=row.method, task=row.task)
    sys.stderr.write(f"{asked} ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes", "是", "好")
