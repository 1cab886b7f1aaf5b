"""A plan in two halves, for who plans the same thing again and again: facts that stay the same while limits and
goals change, and the plan made of them, which is arithmetic. Nothing here imports torch."""

from dataclasses import dataclass, replace

from trimtab import planning
from trimtab.data.spec import DataSpec
from trimtab.hardware import Machine
from trimtab.models.spec import ModelSpec
from trimtab.planning import KeptEstimates
from trimtab.planning.request import refuse_untrained
from trimtab.study import gather
from trimtab.study.request import Planned, PlanRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelAndData:
    """The facts of a model that can be trained, and of data counted by its tokenizer."""

    model: ModelSpec
    data: DataSpec


def model_and_data(request: PlanRequest) -> ModelAndData:
    """Of a request its model, data, reading and trust. Raises ModelError, DataError, UsageError as `plan` does."""
    model, data = gather.model_and_data(request, request.model, request.data)
    refuse_untrained(model)
    return ModelAndData(model=model, data=data)


def machine_for(on: str | None) -> Machine:
    """The catalogue machine `on`, None = this one; without a price. Raises UsageError TT-H001, TT-H002."""
    return gather.machine_for(on)


def priced_machine(request: PlanRequest, machine: Machine) -> gather.Priced:
    """With what an hour of it costs, as the request has it. Raises UsageError, BadInput for prices."""
    return gather.priced(machine, request.price, request.pricing, needed=request.needs_price)


def plan_of(request: PlanRequest, found: ModelAndData, priced: gather.Priced, kept: KeptEstimates) -> Planned:
    """As `plan` of facts that are at hand, with estimates that were made of them before; model, data, machine and
    prices of the request are not read. Raises UsageError, NoPlan."""
    question = replace(request.question(found.model, found.data, priced.machine), kept=kept)
    made = planning.plan_for(question)
    return Planned(plan=made, model=found.model, data=found.data, machine=priced.machine, notices=priced.notices)
