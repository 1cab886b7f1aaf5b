"""The verbs `plan`, of one model or of several, and `estimate`. Nothing here imports torch unless it is asked what
only a real class of model can tell."""

from collections.abc import Sequence

from trimtab import planning
from trimtab.data.spec import DataSpec
from trimtab.errors import ModelError, UsageError
from trimtab.estimation import estimate as predict
from trimtab.estimation.question import question_of, questions_of
from trimtab.hardware import Machine
from trimtab.heavy import heavy_imports
from trimtab.methods import Strategy, TrainedTensors
from trimtab.models.spec import ModelSpec
from trimtab.planning.request import refuse_untrained
from trimtab.study import gather
from trimtab.study.dry_runs import traced_phases
from trimtab.study.request import (
    AskedToChoose,
    EstimateRequest,
    ModelChoice,
    ModelRefusal,
    ModelsRequest,
    Planned,
    PlanRequest,
)
from trimtab.study.spelled_out import spelled_out


@spelled_out(PlanRequest)
def plan(request: PlanRequest) -> Planned:
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
    priced = _priced(request, request.on)
    question = _trainable(request, request.model, request.data, priced.machine)
    made = planning.plan_for(question)
    return Planned(
        plan=made, model=question.spec, data=question.data, machine=priced.machine, notices=priced.notices
    )


@spelled_out(ModelsRequest)
def plan_models(request: ModelsRequest) -> ModelChoice:
    """Which of `models` to tune on `data`, and how: each planned as `plan` does it, then ranked by the goal.

    A model that cannot be planned for, or not so (more layers than it has), stands among the refused with the
    reason; one of which nothing fits is last in the rows, with its nearest miss. Raises as `plan` does for data
    and prices; UsageError TT-U015 for fewer than two models, or the same one twice; the first refusal where there
    is no row.

    >>> found = plan_models(["bert-base-chinese", "tinybert-6l-768d"], "demo", on="laptop-16g")
    >>> len(found.rows) + len(found.refused)
    2
    """
    _check_models(request.models)
    priced = _priced(request, request.on)
    chosen, refusals = [], []
    for model in request.models:
        try:
            question = _trainable(request, model, request.data, priced.machine)
            chosen.append((question, planning.compare(question).chosen))
        except (ModelError, UsageError) as error:
            refusals.append((model, error))
    if not chosen:
        raise refusals[0][1]
    return ModelChoice(
        goal=request.goal,
        data=chosen[-1][0].data,
        machine=priced.machine,
        rows=planning.rank_models([(question.spec, candidate) for question, candidate in chosen], request.goal),
        refused=tuple(ModelRefusal(model=model, reason=error.message) for model, error in refusals),
        notices=priced.notices,
    )


@spelled_out(EstimateRequest)
def estimate(request: EstimateRequest) -> Planned:
    """Memory, time, disk and, of a machine that is rented out, money of one method, on real data or on an imagined
    shape of data, never both; also of models that cannot be trained yet (`ModelSpec.can_be_trained`).

    A plan with only that method's candidates; raises as `plan` does. `exact`: the memory of the chosen one is
    counted by a dry run of the real training step, without weights: seconds and torch, once for each question.
    `trainable`: also which tensors it trains (`Planned.trained`); seconds and torch too.
    """
    priced = gather.priced(gather.machine_for(request.on), None, request.pricing, needed=False)
    machine = priced.machine
    spec, facts = gather.model_and_data(request, request.model, request.data, request.shape)
    made = planning.plan_for(request.question(spec, facts, machine))
    if request.exact:
        strategy = made.chosen.estimate.strategy
        traced = traced_phases(*questions_of(strategy, spec, facts, machine))
        made = planning.confirm(made, predict(strategy, spec, facts, machine, traced=traced), machine)
    trained = _trained(made.chosen.estimate.strategy, spec, facts, machine) if request.trainable else ()
    return Planned(plan=made, model=spec, data=facts, machine=machine, notices=priced.notices, trained=trained)


def _trained(strategy: Strategy, spec: ModelSpec, data: DataSpec, machine: Machine) -> tuple[TrainedTensors, ...]:
    """Of the real class, built without weights: seconds, and torch."""
    with heavy_imports():
        from trimtab.training.dry_run import on_meta
        from trimtab.tuning import trained_tensors

    return trained_tensors(on_meta(question_of(strategy, spec, data, machine)))


def _priced(request: AskedToChoose, on: str | None) -> gather.Priced:
    return gather.priced(gather.machine_for(on), request.price, request.pricing, needed=request.needs_price)


def _trainable(request: AskedToChoose, model: str, data: str, machine: Machine) -> planning.Request:
    """What the planner is asked of one model, which a training can run. Raises ModelError, DataError."""
    spec, facts = gather.model_and_data(request, model, data)
    refuse_untrained(spec)
    return request.question(spec, facts, machine)


def _check_models(models: Sequence[str]) -> None:
    if len(models) < 2 or len(set(models)) < len(models):
        raise UsageError("TT-U015", models=", ".join(models) or "-")
