"""The verb `cost train`: what a training costs on machines that are rented out. Nothing here imports torch."""

from dataclasses import dataclass
from datetime import date

from trimtab import planning
from trimtab.data.spec import DataSpec
from trimtab.errors import UsageError
from trimtab.estimation import Estimate
from trimtab.estimation.money import money
from trimtab.hardware import Machine, Offer, machine_named
from trimtab.hardware.prices import firmness, known_offers, machines_offered, offers_for, own_prices
from trimtab.models.spec import ModelSpec
from trimtab.planning import Request
from trimtab.study import gather
from trimtab.study.margins import with_margins
from trimtab.study.request import CostedOffer, CostRequest, Misfit, TrainingCost
from trimtab.study.spelled_out import spelled_out
from trimtab.units import ExchangeRate, exchange_rate

_CANNOT_COMPUTE = "TT-P010"
_MOST_RUNS = 1_000_000
_MOST_IDLE = 100.0


@spelled_out(CostRequest)
def cost_train(request: CostRequest) -> TrainingCost:
    """What training `model` costs on the offers of machine `on`, the cheapest first; None = on one offer of every
    machine that has any, where it fits: the one whose price a plan for it takes (`cheapest_price`).

    The strategy is the one that `plan` chooses for each machine, by goal "balanced": on one machine it may be
    another method than on the next, of another quality, unless `method` names one. `runs` trainings are paid,
    and `idle_share` of their time besides (0.5 = half as long again), in which the machine stands idle. `spot`:
    at prices of machines that may be taken away at any time. Without `data` a `shape` is imagined.
    `trust_remote_code`: for a model that brings code of its own; none of it runs.

    Raises ModelError, DataError, BadInput for prices (exit 5), UsageError (2) where no such price is known or the
    request is impossible, NoPlan (3) where nothing fits.

    >>> found = cost_train("bert-base-chinese", method="lora", on="a10", runs=3)
    >>> found.offers[0].money.cny.value <= found.offers[1].money.cny.value
    True
    """
    market = _market(request)
    spec, facts = gather.model_and_data(request, request.model, request.data, request.shape)
    return _costed_on(request, market, spec, facts)


def training_cost(request: CostRequest, spec: ModelSpec, facts: DataSpec) -> TrainingCost:
    """As `cost_train`, of a model and data that are known already; `model` and `data` of the request are not
    read."""
    return _costed_on(request, _market(request), spec, facts)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Market:
    """Where it may be trained, and how that is paid."""

    terms: "_Terms"
    offers: tuple[Offer, ...]
    machines: tuple[Machine, ...]


def _market(request: CostRequest) -> _Market:
    terms = _terms(request)
    offers = known_offers(request.pricing.file, terms.today)
    if request.on is None:
        machines = tuple(with_margins(machine) for machine in machines_offered(offers, spot=request.spot))
    else:
        machines = (_named(request.on, offers, request.spot),)
    return _Market(terms=terms, offers=offers, machines=machines)


def _costed_on(request: CostRequest, market: _Market, spec: ModelSpec, facts: DataSpec) -> TrainingCost:
    questions = [request.question(spec, facts, machine) for machine in market.machines]
    costed, misfits = _answers(questions, market.offers, market.terms, every_offer=request.on is not None)
    if not costed:
        roomiest = max(questions, key=lambda question: question.machine.device.usable_bytes)
        raise planning.no_plan(roomiest, planning.compare(roomiest))
    return TrainingCost(
        model=spec,
        data=facts,
        goal=questions[0].goal,
        runs=request.runs,
        idle_share=request.idle_share,
        spot=request.spot,
        rate=market.terms.rate,
        offers=tuple(sorted(costed, key=_by_cost)),
        misfits=tuple(misfits),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Terms:
    """How trainings are paid; `today` decides which prices are old."""

    runs: int
    idle_share: float
    spot: bool
    rate: ExchangeRate
    today: date


def _terms(request: CostRequest) -> _Terms:
    """Raises UsageError for a number that must be a slip."""
    gather.check_range("--runs", request.runs, least=1, most=_MOST_RUNS, example=3, default=1)
    gather.check_range("--idle", request.idle_share, least=0, most=_MOST_IDLE, example=0.5, default=0)
    return _Terms(
        runs=request.runs,
        idle_share=request.idle_share,
        spot=request.spot,
        rate=exchange_rate(request.pricing.cny_per_usd),
        today=request.pricing.today or date.today(),
    )


def _answers(
    requests: list[Request], offers: tuple[Offer, ...], terms: _Terms, *, every_offer: bool
) -> tuple[list[CostedOffer], list[Misfit]]:
    """What the training costs on each machine, on every offer of it or on the one that a plan takes; and the
    machines on which it does not fit."""
    costed, misfits = [], []
    for request in requests:
        outcome = _outcome(request)
        if isinstance(outcome, Misfit):
            misfits.append(outcome)
            continue
        available = offers_for(request.machine, offers, spot=terms.spot)
        rows = [_costed(offer, outcome, terms) for offer in available]
        costed += rows if every_offer else [min(rows, key=by_firmness_and_cost)]
    return costed, misfits


def _named(on: str, offers: tuple[Offer, ...], spot: bool) -> Machine:
    """The machine asked for. Raises UsageError where nobody rents it out, or not at such prices."""
    machine = with_margins(machine_named(on))
    require_offered(machine, offers, spot)
    return machine


def require_offered(machine: Machine, offers: tuple[Offer, ...], spot: bool) -> None:
    """Raises UsageError TT-U007 where nobody rents it out, TT-U008 where nobody does so at spot prices."""
    found = offers_for(machine, offers)
    if not found:
        raise gather.no_offer(machine, offers, spot=spot)
    if not offers_for(machine, offers, spot=spot):
        raise UsageError("TT-U008", machine=machine.name, count=len(found), file=own_prices())


def _outcome(request: Request) -> Estimate | Misfit:
    """What is chosen for a machine, or why nothing is. Raises UsageError for what no machine could do."""
    try:
        chosen = planning.compare(request).chosen
    except UsageError as error:
        if error.code != _CANNOT_COMPUTE:
            raise
        return Misfit(machine=request.machine.name, reason=error.message)
    return chosen.estimate if chosen.fits else Misfit(machine=request.machine.name, reason=chosen.reason)


def _costed(offer: Offer, estimate: Estimate, terms: _Terms) -> CostedOffer:
    price = offer.price(terms.rate, terms.today, spot=terms.spot)
    assert price is not None, "offers_for gives those that have one"
    seconds = estimate.time.total_seconds
    return CostedOffer(
        offer=offer,
        strategy=estimate.strategy,
        quality=estimate.quality,
        seconds=seconds,
        money=money(seconds, price, runs=terms.runs, idle_share=terms.idle_share),
    )


def _by_cost(costed: CostedOffer) -> tuple[float, str]:
    return costed.money.cny.value, costed.offer.name


def by_firmness_and_cost(costed: CostedOffer) -> tuple[int, float, str]:
    """List prices before those of a market."""
    return firmness(costed.offer.basis), *_by_cost(costed)
