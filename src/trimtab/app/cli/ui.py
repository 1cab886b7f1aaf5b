"""trimtab ui: the page, on this machine alone, until Ctrl-C."""

from typing import Annotated

import typer


def ui(
    ctx: typer.Context,
    port: Annotated[int, typer.Option("--port", metavar="N", help="TT-W103")] = 0,
    folder: Annotated[list[str] | None, typer.Option("--folder", metavar="DIR", help="TT-W104")] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="TT-W105")] = False,
) -> None:
    from trimtab.app.web.start import open_page, ready_page

    page = ready_page(port=port, folders=tuple(folder or (".",)), language=ctx.obj.language)
    ctx.obj.out.print(ctx.obj.say("TT-W107", address=page.address), soft_wrap=True)
    ctx.obj.err.print(ctx.obj.say("TT-W108", folders=", ".join(map(str, page.settings.folders))), soft_wrap=True)
    if not no_browser:
        open_page(page.address)
    page.run()
