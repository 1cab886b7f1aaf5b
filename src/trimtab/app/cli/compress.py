"""trimtab compress: a smaller model of a trained one. One function a step; DIR may stand before the step or after
it."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.app.cli import options
from trimtab.app.cli.help import VerbGroup

if TYPE_CHECKING:
    from trimtab.compression.wanted import Wanted

FORMATS, BITS, RANGES = "onnx|safetensors", "q8|q4", "dynamic|static"
_Out = Annotated[str, typer.Option("--out", metavar="DIR", help="TT-V510")]
_Floor = Annotated[str | None, typer.Option("--floor", metavar="X", help="TT-V511")]
_Force = Annotated[bool, typer.Option("--force", help="TT-V512")]


class FolderFirst(VerbGroup):
    """A group whose verbs may be written after the folder they work on: `compress DIR quantize`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if len(args) > 1 and args[1] in self.commands and args[0] not in self.commands:
            args = [args[1], args[0], *args[2:]]
        return super().parse_args(ctx, args)


def export(
    ctx: typer.Context,
    *,
    folder: options.Folder,
    out: _Out,
    to: Annotated[str, typer.Option("--to", metavar=FORMATS, help="TT-V513")] = "onnx",
    data: options.MaybeData = None,
    floor: _Floor = None,
    force: _Force = False,
    trust_remote_code: options.TrustCode = False,
    json: options.Json = False,
) -> None:
    from trimtab.compression.wanted import EXPORT_FORMATS, Export, chosen

    wanted = Export(format=chosen("to", to, EXPORT_FORMATS))
    _run(ctx, wanted, folder, out, data, floor, force, trust_remote_code)


def quantize(
    ctx: typer.Context,
    *,
    folder: options.Folder,
    data: options.Data,
    out: _Out,
    to: Annotated[str, typer.Option("--to", metavar=BITS, help="TT-V514")] = "q8",
    ranges: Annotated[str, typer.Option("--ranges", metavar=RANGES, help="TT-V515")] = "dynamic",
    block: Annotated[int, typer.Option("--block", metavar="N", help="TT-V516")] = 32,
    no_back_off: Annotated[bool, typer.Option("--no-back-off", help="TT-V517")] = False,
    floor: _Floor = None,
    force: _Force = False,
    trust_remote_code: options.TrustCode = False,
    json: options.Json = False,
) -> None:
    from trimtab.compression.wanted import BITS as KNOWN_BITS
    from trimtab.compression.wanted import RANGES as KNOWN_RANGES
    from trimtab.compression.wanted import Quantize, chosen

    wanted = Quantize(
        bits=chosen("to", to, KNOWN_BITS),
        ranges=chosen("ranges", ranges, KNOWN_RANGES),
        block=block,
        back_off=not no_back_off,
    )
    _run(ctx, wanted, folder, out, data, floor, force, trust_remote_code)


def _run(
    ctx: typer.Context,
    wanted: "Wanted",
    folder: str,
    out: str,
    data: str | None,
    floor: str | None,
    force: bool,
    trust_remote_code: bool,
) -> None:
    from trimtab import study
    from trimtab.compression.wanted import parse_floor

    request = study.CompressRequest(
        folder=folder,
        out=out,
        wanted=wanted,
        data=data,
        floor=None if floor is None else parse_floor(floor),
        force=force,
        trust_remote_code=trust_remote_code,
    )
    events = study.compress(request)
    from trimtab.app.cli.show.compressing import follow  # torch, which a refusal need not wait for

    follow(ctx.obj, events)
