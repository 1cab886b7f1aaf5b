"""Options of the verb serve that a server here alone knows: where it listens and who may ask, and its limits."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from trimtab.app.cli import options
from trimtab.errors import UsageError

if TYPE_CHECKING:
    from trimtab import methods
    from trimtab.serving.http.settings import HttpSettings
    from trimtab.serving.limits import Limits

KEY_VARIABLE = "TRIMTAB_KEY"  # never an option: other users of a machine see those
PORT = 8000
MOST_PORT = 65535
SERVING, LIMITS = "TT-V720", "TT-V721"
_serving = partial(typer.Option, rich_help_panel=SERVING)
_limits = partial(typer.Option, rich_help_panel=LIMITS)

Port = Annotated[int | None, _serving("--port", metavar="N", help="TT-V704")]


@dataclass(frozen=True, kw_only=True)
class Listening:
    """Where it listens, and who may ask what."""

    pin: Annotated[list[str] | None, _serving("--pin", metavar="NAME", help="TT-V713")] = None
    adapters: Annotated[str | None, _serving("--adapters", metavar="FOLDER", help="TT-V702")] = None
    host: Annotated[str, _serving("--host", metavar="ADDRESS", help="TT-V703")] = "127.0.0.1"
    key_file: Annotated[str | None, _serving("--key-file", metavar="FILE", help="TT-V705")] = None
    allow_host: Annotated[list[str] | None, _serving("--allow-host", metavar="HOST", help="TT-V706")] = None

    def settings(self, port: int | None, limits: "Limits", drain_seconds: float) -> "HttpSettings":
        """Raises UsageError TT-N041, TT-N042 of keys, TT-N047 of a port that there is not."""
        from trimtab.serving.http.settings import HttpSettings

        return HttpSettings(
            host=self.host,
            port=PORT if port is None else required("--port", port, 0, MOST_PORT),
            keys=_keys(self.key_file),
            hosts=tuple(name.lower() for name in self.allow_host or ()),
            adapters_folder=Path(self.adapters).expanduser() if self.adapters else None,
            most_bytes=limits.adapter_bytes,
            deadline_seconds=limits.deadline_seconds,
            drain_seconds=drain_seconds,
        )


@dataclass(frozen=True, kw_only=True)
class ServiceLimits:
    """How much at once, and for how long; and the number format of all that is computed."""

    queue: Annotated[int, _limits("--queue", metavar="N", help="TT-V707")] = 1024
    deadline: Annotated[str, _limits("--deadline", metavar="SPAN", help="TT-V708")] = "30s"
    memory: Annotated[str, _limits("--memory", metavar="SIZE", help="TT-V709")] = "1GiB"
    chats: Annotated[int, _limits("--chats", metavar="N", help="TT-V710")] = 16
    context: Annotated[int, _limits("--context", metavar="N", help="TT-V711")] = 2048
    drain: Annotated[str, _limits("--drain", metavar="SPAN", help="TT-V712")] = "30s"
    precision: Annotated[str | None, _limits("--precision", metavar=options.PRECISIONS, help="TT-V714")] = None

    def limits(self) -> "Limits":
        """Raises UsageError TT-N047 for a number that is a slip, and where a size or span cannot be read."""
        from trimtab.serving.limits import Limits
        from trimtab.units import parse_bytes, parse_seconds

        return Limits(
            queued=required("--queue", self.queue, 1, 1 << 20),
            chats=required("--chats", self.chats, 1, 1024),
            context_tokens=required("--context", self.context, 16, 1 << 20),
            deadline_seconds=parse_seconds(self.deadline),
            adapter_bytes=parse_bytes(self.memory),
        )

    def drain_seconds(self) -> float:
        from trimtab.units import parse_seconds

        return parse_seconds(self.drain)

    def format(self) -> "methods.Precision | None":
        """The verb refuses an unknown word."""
        return cast("methods.Precision | None", self.precision)


SERVER_ALONE = tuple(field.name for group in (Listening, ServiceLimits) for field in fields(group))


def typed(ctx: typer.Context, names: tuple[str, ...]) -> Iterator[str]:
    """Those of the options `names` that stand on the command line, as they are written there."""
    for parameter in ctx.command.params:
        source = ctx.get_parameter_source(parameter.name or "")
        if parameter.name in names and source and source.name == "COMMANDLINE":
            yield parameter.opts[0]


def required(option: str, asked: int, least: int, most: int) -> int:
    """`asked`. Raises UsageError TT-N047 where it is not between the two."""
    if not least <= asked <= most:
        raise UsageError("TT-N047", option=option, asked=asked, least=least, most=most)
    return asked


def _keys(file: str | None) -> tuple[str, ...]:
    """Of the file, else of the environment; both are read nowhere else. Raises UsageError TT-N041, TT-N042."""
    from trimtab.serving.http.settings import read_keys

    if file is not None:
        return read_keys(Path(file).expanduser())
    key = os.environ.get(KEY_VARIABLE, "")
    return (key,) if key else ()
