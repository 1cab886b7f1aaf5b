"""Who takes part in a bake-off: the strategies of the models' plans, the better ones first, as entrants.

No torch. A plan has a strategy in the form that is best here (precision, micro-batch); an entrant names the method
and its choices, and each trial is planned again for its own rows.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from trimtab import planning
from trimtab.data import DataSpec
from trimtab.errors import Message, message
from trimtab.estimation import Estimate
from trimtab.hardware import Machine
from trimtab.methods import LayerAdapter, Strategy, Weights, method_named
from trimtab.models import ModelSpec
from trimtab.planning import Candidate, Entrant, TrialCosts
from trimtab.study.bakeoff import CompareRequest, Standing

MOST_ENTRANTS = 12
_BASELINE = "head"  # a frozen model and a head on it: what every strategy must beat to be worth its cost
_AROUND_SECONDS = 3.0  # opening data and model, on two cores
_KEEPING_SECONDS = 10.0  # a fresh process, the artifact, its gate


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFacts:
    """A model that takes part, and the data as it reads them."""

    model: str
    spec: ModelSpec
    data: DataSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """An entrant with the prediction of its training in earnest; or, as `standing`, why it is none."""

    entrant: Entrant
    estimate: Estimate
    standing: Standing | None = None


def entrants(request: CompareRequest, models: Sequence[ModelFacts], machine: Machine) -> tuple[Listed, ...]:
    """All that could take part, in order of preference: each method once before its other depths; a quantised base
    where it is asked for, or nothing else fits. Those for which there is no memory, and those beyond
    MOST_ENTRANTS, have their standing. Raises UsageError, ModelError where no model can be planned for."""
    found = [listed for facts in models for listed in _of_model(request, facts, machine, alone=len(models) == 1)]
    inside = [listed for listed in found if listed.standing is None]
    outside = [listed for listed in found if listed.standing is not None]
    most = len(inside) if request.methods else MOST_ENTRANTS
    ordered = _each_method_first(inside)
    late = [_without(one, message("TT-B010", most=most)) for one in ordered[most:]]
    return (*ordered[:most], *late, *outside)


def _of_model(request: CompareRequest, facts: ModelFacts, machine: Machine, *, alone: bool) -> Iterator[Listed]:
    candidates = tuple(_candidates(request, facts, machine))
    whole = {one.estimate.strategy.parts for one in candidates if one.fits and not _quantised(one)}
    for one in candidates:
        if _quantised(one) and not request.methods and one.estimate.strategy.parts in whole:
            continue  # the same, rounded, where there is room for it as it is
        listed = Listed(entrant=_entrant(request, facts, one.estimate, alone), estimate=one.estimate)
        yield listed if one.fits else _without(listed, one.reason)


def questions(request: CompareRequest, facts: ModelFacts, machine: Machine) -> tuple[planning.Request, ...]:
    """What the planner is asked of a model: of each method that is named, or once of all. Within memory alone:
    time and money are limits of the whole bake-off."""
    limits = replace(request.limits, seconds=None, money=None)
    asked = replace(request, limits=limits, goal="balanced")
    named = request.methods or (None,)
    return tuple(replace(asked, method=name).question(facts.spec, facts.data, machine) for name in named)


def _candidates(request: CompareRequest, facts: ModelFacts, machine: Machine) -> Iterator[Candidate]:
    """Each method that is named in the form that is best for it."""
    for question in questions(request, facts, machine):
        made = planning.compare(question)
        yield from made.candidates if question.method is None else (made.chosen,)


def _quantised(candidate: Candidate) -> bool:
    return candidate.estimate.strategy.base_precision != "same"


def _each_method_first(listed: Iterable[Listed]) -> list[Listed]:
    """In rounds: the first of each method, then the second of each. The baseline is always among the first."""
    seen: dict[tuple[str, str], int] = {}
    places = []
    for place, one in enumerate(listed):
        key = (one.entrant.model, one.entrant.method)
        seen[key] = seen.get(key, -1) + 1
        places.append((0 if one.entrant.baseline else seen[key], place, one))
    return [one for _, _, one in sorted(places, key=lambda entry: entry[:2])]


def out_of_time(listed: Listed) -> Listed:
    """It takes no part: the budget does not reach to it."""
    return _without(listed, message("TT-B011", seconds=listed.estimate.time.total_seconds.value))


def _without(listed: Listed, reason: Message) -> Listed:
    standing = Standing(entrant=listed.entrant, status="no time", reason=reason, estimate=listed.estimate)
    return replace(listed, standing=standing)


def _entrant(request: CompareRequest, facts: ModelFacts, estimate: Estimate, alone: bool) -> Entrant:
    strategy = estimate.strategy
    depth = _depth(strategy)
    method = method_named(strategy.method)
    takes_depth = depth is not None and "top_layers" in method.takes
    name = strategy.method + (f" (top {depth})" if takes_depth else "")
    return Entrant(
        name=name if alone else f"{facts.spec.name}: {name}",
        model=facts.model,
        method=strategy.method,
        choices=replace(request.choices, top_layers=depth) if takes_depth else request.choices,
        base_precision=strategy.base_precision,
        learning_rate=strategy.schedule.learning_rate,
        epochs=strategy.schedule.epochs,
        max_length=strategy.max_length,
        costs=_costs(estimate, facts.data),
        baseline=strategy.method == _BASELINE,
    )


def _depth(strategy: Strategy) -> int | None:
    """How many upper layers are trained; None = all, or none."""
    depths = (part.top_layers for part in strategy.parts if isinstance(part, LayerAdapter | Weights))
    return next((depth for depth in depths if depth is not None), None)


def _costs(estimate: Estimate, data: DataSpec) -> TrialCosts:
    time, strategy = estimate.time, estimate.strategy
    once = 0.0 if time.prefix_seconds is None else time.prefix_seconds.value
    evaluations = strategy.schedule.epochs * max(1, strategy.schedule.evaluations)
    dev_row = time.evaluate_seconds.value / max(1, evaluations * data.dev_rows)
    return TrialCosts(
        once_seconds=once / max(1, data.train_rows + data.dev_rows),
        row_seconds=time.step_seconds.value / strategy.batch,
        dev_row_seconds=dev_row,
        around_seconds=_AROUND_SECONDS,
        keeping_seconds=_KEEPING_SECONDS + (data.test_rows + data.dev_rows) * max(dev_row, 0.0),
    )
