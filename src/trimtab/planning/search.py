"""plan: the verb. Estimate every candidate, keep the best form of each variant, choose, and give reasons.
`compare` is the same without advice, for who asks of many machines."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from trimtab.data.spec import DataSpec
from trimtab.errors import Message, message
from trimtab.estimation import estimate
from trimtab.estimation.estimate import Estimate
from trimtab.hardware.machine import Machine
from trimtab.methods import Choices, Strategy
from trimtab.models.spec import ModelSpec
from trimtab.planning.advice import advice
from trimtab.planning.candidates import Variant, strategies, thrifty_rule, variants
from trimtab.planning.feasible import memory_overrun, overrun, shortfalls
from trimtab.planning.plan import Candidate, Goal, Limits, NoPlan, Plan
from trimtab.planning.rank import preference, why_chosen, why_not
from trimtab.planning.request import Request, Settings

_STATES_SHARE = 0.02  # of the peak; with less, states in 8 bit save nothing that a user would see


@dataclass(frozen=True, slots=True)
class _Row:
    """The best form of one variant. `saved_by_recompute`: without recompute no form of it fits; `saved_by_states`:
    none with the states of AdamW."""

    estimate: Estimate
    overrun: float
    saved_by_recompute: bool = False
    saved_by_states: bool = False

    @property
    def fits(self) -> bool:
        return self.overrun <= 1


def plan(
    spec: ModelSpec,
    data: DataSpec,
    machine: Machine,
    *,
    goal: Goal = "balanced",
    limits: Limits = Limits(),
    method: str | None = None,
    choices: Choices = Choices(),
    settings: Settings = Settings(),
) -> Plan:
    """`plan_for` the request of these; `method` None lets every method compete."""
    return plan_for(
        Request(
            spec=spec, data=data, machine=machine, goal=goal, limits=limits,
            method=method, choices=choices, settings=settings,
        )
    )  # fmt: skip


def plan_for(request: Request) -> Plan:
    """The strategy to run and every other one with its reason. Pure: the same question, the same plan.

    Raises UsageError where the request is impossible in itself, ModelError where no method can train the model,
    and NoPlan (exit 3), with the whole table, where nothing stays within the limits and the machine.
    """
    made = compare(request)
    if not made.chosen.fits:
        raise no_plan(request, made)
    return made


def no_plan(request: Request, made: Plan) -> NoPlan:
    """The refusal of a request of which `compare` has made a plan where nothing fits: the nearest miss, and what
    would help."""
    nearest, estimates = made.chosen, tuple(candidate.estimate for candidate in made.candidates)
    assert not nearest.fits
    return NoPlan(
        "TT-P020",
        plan=made,
        method=nearest.estimate.strategy.method,
        reason=nearest.reason,
        advice=advice(request, estimates, fits=_something_fits),
    )


def compare(request: Request) -> Plan:
    """Every strategy, those that fit first, each with its reason; where none fits, the nearest miss is the chosen
    one. Raises UsageError where the request is impossible in itself."""
    request.check()
    rows = sorted(_rows(request), key=_order(request.goal))
    return Plan(
        model=request.spec.name,
        data=request.data.name,
        machine=request.machine.name,
        goal=request.goal,
        limits=request.limits,
        candidates=tuple(_candidates(rows, request)),
    )


def confirm(made: Plan, better: Estimate, machine: Machine) -> Plan:
    """`made` with a better estimate of the strategy it chose. Raises NoPlan where by that one it does not fit."""
    lacking = shortfalls(better, machine, made.limits)
    reason = _together(lacking) if lacking else made.chosen.reason
    chosen = Candidate(estimate=better, fits=not lacking, reason=reason)
    confirmed = replace(made, candidates=(chosen, *made.candidates[1:]))
    if lacking:
        need = message("TT-P035", need=better.memory.peak_bytes.high)
        method = better.strategy.method
        raise NoPlan("TT-P020", plan=confirmed, method=method, reason=reason, advice=(need,))
    return confirmed


def _rows(request: Request) -> list[_Row]:
    return [_best(variant, request) for variant in variants(request)]


def _best(variant: Variant, request: Request) -> _Row:
    """The form of a variant that the goal prefers among those that fit, else the nearest miss. Thrifty optimiser
    states are tried where memory counts most, or where nothing fits without and some form is short of memory."""
    trials = _trials(strategies(variant, request), request)
    plain = any(excess <= 1 for excess, _ in trials)
    thrifty = thrifty_rule(request)
    wanted = request.goal == "memory" or (not plain and _short_of_memory(trials, request))
    if thrifty is not None and wanted and _states_matter(trials):
        trials += _trials(strategies(variant, request, thrifty), request)
    fitting = [guess for excess, guess in trials if excess <= 1]
    if not fitting:
        excess, guess = min(trials, key=lambda trial: (trial[0], preference("time", trial[1])))
        return _Row(guess, excess)
    most = max(guess.strategy.compared_rows for guess in fitting)  # fewer would teach something else
    best = min(
        (guess for guess in fitting if guess.strategy.compared_rows == most),
        key=lambda guess: preference(request.goal, guess),
    )
    saved = best.strategy.recompute and all(guess.strategy.recompute for guess in fitting)
    excess = overrun(best, request.machine, request.limits)
    return _Row(best, excess, saved_by_recompute=saved, saved_by_states=not plain)


def _trials(tried: Iterable[Strategy], request: Request) -> list[tuple[float, Estimate]]:
    """Each strategy's estimate, and how much of what is allowed it needs."""
    guess_of = estimate if request.kept is None else request.kept.estimate
    guesses = [guess_of(strategy, request.spec, request.data, request.machine) for strategy in tried]
    return [(overrun(guess, request.machine, request.limits), guess) for guess in guesses]


def _short_of_memory(trials: list[tuple[float, Estimate]], request: Request) -> bool:
    return any(memory_overrun(guess, request.machine, request.limits) > 1 for _, guess in trials)


def _states_matter(trials: list[tuple[float, Estimate]]) -> bool:
    """Whether optimiser states are worth mentioning where memory peaks, in the form that needs least."""
    least = min((guess.memory for _, guess in trials), key=lambda memory: memory.peak_bytes.value)
    return least.parts.optimizer_bytes >= _STATES_SHARE * least.parts.total_bytes


def _order(goal: Goal) -> Callable[[_Row], tuple[float, ...]]:
    """Feasible rows by the goal, then the others by how far they are from fitting."""
    return lambda row: (0, *preference(goal, row.estimate)) if row.fits else (1, row.overrun)


def _candidates(rows: list[_Row], request: Request) -> list[Candidate]:
    chosen = rows[0]
    feasible = sum(row.fits for row in rows)
    found = []
    for row in rows:
        if not row.fits:
            reason = _together(shortfalls(row.estimate, request.machine, request.limits))
        elif row is chosen:
            reason = why_chosen(request.goal, feasible)
        else:
            reason = why_not(request.goal, row.estimate, chosen.estimate)
        if row.saved_by_recompute:
            reason = message("TT-P210", reason=reason)
        if row.saved_by_states:
            reason = message("TT-P211", reason=reason, name=row.estimate.strategy.optimizer.name)
        found.append(Candidate(estimate=row.estimate, fits=row.fits, reason=reason))
    return found


def _together(reasons: tuple[Message, ...]) -> Message:
    return reasons[0] if len(reasons) == 1 else message("TT-P104", reasons=reasons)


def _something_fits(request: Request) -> bool:
    return any(row.fits for row in _rows(request))
