"""What `cost total` is asked, and what it answers. Values only."""

from dataclasses import dataclass, field
from typing import Literal

from trimtab.errors import Message, UsageError
from trimtab.estimation.serving import Workload
from trimtab.hardware import Offer
from trimtab.methods import Strategy
from trimtab.models import ModelSpec
from trimtab.planning.fleet import Load, Spend
from trimtab.planning.totals import Way
from trimtab.study.engine_choice import EngineChoice
from trimtab.study.request import Pricing, Reading, Shape
from trimtab.study.serving_request import Served, Traffic
from trimtab.units import ExchangeRate, Money, parse_money

WayName = Literal["small", "adapters", "whole", "api"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiPrice:
    """What somebody else asks for a million tokens that are read, and that are written."""

    input_million: Money
    output_million: Money

    @classmethod
    def parse(cls, text: str) -> "ApiPrice":
        """ "2CNY/8CNY", "0.15/0.6USD", or one price for both: "2CNY". Raises UsageError TT-P523."""
        read, slash, written = text.partition("/")
        try:
            second = parse_money(written if slash else read)
            plain = read.strip().replace(".", "", 1).isdigit()
            first = Money(parse_money(read).amount, second.currency) if plain else parse_money(read)
        except UsageError as error:
            raise UsageError("TT-P523", text=text) from error
        return cls(input_million=first, output_million=second)


@dataclass(frozen=True, kw_only=True, slots=True)
class TotalCostRequest:
    """`model` is tuned for each of `tasks`, and all `traffic` is spread over them. `student`: the small model
    that learns from it; None = half of its layers. `runs` and `idle_share` as of `cost_train`, for each task.
    `api`: None = no such price to compare with. `on`: the machines that serve, else those of `cost_serve`."""

    model: str = field(kw_only=False)
    traffic: Traffic = field(kw_only=False)
    tasks: int = 1
    months: int = 12
    student: str | None = None
    api: ApiPrice | None = None
    data: str | None = None
    shape: Shape | None = None
    reading: Reading = Reading()
    runs: int = 1
    idle_share: float = 0.0
    on: tuple[str, ...] = ()
    choice: EngineChoice = EngineChoice()
    spot: bool = False
    pricing: Pricing = Pricing()
    trust_remote_code: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """A training that a way begins with: of which model, how and where, and what all of its runs cost."""

    model: str
    strategy: Strategy
    offer: Offer
    spend: Spend


@dataclass(frozen=True, kw_only=True, slots=True)
class WayCost:
    """One way to serve all tasks. `served`, `offer`: on which machine, None where somebody else does; `machines`
    of it in all. `volume`: requests a day from which on it costs no more over all months than the hosted
    service; None: at none, or there is no such price. `serves`: the model that answers."""

    name: WayName
    serves: str
    way: Way
    trainings: tuple[Trained, ...] = ()
    served: Served | None = None
    offer: Offer | None = None
    machines: int = 0
    volume: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RefusedWay:
    """A way that cannot be gone, and why."""

    name: WayName
    reason: Message


@dataclass(frozen=True, kw_only=True, slots=True)
class MonthRow:
    """What each way, in their order, has cost at the end of a month."""

    month: int
    totals: tuple[Spend, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class BreakEven:
    """From `month` on `cheaper`, which begins dearer, has cost less than `than`."""

    cheaper: WayName
    than: WayName
    month: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TotalCost:
    """Training and serving over `months`, the cheapest way first. `sure`: its interval ends below those of all
    others."""

    model: ModelSpec
    student: ModelSpec
    workload: Workload
    load: Load
    tasks: int
    months: int
    rate: ExchangeRate
    ways: tuple[WayCost, ...]
    refused: tuple[RefusedWay, ...]
    rows: tuple[MonthRow, ...]
    break_evens: tuple[BreakEven, ...]
    sure: bool
