"""trimtab serve: adapters on one base, over HTTP; or handed over to another server."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from trimtab.app.cli import options
from trimtab.errors import UsageError

if TYPE_CHECKING:
    from trimtab import methods
    from trimtab.study import ServeRequest

KEY_VARIABLE = "TRIMTAB_KEY"  # never an option: other users of a machine see those
_serving = partial(typer.Option, rich_help_panel="TT-V720")
_limits = partial(typer.Option, rich_help_panel="TT-V721")
_handed = partial(typer.Option, rich_help_panel="TT-V722")
PORT = 8000


def serve(
    ctx: typer.Context,
    *,
    model: options.Model,
    adapter: Annotated[list[str] | None, _serving("--adapter", metavar="NAME=DIR", help="TT-V701")] = None,
    pin: Annotated[list[str] | None, _serving("--pin", metavar="NAME", help="TT-V713")] = None,
    adapters: Annotated[str | None, _serving("--adapters", metavar="FOLDER", help="TT-V702")] = None,
    host: Annotated[str, _serving("--host", metavar="ADDRESS", help="TT-V703")] = "127.0.0.1",
    port: Annotated[int | None, _serving("--port", metavar="N", help="TT-V704")] = None,
    key_file: Annotated[str | None, _serving("--key-file", metavar="FILE", help="TT-V705")] = None,
    allow_host: Annotated[list[str] | None, _serving("--allow-host", metavar="HOST", help="TT-V706")] = None,
    queue: Annotated[int, _limits("--queue", metavar="N", help="TT-V707")] = 1024,
    deadline: Annotated[str, _limits("--deadline", metavar="SPAN", help="TT-V708")] = "30s",
    memory: Annotated[str, _limits("--memory", metavar="SIZE", help="TT-V709")] = "1GiB",
    chats: Annotated[int, _limits("--chats", metavar="N", help="TT-V710")] = 16,
    context: Annotated[int, _limits("--context", metavar="N", help="TT-V711")] = 2048,
    drain: Annotated[str, _limits("--drain", metavar="SPAN", help="TT-V712")] = "30s",
    precision: Annotated[str | None, _limits("--precision", metavar=options.PRECISIONS, help="TT-V714")] = None,
    print_: Annotated[str | None, _handed("--print", metavar="SERVER", help="TT-V715")] = None,
    out: Annotated[str | None, _handed("--out", metavar="DIR", help="TT-V716")] = None,
    kind: Annotated[str, _handed("--kind", metavar="q8|q4|..", help="TT-V717")] = "q8",
    trust_remote_code: options.TrustCode = False,
    json: options.Json = False,
) -> None:
    from trimtab import study
    from trimtab.serving.http.settings import HttpSettings
    from trimtab.serving.limits import Limits
    from trimtab.units import parse_bytes, parse_seconds

    named = tuple(map(_named, adapter or ()))
    if print_ is not None:
        from trimtab.app.cli.serve_print import print_for

        handover = study.HandoverRequest(
            model=model,
            server=print_,
            adapters=named,
            out=out,
            port=port,
            kind=kind,
            language=ctx.obj.language,
            trust_remote_code=trust_remote_code,
        )
        print_for(ctx.obj, handover)
        return
    if out is not None or json:
        raise UsageError("TT-N049", option="--json" if out is None else "--out")
    port = PORT if port is None else port
    for name, asked, least, most in (
        ("--port", port, 0, 65535), ("--queue", queue, 1, 1 << 20), ("--chats", chats, 1, 1024),
        ("--context", context, 16, 1 << 20),
    ):  # fmt: skip
        _require(name, asked, least, most)
    deadline_seconds, adapter_bytes = parse_seconds(deadline), parse_bytes(memory)
    request = study.ServeRequest(
        model=model,
        adapters=named,
        pinned=tuple(pin or ()),
        limits=Limits(
            queued=queue,
            deadline_seconds=deadline_seconds,
            adapter_bytes=adapter_bytes,
            chats=chats,
            context_tokens=context,
        ),
        settings=HttpSettings(
            host=host,
            port=port,
            keys=_keys(key_file),
            hosts=tuple(name.lower() for name in allow_host or ()),
            adapters_folder=Path(adapters).expanduser() if adapters else None,
            most_bytes=adapter_bytes,
            deadline_seconds=deadline_seconds,
            drain_seconds=parse_seconds(drain),
        ),
        precision=cast("methods.Precision | None", precision),
        trust_remote_code=trust_remote_code,
    )
    _run(ctx, request)


def _run(ctx: typer.Context, request: "ServeRequest") -> None:
    """Say where it is, in one line on stderr among its log; then answer until it is ended."""
    from trimtab import study

    served = study.serve(request)
    said = ctx.obj.say("TT-V730", base=served.base, count=len(served.adapters), url=served.url)
    ctx.obj.err.print(said, soft_wrap=True)
    served.run()


def _keys(file: str | None) -> tuple[str, ...]:
    """Of the file, else of the environment; both are read nowhere else. Raises UsageError TT-N041, TT-N042."""
    from trimtab.serving.http.settings import read_keys

    if file is not None:
        return read_keys(Path(file).expanduser())
    key = os.environ.get(KEY_VARIABLE, "")
    return (key,) if key else ()


def _named(word: str) -> tuple[str, str]:
    name, equals, folder = word.partition("=")
    if not (name and equals and folder):
        raise UsageError("TT-N043", word=word[:120])
    return name, folder


def _require(option: str, asked: int, least: int, most: int) -> None:
    if not least <= asked <= most:
        raise UsageError("TT-N047", option=option, asked=asked, least=least, most=most)
