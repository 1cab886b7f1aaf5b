"""Options of the verbs that say what serving costs: what is asked of a model, and how it is computed."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.app.cli import options
from trimtab.errors import UsageError

if TYPE_CHECKING:
    from trimtab import study

REQUESTS, HOW = "TT-V752", "TT-V768"
ENGINES = "auto|trimtab|vllm|onnx|tensorrt"
WEIGHTS = "auto|fp32|bf16|fp16|int8|int4"
_requests = partial(typer.Option, rich_help_panel=REQUESTS)
_how = partial(typer.Option, rich_help_panel=HOW)

ServedModel = Annotated[str, typer.Argument(metavar="MODEL", help="TT-V767")]
OnMachines = Annotated[str | None, _how("--on", metavar="A,B,..", help="TT-V761")]
Adapters = Annotated[int, _how("--adapters", metavar="N", help="TT-V760")]


@dataclass(frozen=True, kw_only=True)
class Requests:
    """What is asked of a model."""

    per_day: Annotated[float | None, _requests("--per-day", metavar="N", help="TT-V753")] = None
    per_second: Annotated[float | None, _requests("--per-second", metavar="X", help="TT-V754")] = None
    peak: Annotated[float | None, _requests("--peak", metavar="X", help="TT-V755")] = None
    input_tokens: Annotated[int, _requests("--input-tokens", metavar="N", help="TT-V756")] = 128
    output_tokens: Annotated[int, _requests("--output-tokens", metavar="N", help="TT-V757")] = 0
    latency: Annotated[str | None, _requests("--latency", metavar="SPAN", help="TT-V758")] = None
    load: Annotated[float, _requests("--load", metavar="X", help="TT-V759")] = 0.7

    def traffic(self) -> "study.Traffic":
        """Raises UsageError where a span cannot be read."""
        from trimtab.study import Traffic
        from trimtab.units import parse_seconds

        return Traffic(
            per_day=self.per_day,
            per_second=self.per_second,
            peak=self.peak,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            latency_seconds=None if self.latency is None else parse_seconds(self.latency),
            target=self.load,
        )


@dataclass(frozen=True, kw_only=True)
class Computed:
    """How it is computed, where the user says so."""

    engine: Annotated[str, _how("--engine", metavar=ENGINES, help="TT-V762")] = "auto"
    weights: Annotated[str, _how("--weights", metavar=WEIGHTS, help="TT-V763")] = "auto"

    def choice(self) -> "study.EngineChoice":
        from trimtab.study import EngineChoice

        return EngineChoice(engine=self.engine, weights=self.weights)


@dataclass(frozen=True, kw_only=True)
class ThroughputSaid:
    """What was measured."""

    throughput: Annotated[float | None, _how("--throughput", metavar="X", help="TT-V764")] = None
    throughput_from: Annotated[str, _how("--throughput-from", metavar="TEXT", help="TT-V765")] = "--throughput"

    def measured(self) -> "study.Throughput | None":
        from trimtab.study import Throughput

        if self.throughput is None:
            return None
        return Throughput(per_second=self.throughput, source=self.throughput_from)


@dataclass(frozen=True, kw_only=True)
class Ways:
    """What ways there are to serve, and over what time they are compared."""

    tasks: Annotated[int, _requests("--tasks", metavar="N", help="TT-V788")] = 1
    months: Annotated[int, _requests("--months", metavar="N", help="TT-V789")] = 12
    student: Annotated[str | None, _how("--student", metavar="MODEL", help="TT-V790")] = None
    api_price: Annotated[
        str | None,
        typer.Option("--api-price", metavar="IN/OUT", help="TT-V791", rich_help_panel=options.LIMITS),
    ] = None

    def api(self) -> "study.ApiPrice | None":
        """Raises UsageError where it is no price."""
        from trimtab.study import ApiPrice

        return None if self.api_price is None else ApiPrice.parse(self.api_price)


def machine_names(on: str | None) -> tuple[str, ...]:
    """The machines between commas; none where nothing is said. Raises UsageError TT-P529 for commas alone."""
    if on is None:
        return ()
    names = tuple(name.strip() for name in on.split(",") if name.strip())
    if not names:
        raise UsageError("TT-P529", on=on)
    return names
