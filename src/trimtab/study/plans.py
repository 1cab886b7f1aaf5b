"""The verbs `plan`, of one model or of several, and `estimate`. Nothing here imports torch."""

from collections.abc import Sequence

from trimtab import planning
from trimtab.errors import ModelError, UsageError
from trimtab.estimation import estimate as predict
from trimtab.estimation.question import question_of
from trimtab.methods import Choices
from trimtab.planning import Goal, Limits, Request, Settings
from trimtab.planning.request import refuse_untrained
from trimtab.study import gather
from trimtab.study.dry_runs import traced_phases
from trimtab.study.request import ModelChoice, ModelRefusal, Planned, Pricing, Reading, Shape
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


def plan_models(
    models: Sequence[str],
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
) -> ModelChoice:
    """Which of `models` to tune on `data`, and how: each planned as `plan` does it, then ranked by the goal.

    A model that cannot be planned for, or not so (more layers than it has), stands among the refused with the
    reason; one of which nothing fits is last in the rows, with its nearest miss. Raises as `plan` does for data
    and prices; UsageError TT-U015 for fewer than two models, or the same one twice; the first refusal where there
    is no row.

    >>> found = plan_models(["bert-base-chinese", "tinybert-6l-768d"], "demo", on="laptop-16g")
    >>> len(found.rows) + len(found.refused)
    2
    """
    _check_models(models)
    needed = planning.needs_price(goal, limits)
    priced = gather.priced(gather.machine_for(on), price, pricing, needed=needed)
    chosen, refusals = [], []
    for model in models:
        try:
            spec, facts = gather.model_and_data(model, data, None, reading, trust_remote_code=trust_remote_code)
            refuse_untrained(spec)
            request = Request(
                spec=spec, data=facts, machine=priced.machine, goal=goal, limits=limits,
                method=method, choices=choices, settings=settings,
            )  # fmt: skip
            chosen.append((spec, planning.compare(request).chosen))
        except (ModelError, UsageError) as error:
            refusals.append((model, error))
    if not chosen:
        raise refusals[0][1]
    return ModelChoice(
        goal=goal,
        data=facts,
        machine=priced.machine,
        rows=planning.rank_models(chosen, goal),
        refused=tuple(ModelRefusal(model=model, reason=error.message) for model, error in refusals),
        notices=priced.notices,
    )


def _check_models(models: Sequence[str]) -> None:
    if len(models) < 2 or len(set(models)) < len(models):
        raise UsageError("TT-U015", models=", ".join(models) or "-")


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
    pricing: Pricing = Pricing(),
) -> Planned:
    """Memory, time, disk and, of a machine that is rented out, money of one method, on real data or on an imagined
    shape of data, never both; also of models that cannot be trained yet (`ModelSpec.can_be_trained`).

    A plan with only that method's candidates; raises as `plan` does. `exact`: the memory of the chosen one is
    counted by a dry run of the real training step, without weights: seconds and torch, once for each question.
    """
    priced = gather.priced(gather.machine_for(on), None, pricing, needed=False)
    machine = priced.machine
    spec, facts = gather.model_and_data(model, data, shape, reading, trust_remote_code=trust_remote_code)
    made = planning.plan(spec, facts, machine, method=method, choices=choices, settings=settings)
    if exact:
        strategy = made.chosen.estimate.strategy
        traced = traced_phases(question_of(strategy, spec, facts, machine))
        made = planning.confirm(made, predict(strategy, spec, facts, machine, traced=traced), machine)
    return Planned(plan=made, model=spec, data=facts, machine=machine, notices=priced.notices)
