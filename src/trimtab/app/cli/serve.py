"""trimtab serve: adapters on one base, over HTTP."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.app.cli import options
from trimtab.errors import UsageError

if TYPE_CHECKING:
    from trimtab.study import ServeRequest

KEY_VARIABLE = "TRIMTAB_KEY"  # never an option: other users of a machine see those
_serving = partial(typer.Option, rich_help_panel="TT-V720")
_limits = partial(typer.Option, rich_help_panel="TT-V721")


def serve(
    ctx: typer.Context,
    *,
    model: options.Model,
    adapter: Annotated[list[str] | None, _serving("--adapter", metavar="NAME=DIR", help="TT-V701")] = None,
    pin: Annotated[list[str] | None, _serving("--pin", metavar="NAME", help="TT-V713")] = None,
    adapters: Annotated[str | None, _serving("--adapters", metavar="FOLDER", help="TT-V702")] = None,
    host: Annotated[str, _serving("--host", metavar="ADDRESS", help="TT-V703")] = "127.0.0.1",
    port: Annotated[int, _serving("--port", metavar="N", help="TT-V704")] = 8000,
    key_file: Annotated[str | None, _serving("--key-file", metavar="FILE", help="TT-V705")] = None,
    allow_host: Annotated[list[str] | None, _serving("--allow-host", metavar="HOST", help="TT-V706")] = None,
    queue: Annotated[int, _limits("--queue", metavar="N", help="TT-V707")] = 1024,
    deadline: Annotated[str, _limits("--deadline", metavar="SPAN", help="TT-V708")] = "30s",
    memory: Annotated[str, _limits("--memory", metavar="SIZE", help="TT-V709")] = "1GiB",
    chats: Annotated[int, _limits("--chats", metavar="N", help="TT-V710")] = 16,
    context: Annotated[int, _limits("--context", metavar="N", help="TT-V711")] = 2048,
    drain: Annotated[str, _limits("--drain", metavar="SPAN", help="TT-V712")] = "30s",
    trust_remote_code: options.TrustCode = False,
) -> None:
    from trimtab import study
    from trimtab.serving.http.settings import HttpSettings
    from trimtab.serving.limits import Limits
    from trimtab.units import parse_bytes, parse_seconds

    for name, asked, least, most in (
        ("--port", port, 0, 65535), ("--queue", queue, 1, 1 << 20), ("--chats", chats, 1, 1024),
        ("--context", context, 16, 1 << 20),
    ):  # fmt: skip
        _require(name, asked, least, most)
    deadline_seconds, adapter_bytes = parse_seconds(deadline), parse_bytes(memory)
    request = study.ServeRequest(
        model=model,
        adapters=tuple(map(_named, adapter or ())),
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
