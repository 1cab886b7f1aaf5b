"""trimtab compress: a smaller model of a trained one. One function a step; DIR may stand before the step or after
it."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from trimtab.app.cli import options
from trimtab.app.cli.groups import grouped
from trimtab.app.cli.help import VerbGroup

if TYPE_CHECKING:
    from trimtab import methods
    from trimtab.compression.wanted import Lesson, Wanted

_COMPOSED = "auto"
TARGETS, KEEPS = "server-cpu|laptop|phone|browser", "seen|script"
ANSWERS = "data|teacher|both"
FORMATS, BITS, RANGES = "onnx|safetensors|gguf|openvino|browser", "q8|q4", "dynamic|static|none"
_Out = Annotated[str, typer.Option("--out", metavar="DIR", help="TT-V510")]
_Floor = Annotated[str | None, typer.Option("--floor", metavar="X", help="TT-V511")]
_Force = Annotated[bool, typer.Option("--force", help="TT-V512")]


_learning = partial(typer.Option, rich_help_panel=options.TRAINING)


class FolderFirst(VerbGroup):
    """A group whose verbs may be written after the folder they work on: `compress DIR quantize`; where none is, it
    is the one that composes steps: `compress DIR --for laptop`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if len(args) > 1 and args[0] not in self.commands and not args[0].startswith("-"):
            if args[1] in self.commands:
                args = [args[1], args[0], *args[2:]]
            elif args[1].startswith("-"):  # no step is named: they are composed
                args = [_COMPOSED, *args]
        return super().parse_args(ctx, args)


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """What every step is asked besides: what it may lose, and what is kept all the same."""

    floor: _Floor = None
    force: _Force = False
    trust_remote_code: options.TrustCode = False
    json: options.Json = False


@dataclass(frozen=True, kw_only=True)
class Teaching:
    """The training inside a step."""

    epochs: Annotated[int | None, _learning("--epochs", metavar="N", help="TT-V130")] = None
    batch: Annotated[int | None, _learning("--batch", metavar="N", help="TT-V131")] = None
    lr: Annotated[float | None, _learning("--lr", metavar="X", help="TT-V132")] = None
    max_length: Annotated[int | None, _learning("--max-length", metavar="N", help="TT-V133")] = None
    precision: Annotated[str | None, _learning("--precision", metavar=options.PRECISIONS, help="TT-V134")] = None
    seed: options.Seed = 0
    hard: Annotated[float | None, _learning("--hard", metavar="X", help="TT-V555")] = None
    soft: Annotated[float | None, _learning("--soft", metavar="X", help="TT-V556")] = None
    temperature: Annotated[float, _learning("--temperature", metavar="X", help="TT-V557")] = 2.0
    hidden: Annotated[float, _learning("--hidden", metavar="X", help="TT-V558")] = 0.0
    attention: Annotated[float, _learning("--attention", metavar="X", help="TT-V559")] = 0.0
    resume: Annotated[bool, _learning("--resume", help="TT-V560")] = False

    def lesson(self) -> "Lesson":
        from trimtab.compression.wanted import Lesson
        from trimtab.planning import Settings

        return Lesson(
            settings=Settings(
                epochs=self.epochs,
                batch=self.batch,
                learning_rate=self.lr,
                max_length=self.max_length,
                precision=cast("methods.Precision | None", self.precision),
                seed=self.seed,
            ),
            hard_share=self.hard,
            soft_share=self.soft,
            temperature=self.temperature,
            hidden_share=self.hidden,
            attention_share=self.attention,
            resume=self.resume,
        )


@grouped
def auto(
    ctx: typer.Context,
    *,
    folder: options.Folder,
    target: Annotated[str, typer.Option("--for", metavar=TARGETS, help="TT-V570")],
    data: options.Data,
    out: _Out,
    floor: _Floor = None,
    size: Annotated[str | None, typer.Option("--size", metavar="SIZE", help="TT-V571")] = None,
    latency: Annotated[str | None, typer.Option("--latency", metavar="SPAN", help="TT-V572")] = None,
    teaching: Teaching,
    trust_remote_code: options.TrustCode = False,
    json: options.Json = False,
) -> None:
    from trimtab import study
    from trimtab.compression.wanted import parse_floor
    from trimtab.units import parse_bytes, parse_seconds

    request = study.LadderRequest(
        folder=folder,
        out=out,
        target=target,
        data=data,
        floor=None if floor is None else parse_floor(floor),
        bytes_at_most=parse_bytes(size) if size else None,
        seconds_at_most=parse_seconds(latency) if latency else None,
        lesson=teaching.lesson(),
        trust_remote_code=trust_remote_code,
    )
    events = study.compress_for(request)
    from trimtab.app.cli.show.compressing import follow  # torch, which a refusal need not wait for

    follow(ctx.obj, events, ladder=True)


@grouped
def distill(
    ctx: typer.Context,
    *,
    folder: options.Folder,
    data: options.Data,
    out: _Out,
    layers: Annotated[int | None, typer.Option("--layers", metavar="N", help="TT-V550")] = None,
    keep_layers: Annotated[str | None, typer.Option("--keep-layers", metavar="A,B,..", help="TT-V551")] = None,
    student: Annotated[str | None, typer.Option("--student", metavar="MODEL", help="TT-V552")] = None,
    shape: Annotated[str | None, typer.Option("--shape", metavar="layers=N,..", help="TT-V567")] = None,
    copies: Annotated[int, typer.Option("--copies", metavar="N", help="TT-V553")] = 0,
    unlabelled: Annotated[str | None, typer.Option("--unlabelled", metavar="F", help="TT-V554")] = None,
    answers: Annotated[str, typer.Option("--answers", metavar=ANSWERS, help="TT-C610")] = "data",
    answer_tokens: Annotated[int, typer.Option("--answer-tokens", metavar="N", help="TT-C611")] = 512,
    teaching: Teaching,
    keeping: Keeping,
) -> None:
    from trimtab.compression.wanted import ANSWERS as KNOWN_ANSWERS
    from trimtab.compression.wanted import Distil, chosen, numbers, parse_shape

    wanted = Distil(
        layers=layers,
        chosen=numbers("keep-layers", keep_layers),
        student=student,
        shape=None if shape is None else parse_shape(shape),
        copies=copies,
        unlabelled=unlabelled,
        answers=chosen("answers", answers, KNOWN_ANSWERS),
        answer_tokens=answer_tokens,
        lesson=teaching.lesson(),
    )
    _run(ctx, wanted, folder, out, data, keeping)


@grouped
def prune(
    ctx: typer.Context,
    *,
    folder: options.Folder,
    data: options.Data,
    out: _Out,
    share: Annotated[float | None, typer.Option("--share", metavar="X", help="TT-V561")] = None,
    size: Annotated[str | None, typer.Option("--size", metavar="SIZE", help="TT-V562")] = None,
    latency: Annotated[str | None, typer.Option("--latency", metavar="SPAN", help="TT-V569")] = None,
    until_floor: Annotated[bool, typer.Option("--until-floor", help="TT-V578")] = False,
    drop_layers: Annotated[int, typer.Option("--drop-layers", metavar="N", help="TT-V563")] = 0,
    steps: Annotated[int, typer.Option("--steps", metavar="N", help="TT-V564")] = 1,
    even: Annotated[bool, typer.Option("--even", help="TT-V565")] = False,
    no_recovery: Annotated[bool, typer.Option("--no-recovery", help="TT-V566")] = False,
    teaching: Teaching,
    keeping: Keeping,
) -> None:
    from trimtab.compression.wanted import Prune
    from trimtab.units import parse_bytes, parse_seconds

    wanted = Prune(
        share=share,
        weight_bytes=parse_bytes(size) if size else None,
        seconds=parse_seconds(latency) if latency else None,
        until_floor=until_floor,
        dropped_layers=drop_layers,
        steps=steps,
        even=even,
        recovers=not no_recovery,
        lesson=teaching.lesson(),
    )
    _run(ctx, wanted, folder, out, data, keeping)


@grouped
def trim(
    ctx: typer.Context,
    *,
    folder: options.Folder,
    data: options.Data,
    out: _Out,
    keep_texts: Annotated[list[str] | None, typer.Option("--keep-texts", metavar="F", help="TT-V591")] = None,
    keep: Annotated[str, typer.Option("--keep", metavar=KEEPS, help="TT-V592")] = "seen",
    keeping: Keeping,
) -> None:
    from trimtab.compression.wanted import KEEPS as KNOWN_KEEPS
    from trimtab.compression.wanted import Trim, chosen

    wanted = Trim(further=tuple(keep_texts or ()), keep=chosen("keep", keep, KNOWN_KEEPS))
    _run(ctx, wanted, folder, out, data, keeping)


@grouped
def export(
    ctx: typer.Context,
    *,
    folder: options.Folder,
    out: _Out,
    to: Annotated[str, typer.Option("--to", metavar=FORMATS, help="TT-V513")] = "onnx",
    data: options.MaybeData = None,
    kind: Annotated[str, typer.Option("--kind", metavar="KIND", help="TT-V568")] = "f16",
    runtime: Annotated[str | None, typer.Option("--runtime", metavar="DIR", help="TT-V580")] = None,
    keeping: Keeping,
) -> None:
    from trimtab.compression.wanted import exported

    _run(ctx, exported(to, runtime, kind), folder, out, data, keeping)


@grouped
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
    keeping: Keeping,
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
    _run(ctx, wanted, folder, out, data, keeping)


def _run(
    ctx: typer.Context,
    wanted: "Wanted",
    folder: str,
    out: str,
    data: str | None,
    keeping: Keeping,
) -> None:
    from trimtab import study
    from trimtab.compression.wanted import parse_floor

    request = study.CompressRequest(
        folder=folder,
        out=out,
        wanted=wanted,
        data=data,
        floor=None if keeping.floor is None else parse_floor(keeping.floor),
        force=keeping.force,
        trust_remote_code=keeping.trust_remote_code,
    )
    events = study.compress(request)
    from trimtab.app.cli.show.compressing import follow  # torch, which a refusal need not wait for

    follow(ctx.obj, events)
