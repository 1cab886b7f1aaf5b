"""Halving: which trials a bake-off runs next. Successive halving over strategies, the learning rate first.

Pure: the same question and the same outcomes give the same trials, in every process that shares a bake-off, so
that a killed one goes on where it was. Rungs, each of the time there is:

    rates    every entrant at three learning rates, on few rows
    edges    a better half whose best rate was the lowest or highest tried: one further out
    half     the better half at its best rate, on more rows
    finals   the best few as they would be trained in earnest, with artifacts
    again    the finalists with further seeds, while the time lasts

Halving: Jamieson and Talwalkar 2016 (arXiv 1502.07943). That the rate comes first: of prompt tuning and IA3 it
moves the score by more than the choice among methods does. Leaves out running a trial and the verdict (study).
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

from trimtab.errors import Message
from trimtab.methods import BasePrecision, Choices

RATE_STEP = 3.0  # from one learning rate tried to the next; half a decade
_FIRST_SHARE, _HALF_SHARE = 0.24, 0.25  # of the time: learning rates, edges besides; the better half
FEWEST_ROWS = 256  # trained on in a trial; of fewer nothing is learned but noise
_FEWEST_DEV = 500  # rows of dev; below, chance decides among rates
_FEWEST_HALF = 3
MOST_FINALISTS = 3
_LONGEST_NAME = 120  # letters of an entrant's in a key
MOST_SEEDS = 3
_MARGIN = 0.92  # of the time that is left is planned for: what trials take is known to a tenth
_SURPRISE = (0.25, 4.0)  # measured over predicted seconds that one entrant's trials may teach


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialCosts:
    """Predicted seconds of an entrant: of a row run once through a frozen part, of a row trained on once, of a row
    of dev scored once; and around the training, of a trial, and of one that is kept besides."""

    once_seconds: float
    row_seconds: float
    dev_row_seconds: float
    around_seconds: float
    keeping_seconds: float

    def train_seconds(self, trial: "Trial") -> float:
        """Of the training itself."""
        once = (trial.rows + trial.dev_rows) * self.once_seconds
        each = trial.rows * self.row_seconds + trial.dev_rows * self.dev_row_seconds
        return once + trial.epochs * each


@dataclass(frozen=True, kw_only=True, slots=True)
class Entrant:
    """A strategy that takes part: a method with its choices on one model. `learning_rate` to start from; `epochs`
    of a training in earnest; `baseline`: trained in earnest at the end wherever it stands."""

    name: str
    model: str
    method: str
    choices: Choices
    base_precision: BasePrecision
    learning_rate: float
    epochs: int
    max_length: int
    costs: TrialCosts
    baseline: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One training of an entrant, on `rows` of train and scored on `dev_rows` of dev. `kept`: in earnest, its
    artifact stays and test is scored too."""

    rung: int
    entrant: str
    learning_rate: float
    rows: int
    dev_rows: int
    epochs: int
    seed: int = 0
    kept: bool = False

    @property
    def key(self) -> str:
        """What tells it from every other trial of a bake-off; short, whatever a model is called."""
        name = self.entrant
        if len(name) > _LONGEST_NAME:
            name = name[:_LONGEST_NAME] + hashlib.sha256(name.encode()).hexdigest()[:16]
        told = (f"{self.learning_rate:.3g}", self.rows, self.dev_rows, self.epochs, self.seed)
        return " ".join(map(str, (self.rung, name, *told)))

    @property
    def samples(self) -> int:
        return self.rows * self.epochs


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What came of a trial: `merit`, the metric that decides, with its sign so that more is better, and the loss
    on dev; or why there is none. `seconds` of wall clock, of them `train_seconds` of the training itself."""

    trial: Trial
    seconds: float
    train_seconds: float = 0.0
    merit: float = -math.inf
    loss: float = math.inf
    failure: Message | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """Who takes part, on how many rows of train and dev there are, within how many `seconds`, of which the
    `spent_seconds` are gone before the first trial. `seed`: the first of the trainings in earnest."""

    entrants: tuple[Entrant, ...]
    train_rows: int
    dev_rows: int
    seconds: float
    batch: int
    spent_seconds: float = 0.0
    seed: int = 0
    finalists: int = MOST_FINALISTS
    seeds: int = MOST_SEEDS

    def named(self, name: str) -> Entrant:
        return next(entrant for entrant in self.entrants if entrant.name == name)


RUNGS: tuple[str, ...] = ("rates", "edges", "half", "finals", "again", "again")


def next_trials(field: Field, outcomes: Iterable[Outcome]) -> tuple[Trial, ...]:
    """The trials that may be begun now, those of one rung that have no outcome yet; empty once all is over. Trials
    of a rung are settled by the outcomes of the rungs before, by nothing else."""
    by_rung: Mapping[int, list[Outcome]] = _by_rung(outcomes)
    done: list[Outcome] = []
    for rung, make in enumerate(_MAKERS):
        state = _State(field, tuple(done), rung)
        wanted = make(state)
        finished = {outcome.trial.key for outcome in by_rung.get(rung, ())}
        missing = tuple(trial for trial in wanted if trial.key not in finished)
        if missing:
            return missing
        done += by_rung.get(rung, ())
    return ()


def predicted_seconds(field: Field, outcomes: Iterable[Outcome], trial: Trial) -> float:
    """Wall clock of a trial, by what those of its entrant have taken so far."""
    return _State(field, tuple(outcomes), trial.rung).seconds(trial)


def fit(field: Field) -> tuple[tuple[Entrant, ...], tuple[Entrant, ...]]:
    """The entrants for whom there is time, in order, and those for whom there is none: each must be tried once on
    FEWEST_ROWS within the first rung, a baseline before all others."""
    most, taken = _FIRST_SHARE * (field.seconds - field.spent_seconds), 0.0
    inside: list[Entrant] = []
    for entrant in sorted(field.entrants, key=lambda entrant: not entrant.baseline):
        first = _first(field, entrant, FEWEST_ROWS)
        taken += entrant.costs.around_seconds + entrant.costs.train_seconds(first)
        if taken <= most or len(inside) < 2:
            inside.append(entrant)
    kept = tuple(entrant for entrant in field.entrants if entrant in inside)
    return kept, tuple(entrant for entrant in field.entrants if entrant not in inside)


def ranked(outcomes: Iterable[Outcome]) -> tuple[Outcome, ...]:
    """The best outcome of each entrant, the best first: by merit and, where that is equal, by loss."""
    best: dict[str, Outcome] = {}
    for outcome in sorted(outcomes, key=_worth):
        if outcome.failure is None:
            best.setdefault(outcome.trial.entrant, outcome)
    return tuple(best.values())


def _worth(outcome: Outcome) -> tuple[float, float]:
    return (-outcome.merit, outcome.loss)


def _by_rung(outcomes: Iterable[Outcome]) -> dict[int, list[Outcome]]:
    found: dict[int, list[Outcome]] = {}
    for outcome in sorted(outcomes, key=lambda outcome: outcome.trial.key):
        found.setdefault(outcome.trial.rung, []).append(outcome)
    return found


@dataclass(frozen=True, slots=True)
class _State:
    """What a rung is made from: the outcomes of those before it."""

    field: Field
    done: tuple[Outcome, ...]
    rung: int

    @property
    def left_seconds(self) -> float:
        spent = sum(outcome.seconds for outcome in self.done)
        return self.field.seconds - self.field.spent_seconds - spent

    def seconds(self, trial: Trial) -> float:
        """Predicted, by what the entrant's trials have taken so far."""
        costs = self.field.named(trial.entrant).costs
        kept = costs.keeping_seconds if trial.kept else 0.0
        return self._around(trial.entrant) + kept + self._surprise(trial.entrant) * costs.train_seconds(trial)

    def _surprise(self, name: str) -> float:
        """Seconds that trainings took over those predicted for them."""
        costs, (low, high) = self.field.named(name).costs, _SURPRISE
        shares = [outcome.train_seconds / costs.train_seconds(outcome.trial) for outcome in self._telling(name)]
        return min(max(median(shares), low), high) if shares else 1.0

    def _around(self, name: str) -> float:
        """Seconds around a training."""
        taken = [
            outcome.seconds - outcome.train_seconds for outcome in self._telling(name) if not outcome.trial.kept
        ]
        return median(taken) if taken else self.field.named(name).costs.around_seconds

    def _telling(self, name: str) -> list[Outcome]:
        """The trials of an entrant that tell most: those of the last rung it was in."""
        mine = [outcome for outcome in self.done if outcome.trial.entrant == name and outcome.failure is None]
        last = max((outcome.trial.rung for outcome in mine), default=0)
        return [outcome for outcome in mine if outcome.trial.rung == last]


def latest(outcomes: Iterable[Outcome]) -> tuple[Outcome, ...]:
    """Entrants by their best outcome in the highest rung that each has reached, those that came further first.
    Edges are further rates of the first rung, and are ranked with it."""
    by_rung: dict[int, list[Outcome]] = {}
    for outcome in outcomes:
        by_rung.setdefault(0 if outcome.trial.rung == RUNGS.index("edges") else outcome.trial.rung, []).append(
            outcome
        )
    found: dict[str, Outcome] = {}
    for rung in sorted(by_rung, reverse=True):
        for outcome in ranked(by_rung[rung]):
            found.setdefault(outcome.trial.entrant, outcome)
    return tuple(found.values())


def _rates(state: _State) -> tuple[Trial, ...]:
    most = _FIRST_SHARE * state.left_seconds
    several, alone = partial(_tried, state, (1 / RATE_STEP, 1.0, RATE_STEP)), partial(_tried, state, (1.0,))
    rows, fewest = _rows_within(state, most, several), min(FEWEST_ROWS, _most_rows(state.field))
    return several(rows) if rows >= fewest else alone(max(fewest, _rows_within(state, most, alone)))


def _tried(state: _State, factors: Sequence[float], rows: int) -> tuple[Trial, ...]:
    return tuple(
        _first(state.field, entrant, rows, entrant.learning_rate * factor)
        for entrant in state.field.entrants
        for factor in factors
    )


def _first(field: Field, entrant: Entrant, rows: int, rate: float | None = None) -> Trial:
    return _short(field, entrant, rows, rung=0, rate=rate or entrant.learning_rate)


def _short(field: Field, entrant: Entrant, samples: int, *, rung: int, rate: float) -> Trial:
    """A trial of so many rows, or, where there are fewer, of several epochs over all."""
    rows = min(samples, field.train_rows)
    return Trial(
        rung=rung,
        entrant=entrant.name,
        learning_rate=rate,
        rows=rows,
        dev_rows=min(field.dev_rows, max(rows, _FEWEST_DEV)),
        epochs=max(1, round(samples / rows)),
        seed=field.seed,
    )


def _edges(state: _State) -> tuple[Trial, ...]:
    best, found = ranked(state.done), []
    for outcome in best[: _half_of(len(best))]:
        rates = {o.trial.learning_rate for o in state.done if o.trial.entrant == outcome.trial.entrant}
        rate = outcome.trial.learning_rate
        if len(rates) > 1 and rate in (min(rates), max(rates)):
            further = rate * RATE_STEP if rate == max(rates) else rate / RATE_STEP
            found.append(replace(outcome.trial, rung=state.rung, learning_rate=further))
    return tuple(found)


def _half(state: _State) -> tuple[Trial, ...]:
    best = latest(state.done)
    chosen = best[: _half_of(len(best))]
    most = _HALF_SHARE * (state.field.seconds - state.field.spent_seconds)

    def trials(rows: int) -> tuple[Trial, ...]:
        return tuple(
            _short(state.field, state.field.named(outcome.trial.entrant), rows, rung=state.rung, rate=rate)
            for outcome in chosen
            for rate in (outcome.trial.learning_rate, outcome.trial.learning_rate / RATE_STEP)
        )

    rows = _rows_within(state, most, trials)
    before = max((outcome.trial.samples for outcome in state.done), default=0)
    return trials(rows) if rows >= 2 * before and len(chosen) > 1 else ()


def _half_of(count: int) -> int:
    return min(count, max(_FEWEST_HALF, math.ceil(count / 2)))


def _rows_within(state: _State, most_seconds: float, trials: Callable[[int], tuple[Trial, ...]]) -> int:
    """Most samples, a multiple of the batch, with which all of `trials` take `most_seconds` together."""
    batch = state.field.batch
    low, high = 1, max(1, _most_rows(state.field) // batch)
    while low < high:
        middle = (low + high + 1) // 2
        if sum(map(state.seconds, trials(middle * batch))) <= most_seconds:
            low = middle
        else:
            high = middle - 1
    return low * batch


def _most_rows(field: Field) -> int:
    """Samples of a trial that is not in earnest: half of one that is."""
    return min(entrant.epochs for entrant in field.entrants) * field.train_rows // 2


def _finals(state: _State) -> tuple[Trial, ...]:
    """As many of the best as are trained in earnest within the time left; where not even two are, two on as many
    rows as can be. A baseline goes with them."""
    best = latest(state.done)
    most = _MARGIN * state.left_seconds
    finals = [_earnest(state, outcome) for outcome in best]
    names = [outcome.trial.entrant for outcome in best]
    extra = [t for t, name in zip(finals, names, strict=True) if state.field.named(name).baseline]
    for count in range(min(state.field.finalists, len(finals)), 0, -1):
        chosen = _with(finals[:count], extra)
        if sum(map(state.seconds, chosen)) <= most:
            if count > 1 or len(finals) == 1:
                return chosen
            break
    pair = finals[:2]
    share = _share_within(state, pair, most)
    return tuple(replace(trial, rows=max(1, int(share * trial.rows))) for trial in pair)


def _earnest(state: _State, outcome: Outcome) -> Trial:
    entrant = state.field.named(outcome.trial.entrant)
    return Trial(
        rung=state.rung,
        entrant=entrant.name,
        learning_rate=outcome.trial.learning_rate,
        rows=state.field.train_rows,
        dev_rows=state.field.dev_rows,
        epochs=entrant.epochs,
        seed=state.field.seed,
        kept=True,
    )


def _share_within(state: _State, trials: Sequence[Trial], most_seconds: float) -> float:
    """Of their rows, with which `trials` take at most so long."""
    low, high = 0.0, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        cut = [replace(trial, rows=max(1, int(middle * trial.rows))) for trial in trials]
        low, high = (middle, high) if sum(map(state.seconds, cut)) <= most_seconds else (low, middle)
    return low


def _again(state: _State) -> tuple[Trial, ...]:
    """Each finalist with the next seed, the best first, while there is time."""
    finals = [outcome for outcome in state.done if outcome.trial.kept and outcome.failure is None]
    before = [o for o in finals if o.trial.rung == state.rung - 1]
    seed = state.field.seed + state.rung - RUNGS.index("finals")
    if seed - state.field.seed >= state.field.seeds:
        return ()
    left, found = _MARGIN * state.left_seconds, []
    for outcome in sorted(before, key=_worth):
        trial = replace(outcome.trial, rung=state.rung, seed=seed, kept=True)
        left -= state.seconds(trial)
        if left < 0:
            break
        found.append(trial)
    return tuple(found) if len(found) > 1 else ()


def _with(chosen: Sequence[Trial], extra: Sequence[Trial]) -> tuple[Trial, ...]:
    return (*chosen, *(trial for trial in extra if trial not in chosen))


_MAKERS: tuple[Callable[[_State], tuple[Trial, ...]], ...] = (_rates, _edges, _half, _finals, _again, _again)
