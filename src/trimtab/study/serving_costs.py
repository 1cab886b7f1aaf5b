"""The verb `cost serve`: what it costs to answer requests, on machines that are rented out and on this one.
Nothing here imports torch."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from trimtab.artifacts import FACTS_FILE, ArtifactFacts, glance, weight_bytes
from trimtab.errors import Message, ModelError, NothingFits, TrimtabError, UsageError
from trimtab.estimation.serving import (
    Capacity,
    Deployment,
    Measured,
    Workload,
    adapter_bytes,
    capacity,
    pace,
)
from trimtab.hardware import Machine, Offer, Price, machine_named
from trimtab.hardware.prices import firmness, known_offers, offers_for
from trimtab.models import ModelSpec, spec_of
from trimtab.planning.fleet import Fleet, Load, fleet, serving_money
from trimtab.store import open_store
from trimtab.study import gather
from trimtab.study.costs import require_offered
from trimtab.study.engine_choice import EngineChoice, chosen_engine, refuse_choice
from trimtab.study.request import Misfit
from trimtab.study.serving_request import ServeCostRequest, Served, ServedHere, ServedOffer, ServingCost, Traffic
from trimtab.study.spelled_out import spelled_out
from trimtab.units import ExchangeRate, Figure, exchange_rate

# What people ask for first: T4, A10, A100, and a server of 16 virtual cores.
SERVED_ON = (
    "t4", "a10", "a10g", "a100-40g-sxm", "a100-80g-pcie", "a100-80g-sxm", "cloud-cpu-16", "cloud-16vcpu-icelake",
    "cloud-16vcpu-sapphire",
)  # fmt: skip
_MOST_REQUESTS = 1e9  # a second
_LEAST_REQUESTS = 1.0  # a month
_MOST_TOKENS = 10**7
_MOST_ADAPTERS = 10**6
_LIKE_LENGTH = 4.0  # a text of a quarter to four times the tokens was measured on is judged by it


@spelled_out(ServeCostRequest)
def cost_serve(request: ServeCostRequest) -> ServingCost:
    """What it costs to serve `model` under `traffic`: machines, money an hour and a month of 720 hours, a million
    tokens and a million requests, on every offer of each machine, the cheapest first.

    Raises UsageError TT-P511 to TT-P519, TT-P527, TT-P528 for a question that cannot be meant, ModelError,
    ArtifactError, BadInput for prices; NothingFits TT-P520 (exit 3) where no machine can serve it.

    >>> traffic = Traffic(per_day=100_000, input_tokens=512, output_tokens=128)
    >>> found = cost_serve("qwen2.5-7b", traffic, on=("a10",))
    >>> found.offers[0].money.monthly.cny.value <= found.offers[-1].money.monthly.cny.value
    True
    """
    check_traffic(request.traffic)
    gather.check_range("--adapters", request.adapters, least=0, most=_MOST_ADAPTERS, example=8, default=0)
    model = served_model(request.model, trust_remote_code=request.trust_remote_code)
    check_served(model, request.traffic.workload)
    refuse_choice(request.choice, model.spec, request.adapters)
    today, rate = request.pricing.today or date.today(), exchange_rate(request.pricing.cny_per_usd)
    offers = known_offers(request.pricing.file, today)
    machines = tuple(machine_named(name) for name in request.on or SERVED_ON)
    _check_offered(request, machines, offers)
    load, found, misfits = request.traffic.load(), list[ServedOffer](), list[Misfit]()
    for machine in machines:
        served = _served(request, model, machine, load)
        if isinstance(served, Message):
            misfits.append(Misfit(machine=machine.name, reason=served))
        else:
            found += priced_offers(served, machine, offers, load, request.traffic.workload, rate, today)
    if request.spot:
        found = [one for one in found if one.spot]
    here = None if request.on else _here(request, model, load, rate, misfits)
    if not found and here is None:
        raise NothingFits("TT-P520", model=model.spec.name, count=len(misfits), why=misfits[-1].reason)
    return ServingCost(
        model=model.spec,
        artifact=model.folder,
        workload=request.traffic.workload,
        load=load,
        adapters=request.adapters,
        spot=request.spot,
        rate=rate,
        offers=tuple(sorted(found, key=by_cost)),
        here=here,
        misfits=tuple(misfits),
    )


def by_cost(one: ServedOffer) -> tuple[float, str]:
    return one.money.monthly.cny.value, one.offer.name


def by_firmness_and_cost(one: ServedOffer) -> tuple[int, float, str]:
    """List prices before those of a market: a plan is not to rest on what one seller asked, once."""
    return firmness(one.offer.basis), *by_cost(one)


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedModel:
    """What is served: its shape and, of an artifact, `folder` and facts; `own_bytes`: of the files of its
    weights."""

    spec: ModelSpec
    folder: str = ""
    facts: ArtifactFacts | None = None
    own_bytes: int = 0

    @property
    def stored_bytes(self) -> int:
        """Of an ONNX or OpenVINO file, which is served as it is."""
        return self.own_bytes if self.facts and self.facts.engine in ("onnx", "openvino") else 0

    @property
    def adapter_bytes(self) -> int:
        """Of one adapter: its file, else as Trimtab trains one if nothing else is said."""
        return self.own_bytes if self.facts and self.facts.adapter else adapter_bytes(self.spec)


def served_model(model: str, *, trust_remote_code: bool = False) -> ServedModel:
    """The model, or what the artifact in a folder is of. Raises ModelError, ArtifactError."""
    folder = Path(model).expanduser()
    if not (folder / FACTS_FILE).is_file():
        return ServedModel(spec=spec_of(model, trust_remote_code=trust_remote_code))
    facts = glance(folder)
    name = facts.base.name if facts.adapter else str(folder)
    return ServedModel(
        spec=spec_of(name, trust_remote_code=trust_remote_code),
        folder=str(folder.resolve()),
        facts=facts,
        own_bytes=weight_bytes(folder),
    )


def check_traffic(traffic: Traffic) -> None:
    """Raises UsageError TT-P511 unless one of a day and a second is said, TT-P512 to TT-P514, TT-P527, TT-P528 and
    TT-U006 for a number that is a slip."""
    if (traffic.per_day is None) == (traffic.per_second is None):
        raise UsageError("TT-P511")
    for option, value, example in (
        ("--per-day", traffic.per_day, 100_000),
        ("--per-second", traffic.per_second, 5),
        ("--peak", traffic.peak, 3),
        ("--latency", traffic.latency_seconds, 2),
    ):
        if value is not None and not 0 < value <= _MOST_REQUESTS:
            raise UsageError("TT-P512", option=option, value=value, most=_MOST_REQUESTS, example=example)
    if not 0 < traffic.target < 1:
        raise UsageError("TT-P513", value=traffic.target)
    if traffic.peak is not None and traffic.peak < 1:
        raise UsageError("TT-P514", value=traffic.peak)
    _check_load(traffic)
    gather.check_range(
        "--input-tokens", traffic.input_tokens, least=1, most=_MOST_TOKENS, example=512, default=128
    )
    gather.check_range(
        "--output-tokens", traffic.output_tokens, least=0, most=_MOST_TOKENS, example=128, default=0
    )


def _check_load(traffic: Traffic) -> None:
    """Raises UsageError TT-P527 for less than a request a month, TT-P528 for a busiest moment beyond reason."""
    load = traffic.load()
    if load.requests_per_month < _LEAST_REQUESTS:
        raise UsageError("TT-P527", value=load.requests_per_month)
    if load.busiest > _MOST_REQUESTS:
        raise UsageError("TT-P528", value=load.busiest, most=_MOST_REQUESTS)


def check_served(model: ServedModel, workload: Workload) -> None:
    """Raises ModelError TT-P515 for what is not known how to serve, UsageError TT-P516 where an encoder is to
    write, TT-P517 where texts are longer than the model reads."""
    spec = model.spec
    if spec.kind == "encoder-decoder":
        raise ModelError("TT-P515", model=spec.name, family=spec.family)
    if spec.kind == "encoder" and workload.output_tokens:
        raise UsageError("TT-P516", model=spec.name, tokens=workload.output_tokens)
    if spec.longest_text and workload.tokens > spec.longest_text:
        raise UsageError("TT-P517", model=spec.name, most=spec.longest_text, tokens=workload.tokens)


def _check_offered(request: ServeCostRequest, machines: tuple[Machine, ...], offers: tuple[Offer, ...]) -> None:
    """Raises UsageError where a machine that was named has no such offer, or several share one measurement."""
    for machine in machines if request.on else ():
        require_offered(machine, offers, request.spot)
    if request.throughput is not None:
        if len(request.on) > 1:
            raise UsageError("TT-P518", machines=", ".join(request.on))
        if not 0 < request.throughput.per_second <= _MOST_REQUESTS:
            value = request.throughput.per_second
            raise UsageError("TT-P512", option="--throughput", value=value, most=_MOST_REQUESTS, example=12.5)
    if request.price is not None and request.on:
        raise UsageError("TT-P519", price=request.price, machines=", ".join(request.on))


def _served(request: ServeCostRequest, model: ServedModel, machine: Machine, load: Load) -> Served | Message:
    measured = None
    if request.throughput is not None and (machine.is_here or request.on):
        measured = Measured(per_second=request.throughput.per_second, source=request.throughput.source)
    return served_on(
        model,
        machine,
        request.traffic.workload,
        load,
        request.choice,
        adapters=request.adapters,
        measured=measured,
    )


def served_on(
    model: ServedModel,
    machine: Machine,
    workload: Workload,
    load: Load,
    choice: EngineChoice,
    *,
    adapters: int = 0,
    copies: int = 1,
    measured: Measured | None = None,
) -> Served | Message:
    """The model on one kind of machine, or why it cannot be there."""
    taken = chosen_engine(choice, model.spec, model.facts, machine.device, adapters)
    if isinstance(taken, Message):
        return taken
    deployment = Deployment(
        spec=model.spec,
        machine=machine,
        engine=taken.engine,
        weights=taken.weights,
        adapters=adapters,
        adapter_bytes=model.adapter_bytes,
        stored_bytes=model.stored_bytes,
        copies=copies,
    )
    if machine.is_here and measured is None:
        measured = _recorded(model, deployment, workload)
    known = capacity(deployment, workload, measured)
    if isinstance(known, Message):
        return known
    found = fleet(known, load)
    return found if isinstance(found, Message) else _told(known, found)


def _told(known: Capacity, found: Fleet) -> Served:
    deployment = known.deployment
    return Served(
        machine=deployment.machine.name,
        engine=deployment.engine.name,
        weights=deployment.weights,
        fleet=found,
        basis=known.basis,
        source=known.source,
        adapters=deployment.adapters,
        copies=deployment.copies,
        weight_bytes=deployment.weight_bytes,
        request_bytes=deployment.row_bytes(known.workload),
        usable_bytes=deployment.usable_bytes,
    )


def _recorded(model: ServedModel, deployment: Deployment, workload: Workload) -> Measured | None:
    """What the store holds of this very folder on this machine: the seconds of one text, of which those of another
    length are made as the formula has it. A store that cannot be read is as good as none."""
    if not model.folder or workload.output_tokens:
        return None
    with contextlib.suppress(TrimtabError):
        for record in reversed(open_store().variants()):
            if (record.folder, record.machine) != (model.folder, deployment.machine.name):
                continue
            if record.text_seconds and _alike(record.text_tokens, workload.input_tokens):
                timed, _ = pace(deployment, Workload(input_tokens=record.text_tokens))
                asked, _ = pace(deployment, workload)
                seconds = record.text_seconds * asked.seconds(1) / timed.seconds(1)
                when = record.created_at[:10]
                source = f"variants: 1 x {record.text_tokens}, {1000 * record.text_seconds:.3g} ms, {when}"
                return Measured(one_seconds=seconds, source=source)
    return None


def _alike(measured: int, asked: int) -> bool:
    return measured > 0 and 1 / _LIKE_LENGTH <= asked / measured <= _LIKE_LENGTH


def priced_offers(
    served: Served,
    machine: Machine,
    offers: tuple[Offer, ...],
    load: Load,
    workload: Workload,
    rate: ExchangeRate,
    today: date,
) -> Iterator[ServedOffer]:
    """Every offer of the machine, on demand, and once more at its spot price where it has one."""
    for offer in offers_for(machine, offers):
        machines = served.fleet.shapes(max(1, offer.accelerator_count))
        for spot in (False, True):
            price = offer.price(rate, today, spot=spot)
            if price is not None:
                money = serving_money(machines, price, load, workload.tokens)
                yield ServedOffer(offer=offer, spot=spot, served=served, money=money)


def _here(
    request: ServeCostRequest, model: ServedModel, load: Load, rate: ExchangeRate, misfits: list[Misfit]
) -> ServedHere | None:
    """This machine; where it cannot be, a misfit more."""
    machine = gather.machine_for(None)
    served = _served(request, model, machine, load)
    if isinstance(served, Message):
        misfits.append(Misfit(machine=machine.name, reason=served))
        return None
    money = None
    if request.price is not None:
        price = Price(hourly=request.price, rate=rate, origin="--price")
        money = serving_money(_hosts(served, machine), price, load, request.traffic.workload.tokens)
    return ServedHere(served=served, money=money)


def _hosts(served: Served, machine: Machine) -> Figure:
    """Machines like this one, each with all its devices."""
    return served.fleet.shapes(machine.count)
