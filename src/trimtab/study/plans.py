"""The verbs `plan` and `estimate`. Nothing here imports torch."""

from trimtab import planning
from trimtab.estimation import estimate as predict
from trimtab.estimation.question import question_of
from trimtab.methods import Choices
from trimtab.planning import Goal, Limits, Settings
from trimtab.planning.request import refuse_untrained
from trimtab.study import gather
from trimtab.study.dry_runs import traced_phases
from trimtab.study.request import Planned, Pricing, Reading, Shape
from trimtab.units import Money


def plan(
    model: str,
    data: str,
    *,
    on: str | None = None,
    goal: Goal = "balanced",
    limits: Limits = Limits(),
    method: str | None = None,
    choices: Choices = Choices(),
    settings: Settings = Settings(),
    reading: Reading = Reading(),
    trust_remote_code: bool = False,
    price: Money | None = None,
    pricing: Pricing = Pricing(),
) -> Planned:
    """Predict every strategy for `model` on `data` and choose one, with reasons.

    `model`: a folder, a hub id, "modelscope:org/name", a catalogue name, or "demo". `data`: a file, a folder of
    splits, or "demo". `on`: a catalogue machine ("rtx3060-12g"), None = this machine. `price`: what an hour of it
    costs, None = the cheapest offer of a catalogue machine. `trust_remote_code`: plan for a model that brings code
    of its own; none of it runs.

    Raises ModelError, DataError (exit 5), UsageError (2), NoPlan (3); BadInput (5) for prices that cannot be read,
    where `pricing` names them or `goal` and `limits` need one. Else the plan goes without money and has a notice.

    >>> planned = plan("demo", "demo", on="laptop-16g")
    >>> planned.plan.chosen.fits
    True
    """
    needed = planning.needs_price(goal, limits)
    priced = gather.priced(gather.machine_for(on), price, pricing, needed=needed)
    spec, facts = gather.model_and_data(model, data, None, reading, trust_remote_code=trust_remote_code)
    refuse_untrained(spec)
    made = planning.plan(
        spec, facts, priced.machine, goal=goal, limits=limits, method=method, choices=choices, settings=settings
    )
    return Planned(plan=made, model=spec, data=facts, machine=priced.machine, notices=priced.notices)


def estimate(
    model: str,
    *,
    method: str | None,
    data: str | None = None,
    shape: Shape | None = None,
    on: str | None = None,
    choices: Choices = Choices(),
    settings: Settings = Settings(),
    reading: Reading = Reading(),
    trust_remote_code: bool = False,
    exact: bool = False,
) -> Planned:
    """Memory, time, disk and, of a machine that is rented out, money of one method, on real data or on an imagined
    shape of data, never both; also of models that cannot be trained yet (`ModelSpec.can_be_trained`).

    A plan with only that method's candidates; raises as `plan` does. `exact`: the memory of the chosen one is
    counted by a dry run of the real training step, without weights: seconds and torch, once for each question.
    """
    priced = gather.priced(gather.machine_for(on), None, Pricing(), needed=False)
    machine = priced.machine
    spec, facts = gather.model_and_data(model, data, shape, reading, trust_remote_code=trust_remote_code)
    made = planning.plan(spec, facts, machine, method=method, choices=choices, settings=settings)
    if exact:
        strategy = made.chosen.estimate.strategy
        traced = traced_phases(question_of(strategy, spec, facts, machine))
        made = planning.confirm(made, predict(strategy, spec, facts, machine, traced=traced), machine)
    return Planned(plan=made, model=spec, data=facts, machine=machine, notices=priced.notices)
