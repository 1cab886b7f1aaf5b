"""trimtab serve: adapters on one base, over HTTP; or handed over to another server."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.app.cli import options, serve_options
from trimtab.app.cli.groups import grouped
from trimtab.errors import UsageError

if TYPE_CHECKING:
    from trimtab.study import ServeRequest

_serving = partial(typer.Option, rich_help_panel=serve_options.SERVING)
_handed = partial(typer.Option, rich_help_panel="TT-V722")
_HANDOVER_ALONE = ("out", "kind", "json")


@grouped
def serve(
    ctx: typer.Context,
    *,
    model: options.Model,
    adapter: Annotated[list[str] | None, _serving("--adapter", metavar="NAME=DIR", help="TT-V701")] = None,
    port: serve_options.Port = None,
    listening: serve_options.Listening,
    limits: serve_options.ServiceLimits,
    print_: Annotated[str | None, _handed("--print", metavar="SERVER", help="TT-V715")] = None,
    out: Annotated[str | None, _handed("--out", metavar="DIR", help="TT-V716")] = None,
    kind: Annotated[str, _handed("--kind", metavar="q8|q4|..", help="TT-V717")] = "q8",
    trust_remote_code: options.TrustCode = False,
    json: options.Json = False,
) -> None:
    named = tuple(map(_named, adapter or ()))
    if print_ is None:
        _refuse(ctx, "TT-N049", _HANDOVER_ALONE)
        _serve(ctx, model, named, port, listening, limits, trust_remote_code)
    else:
        _refuse(ctx, "TT-N034", serve_options.SERVER_ALONE)
        _hand_over(ctx, model, named, port, print_, out, kind, trust_remote_code)


def _serve(
    ctx: typer.Context,
    model: str,
    named: tuple[tuple[str, str], ...],
    port: int | None,
    listening: serve_options.Listening,
    asked: serve_options.ServiceLimits,
    trust_remote_code: bool,
) -> None:
    from trimtab import study

    limits = asked.limits()
    request = study.ServeRequest(
        model=model,
        adapters=named,
        pinned=tuple(listening.pin or ()),
        limits=limits,
        settings=listening.settings(port, limits, asked.drain_seconds()),
        precision=asked.format(),
        trust_remote_code=trust_remote_code,
    )
    _run(ctx, request)


def _hand_over(
    ctx: typer.Context,
    model: str,
    named: tuple[tuple[str, str], ...],
    port: int | None,
    server: str,
    out: str | None,
    kind: str,
    trust_remote_code: bool,
) -> None:
    """A port that is free here says nothing of one there: 0 is refused."""
    from trimtab import study
    from trimtab.app.cli.serve_print import print_for

    request = study.HandoverRequest(
        model=model,
        server=server,
        adapters=named,
        out=out,
        port=None if port is None else serve_options.required("--port", port, 1, serve_options.MOST_PORT),
        kind=kind,
        language=ctx.obj.language,
        trust_remote_code=trust_remote_code,
    )
    print_for(ctx.obj, request)


def _run(ctx: typer.Context, request: "ServeRequest") -> None:
    """Say where it is, in one line on stderr among its log; then answer until it is ended."""
    from trimtab import study

    served = study.serve(request)
    said = ctx.obj.say("TT-V730", base=served.base, count=len(served.adapters), url=served.url)
    ctx.obj.err.print(said, soft_wrap=True)
    served.run()


def _refuse(ctx: typer.Context, code: str, names: tuple[str, ...]) -> None:
    """Raises UsageError with `code` where one of the options `names` stands on the command line."""
    for option in serve_options.typed(ctx, names):
        raise UsageError(code, option=option)


def _named(word: str) -> tuple[str, str]:
    name, equals, folder = word.partition("=")
    if not (name and equals and folder):
        raise UsageError("TT-N043", word=word[:120])
    return name, folder
