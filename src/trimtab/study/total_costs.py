"""The verb `cost total`: training and serving over months, four ways beside each other. Nothing here imports
torch.

    small      a student of the tuned model, a copy for each task, on servers without a GPU
    adapters   one base on a GPU, an adapter for each task
    whole      a fully tuned model for each task, on GPUs of its own
    api        somebody else's service, paid by the token

Each is served by its cheapest list price (prices of a market where there is none), and trained by that of the
training. A student's teacher is tuned as an adapter first. Left out: the teacher's pass over the training rows
(of twice the layers: two thirds of one of the student's epochs), people's time, and how good each is, which
`trimtab evaluate` says."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from itertools import combinations

from trimtab.data import DataSpec
from trimtab.errors import Message, NothingFits, UsageError, message
from trimtab.estimation.serving import Capacity, Deployment, capacity, engine_named
from trimtab.hardware import Machine, Offer, machine_named
from trimtab.hardware.prices import known_offers
from trimtab.models import ModelSpec, spec_of
from trimtab.planning.fleet import Fleet, Load, Spend, exact_spend, fleet
from trimtab.planning.totals import Way, break_even_month, break_even_volume, shown_months
from trimtab.study import gather
from trimtab.study.costs import by_firmness_and_cost as by_training
from trimtab.study.costs import require_offered, training_cost
from trimtab.study.engine_choice import EngineChoice, refuse_choice
from trimtab.study.request import CostRequest
from trimtab.study.serving_costs import (
    SERVED_ON,
    ServedModel,
    by_firmness_and_cost,
    check_served,
    check_traffic,
    priced_offers,
    served_model,
    served_on,
)
from trimtab.study.serving_request import Served, ServedOffer
from trimtab.study.spelled_out import spelled_out
from trimtab.study.total_request import (
    BreakEven,
    MonthRow,
    RefusedWay,
    TotalCost,
    TotalCostRequest,
    Trained,
    WayCost,
    WayName,
)
from trimtab.units import ExchangeRate, Money, exchange_rate

_MOST_TASKS, _MOST_MONTHS = 10_000, 120
_MOST_MACHINES = 1000  # beyond these no volume is looked for: what a request costs no longer changes
_MILLION = 1e6


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    """The question with its facts. `adapted`: the trainings of the model by LoRA, which two ways begin with."""

    request: TotalCostRequest
    model: ServedModel
    student: ServedModel
    data: DataSpec
    load: Load
    machines: tuple[Machine, ...]
    offers: tuple[Offer, ...]
    rate: ExchangeRate
    today: date
    adapted: Trained | Message | None = None


@spelled_out(TotalCostRequest)
def cost_total(request: TotalCostRequest) -> TotalCost:
    """What `tasks` tasks cost, trained and served over `months`, by each way that there is, the cheapest first.

    Raises as `cost_serve` and `cost_train`; UsageError TT-U006 for tasks and months that are a slip; NothingFits
    TT-P524 (exit 3) where no way can be gone.

    >>> traffic = Traffic(per_day=20_000, input_tokens=128)
    >>> found = cost_total("bert-base-chinese", traffic, tasks=8)
    >>> found.ways[0].name
    'small'
    """
    asked = _gathered(request)
    asked = replace(asked, adapted=_trained(asked, asked.model.spec, "lora"))
    ways, refused = list[WayCost](), list[RefusedWay]()
    for name, make in _WAYS.items():
        made = make(asked)
        if isinstance(made, Message):
            refused.append(RefusedWay(name=name, reason=made))
        elif made is not None:
            ways.append(made)
    if not ways:
        raise NothingFits("TT-P524", model=asked.model.spec.name, why=refused[0].reason)
    ordered = tuple(sorted(ways, key=lambda one: one.way.total(request.months).cny.value))
    ends = [one.way.total(request.months).cny for one in ordered]
    return TotalCost(
        model=asked.model.spec,
        student=asked.student.spec,
        workload=request.traffic.workload,
        load=asked.load,
        tasks=request.tasks,
        months=request.months,
        rate=asked.rate,
        ways=ordered,
        refused=tuple(refused),
        rows=tuple(
            MonthRow(month=month, totals=tuple(one.way.total(month) for one in ordered))
            for month in shown_months(request.months)
        ),
        break_evens=tuple(_break_evens(ordered)),
        sure=all(ends[0].high < other.low for other in ends[1:]),
    )


def _gathered(request: TotalCostRequest) -> _Asked:
    check_traffic(request.traffic)
    gather.check_range("--tasks", request.tasks, least=1, most=_MOST_TASKS, example=8, default=1)
    gather.check_range("--months", request.months, least=1, most=_MOST_MONTHS, example=12, default=12)
    today, rate = request.pricing.today or date.today(), exchange_rate(request.pricing.cny_per_usd)
    offers = known_offers(request.pricing.file, today)
    machines = tuple(machine_named(name) for name in request.on or SERVED_ON)
    for machine in machines if request.on else ():
        require_offered(machine, offers, request.spot)
    model = served_model(request.model, trust_remote_code=request.trust_remote_code)
    check_served(model, request.traffic.workload)
    student = ServedModel(spec=_student(request, model.spec))
    check_served(student, request.traffic.workload)
    refuse_choice(request.choice, model.spec, 0)
    reading = request.reading
    if request.data is None and reading.task is None and request.traffic.output_tokens:
        reading = replace(reading, task="instruct")
    asked = CostRequest(
        request.model, reading=reading, pricing=request.pricing, trust_remote_code=request.trust_remote_code
    )
    if request.data is None:
        facts = gather.imagined(request.shape or gather.Shape(), reading.task or "classify")
    else:
        _, facts = gather.model_and_data(asked, request.model, request.data, request.shape)
    return _Asked(
        request=replace(request, reading=reading),
        model=model,
        student=student,
        data=facts,
        load=request.traffic.load(),
        machines=machines,
        offers=offers,
        rate=rate,
        today=today,
    )


def _student(request: TotalCostRequest, spec: ModelSpec) -> ModelSpec:
    """The one that is named, else the model with the lower half of its layers. Raises UsageError TT-P525 for one
    layer, of which there is no half."""
    if request.student is not None:
        return spec_of(request.student, trust_remote_code=request.trust_remote_code)
    if spec.layers < 2:
        raise UsageError("TT-P525", model=spec.name)
    half = math.ceil(spec.layers / 2)
    return replace(spec.of_depth(half), name=f"{spec.name} ({half}/{spec.layers})")


# ------------------------------------------------------------------ the four ways


def _small(asked: _Asked) -> WayCost | Message | None:
    cpus = tuple(machine for machine in asked.machines if machine.device.kind == "cpu")
    found = _cheapest(asked, asked.student, cpus, EngineChoice(), copies=asked.request.tasks)
    if isinstance(found, Message):
        return found
    return _way(asked, "small", asked.student, found, (asked.adapted, _trained(asked, asked.student.spec, "full")))


def _adapters(asked: _Asked) -> WayCost | Message | None:
    found = _cheapest(asked, asked.model, _gpus(asked), asked.request.choice, adapters=asked.request.tasks)
    if isinstance(found, Message):
        return found
    return _way(asked, "adapters", asked.model, found, (asked.adapted,))


def _whole(asked: _Asked) -> WayCost | Message | None:
    """A share of the requests for each task, each on machines of its own. Tuned whole, and by LoRA where that fits
    nowhere."""
    tasks = asked.request.tasks
    alone = replace(asked, load=asked.request.traffic.load(1 / tasks))
    found = _cheapest(alone, asked.model, _gpus(asked), asked.request.choice)
    if isinstance(found, Message):
        return found
    full = _trained(asked, asked.model.spec, "full")
    tuned = asked.adapted if isinstance(full, Message) else full
    return _way(asked, "whole", asked.model, found, (tuned,), times=tasks)


def _api(asked: _Asked) -> WayCost | Message | None:
    """Nothing is trained: prompts carry the tasks, and how well is not known here."""
    request = _request_spend(asked)
    if request is None:
        return None
    nothing = exact_spend(Money(0.0, "CNY"), asked.rate)
    monthly = request.times(asked.load.requests_per_month)
    return WayCost(name="api", serves="API", way=Way(once=nothing, monthly=monthly))


_WAYS: dict[WayName, Callable[[_Asked], WayCost | Message | None]] = {
    "small": _small, "adapters": _adapters, "whole": _whole, "api": _api,
}  # fmt: skip


def _gpus(asked: _Asked) -> tuple[Machine, ...]:
    return tuple(machine for machine in asked.machines if machine.device.kind != "cpu")


def _cheapest(
    asked: _Asked,
    model: ServedModel,
    machines: tuple[Machine, ...],
    choice: EngineChoice,
    *,
    adapters: int = 0,
    copies: int = 1,
) -> ServedOffer | Message:
    """The cheapest list price of all machines, or why the roomiest of them cannot."""
    found, reasons = list[ServedOffer](), list[Message]()
    for machine in sorted(machines, key=lambda one: one.device.usable_bytes):
        served = served_on(
            model, machine, asked.request.traffic.workload, asked.load, choice, adapters=adapters, copies=copies
        )
        if isinstance(served, Message):
            reasons.append(served)
        else:
            workload = asked.request.traffic.workload
            found += priced_offers(served, machine, asked.offers, asked.load, workload, asked.rate, asked.today)
    wanted = [one for one in found if one.spot == asked.request.spot]
    if wanted:
        return min(wanted, key=by_firmness_and_cost)
    return reasons[-1] if reasons else message("TT-P526")


def _trained(asked: _Asked, spec: ModelSpec, method: str) -> Trained | Message:
    """All runs of all tasks, on the cheapest list price."""
    request = asked.request
    question = CostRequest(
        spec.name,
        method=method,
        reading=request.reading,
        pricing=request.pricing,
        runs=request.runs * request.tasks,
        idle_share=request.idle_share,
        spot=request.spot,
    )
    try:
        best = min(training_cost(question, spec, asked.data).offers, key=by_training)
    except NothingFits as error:
        return error.message
    spend = Spend(cny=best.money.cny, usd=best.money.usd)
    return Trained(model=spec.name, strategy=best.strategy, offer=best.offer, spend=spend)


def _way(
    asked: _Asked,
    name: WayName,
    model: ServedModel,
    found: ServedOffer,
    tuned: tuple[Trained | Message | None, ...],
    *,
    times: int = 1,
) -> WayCost | Message:
    trainings = list[Trained]()
    for one in tuned:
        if isinstance(one, Message):
            return one
        assert one is not None, "it is made before any way"
        trainings.append(one)
    once = trainings[0].spend
    for more in trainings[1:]:
        once = once.plus(more.spend)
    made = WayCost(
        name=name,
        serves=model.spec.name,
        way=Way(once=once, monthly=found.money.monthly.times(times)),
        trainings=tuple(trainings),
        served=found.served,
        offer=found.offer,
        machines=times * round(found.money.machines.value),
    )
    return replace(made, volume=_volume(asked, made, model, found, times))


# ------------------------------------------------------------------ where they cross


def _request_spend(asked: _Asked) -> Spend | None:
    """One request to the hosted service."""
    api, workload = asked.request.api, asked.request.traffic.workload
    if api is None:
        return None
    read = exact_spend(api.input_million, asked.rate).times(workload.input_tokens / _MILLION)
    return read.plus(exact_spend(api.output_million, asked.rate).times(workload.output_tokens / _MILLION))


def _volume(asked: _Asked, made: WayCost, model: ServedModel, found: ServedOffer, times: int) -> float | None:
    """Requests a day from which on the way costs no more than the hosted service, on machines of the same offer:
    of one machine (a task), of two, and so on the least that can carry what pays for them."""
    request, months = _request_spend(asked), asked.request.months
    if request is None or request.cny.value <= 0:
        return None
    one = found.money.monthly.times(times / found.money.machines.value)
    known = _capacity(asked, model, found.served)
    for machines in range(1, _MOST_MACHINES + 1):
        daily = break_even_volume(made.way.once, one.times(machines), months, request)
        carried = fleet(known, replace(asked.load, mean=Load.per_day(daily / times)))
        assert isinstance(carried, Fleet), "it has been quick enough with another load"
        if carried.shapes(max(1, found.offer.accelerator_count)).value <= machines:
            return daily
    return None


def _capacity(asked: _Asked, model: ServedModel, served: Served) -> Capacity:
    """Once more, of what was chosen."""
    deployment = Deployment(
        spec=model.spec,
        machine=machine_named(served.machine),
        engine=engine_named(served.engine),
        weights=served.weights,
        adapters=served.adapters,
        adapter_bytes=model.adapter_bytes,
        stored_bytes=model.stored_bytes,
        copies=served.copies,
    )
    known = capacity(deployment, asked.request.traffic.workload)
    assert isinstance(known, Capacity), "it has fitted"
    return known


def _break_evens(ways: tuple[WayCost, ...]) -> Iterator[BreakEven]:
    for first, second in combinations(ways, 2):
        month = break_even_month(first.way, second.way)
        if month is not None:
            begins_dearer = first.way.once.cny.value > second.way.once.cny.value
            cheaper, than = (first, second) if begins_dearer else (second, first)
            yield BreakEven(cheaper=cheaper.name, than=than.name, month=month)
