"""What `cost serve` is asked, and what it answers. Values only."""

from dataclasses import dataclass, field

from trimtab.estimation.serving import Basis, EngineName, StoredAs, Workload
from trimtab.hardware import Offer
from trimtab.models import ModelSpec
from trimtab.planning.fleet import DEFAULT_PEAK, DEFAULT_TARGET, Fleet, Load, ServingMoney
from trimtab.study.engine_choice import EngineChoice
from trimtab.study.request import Misfit, Pricing
from trimtab.units import ExchangeRate, Money


@dataclass(frozen=True, kw_only=True, slots=True)
class Traffic:
    """What is asked of a model: requests `per_day` on average, or `per_second`, one of the two; `peak` times as
    many at the busiest (None = 3 of what is said a day, 1 of what is said a second). `latency_seconds`: of a
    request on average, at the busiest. `target`: the share of what the machines can do that the busiest may
    take."""

    per_day: float | None = None
    per_second: float | None = None
    peak: float | None = None
    input_tokens: int = 128
    output_tokens: int = 0
    latency_seconds: float | None = None
    target: float = DEFAULT_TARGET

    @property
    def workload(self) -> Workload:
        return Workload(input_tokens=self.input_tokens, output_tokens=self.output_tokens)

    def load(self, share: float = 1.0) -> Load:
        """Of all requests, or a share of them."""
        if self.per_day is not None:
            mean, usual = Load.per_day(self.per_day), DEFAULT_PEAK
        else:
            mean, usual = self.per_second or 0.0, 1.0
        peak = usual if self.peak is None else self.peak
        return Load(mean=share * mean, peak=peak, target=self.target, latency_seconds=self.latency_seconds)


@dataclass(frozen=True, kw_only=True, slots=True)
class Throughput:
    """Requests a second that one machine was measured to answer, and where that comes from."""

    per_second: float
    source: str = "--throughput"


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeCostRequest:
    """`model`: as for `plan`, or the folder of an artifact. `on`: catalogue machines; none = T4, A10, A100,
    servers of 16 virtual cores, and this machine, of which an hour costs `price`. `adapters`: kept beside one
    base. `throughput` is of the machine in `on`, or of this one. `spot`: only prices of machines that may be
    taken away."""

    model: str = field(kw_only=False)
    traffic: Traffic = field(kw_only=False)
    adapters: int = 0
    on: tuple[str, ...] = ()
    choice: EngineChoice = EngineChoice()
    spot: bool = False
    throughput: Throughput | None = None
    price: Money | None = None
    pricing: Pricing = Pricing()
    trust_remote_code: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """A model on one kind of machine: how it is computed, how fast, and how that is known. `fleet`: the devices
    that carry the load. Bytes: what weights and one request take, and what of a device may be used."""

    machine: str
    engine: EngineName
    weights: StoredAs
    fleet: Fleet
    basis: Basis
    source: str
    adapters: int
    copies: int
    weight_bytes: int
    request_bytes: int
    usable_bytes: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedOffer:
    """What it costs with one offer, on demand or, with `spot`, on machines that may be taken away."""

    offer: Offer
    spot: bool
    served: Served
    money: ServingMoney


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedHere:
    """On this machine; `money` None: nobody has said what an hour of it costs."""

    served: Served
    money: ServingMoney | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ServingCost:
    """What serving costs, the cheapest offer first; where it cannot be, and why. `artifact`: the folder, where
    it is one that is served."""

    model: ModelSpec
    artifact: str
    workload: Workload
    load: Load
    adapters: int
    spot: bool
    rate: ExchangeRate
    offers: tuple[ServedOffer, ...]
    here: ServedHere | None
    misfits: tuple[Misfit, ...]
