"""What `trimtab compare` is asked, what it says while it runs, and what it has found. Values only.

A bake-off trains several strategies on the same data and machine: few rows first, the better ones on more
(`planning.halving`). Chosen on dev, reported on test.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from trimtab.data import DataSpec
from trimtab.errors import Message
from trimtab.estimation import Estimate
from trimtab.hardware import Machine
from trimtab.metrics import Score
from trimtab.planning.frontier import Costs, frontier, knee
from trimtab.planning.halving import MOST_SEEDS, Entrant, Trial
from trimtab.study.request import AskedToChoose
from trimtab.units import Money

Status = Literal["chosen", "tied", "finalist", "out", "failed", "no time"]
Objective = Literal["score", "memory", "time", "money", "size", "latency"]
OBJECTIVES: tuple[Objective, ...] = ("score", "memory", "time", "money", "size", "latency")
USUAL_OBJECTIVES: tuple[Objective, ...] = ("score", "memory", "time")
DEFAULT_SECONDS = 900.0


@dataclass(frozen=True, kw_only=True, slots=True)
class CompareRequest(AskedToChoose):
    """A bake-off of strategies for `models` on `data`, within `limits`: all trainings together take at most
    `limits.seconds` (None = 15 minutes, or what `limits.money` pays for), each fits in `limits.memory_bytes`.
    `methods`: those that take part, empty = what the planner would try. `seeds`: with how many the finalists are
    trained, where the time lasts. `objectives`: those of the frontier. `store`: a SQLAlchemy URL for processes on
    several machines to share, None = that of the ledger."""

    models: tuple[str, ...]
    data: str
    out: str
    methods: tuple[str, ...] = ()
    seeds: int = MOST_SEEDS
    objectives: tuple[Objective, ...] = USUAL_OBJECTIVES
    store: str | None = None
    language: str = "en"


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """The metric that decides, of one split: [low, high] its 95 % interval over `rows`."""

    name: str
    value: float
    low: float
    high: float
    rows: int
    lower_is_better: bool = False

    @property
    def merit(self) -> float:
        """The value with its sign so that more is better."""
        return -self.value if self.lower_is_better else self.value


def measure(score: Score) -> Measure:
    """What of a score decides."""
    main = score.main
    return Measure(
        name=main.name,
        value=main.value,
        low=main.low,
        high=main.high,
        rows=score.n,
        lower_is_better=main.lower_is_better,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialResult:
    """A trial that is over. `seconds` of wall clock with all around the training, `train_seconds` of the training
    loop, beside which `predicted_seconds` stands; predictions were made before it began. `curve`: (step, loss on
    train). `command` makes the training again. `failure` says why there is no `dev`. `folder`: where its artifact
    lies, "" = it was not kept."""

    trial: Trial
    seconds: float
    dev: Measure | None = None
    dev_loss: float = math.inf
    test: Measure | None = None
    train_seconds: float = 0.0
    predicted_seconds: float = 0.0
    peak_memory_bytes: int = 0
    predicted_memory_bytes: int = 0
    samples_per_second: float = 0.0
    steps: int = 0
    stopped_by_time: bool = False
    curve: tuple[tuple[int, float], ...] = ()
    command: str = ""
    folder: str = ""
    failure: Message | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """A finalist beside the chosen one, on the same rows of `split`: [low, high] is the 95 % interval of what it
    has more of the metric; `text_seconds` of one text alone, `texts_per_second` of many."""

    low: float
    high: float
    text_seconds: float
    texts_per_second: float

    @property
    def shows_difference(self) -> bool:
        return not self.low <= 0.0 <= self.high


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """Where a strategy stands at the end, and why. `trials` in the order of their rungs; `best` is the one it is
    judged by: of the highest rung it reached, with the rate that did best. `again`: the same with other seeds.
    `estimate` is that of a training in earnest, made before anything ran; `artifact_bytes` what is kept beside the
    base, measured for finalists."""

    entrant: Entrant
    status: Status
    reason: Message
    estimate: Estimate
    trials: tuple[TrialResult, ...] = ()
    best: TrialResult | None = None
    again: tuple[TrialResult, ...] = ()
    artifact_bytes: int = 0
    switchable: bool = False
    mergeable: bool = False
    compared: Compared | None = None

    @property
    def in_earnest(self) -> bool:
        """Whether it was trained as it would be kept, on all rows."""
        return self.best is not None and self.best.trial.kept


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """What costs next to nothing, to hold the others against: "majority" (always the same answer), "bag of words"
    (logistic regression on words). `missing`: why it could not be had."""

    name: str
    seconds: float = 0.0
    dev: Measure | None = None
    test: Measure | None = None
    missing: Message | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Smaller:
    """A smaller model that was made of a finalist by `steps` of `trimtab compress`: the metric of `rows` rows of
    `split` before and after, and seconds of one text of `text_tokens` tokens, None where it was not timed."""

    entrant: str
    folder: str
    steps: tuple[str, ...]
    weight_bytes_before: int
    weight_bytes: int
    split: str
    rows: int
    before: float | None
    after: float | None
    text_tokens: int
    text_seconds: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Bakeoff:
    """A finished bake-off. `standings` in order, the chosen one first; `split`: on which rows finalists are
    compared ("test", or "dev" where there is none: then the chosen one's figure is flattered a little).
    `budget_seconds` were asked for, `spent_seconds` used. `verdict`: in a sentence. `smaller`: what has been made
    of finalists since, where the bake-off is asked for again."""

    models: tuple[str, ...]
    data: DataSpec
    machine: Machine
    metric: str
    split: str
    budget_seconds: float
    spent_seconds: float
    verdict: Message
    standings: tuple[Standing, ...]
    baselines: tuple[Baseline, ...]
    objectives: tuple[Objective, ...] = USUAL_OBJECTIVES
    smaller: tuple[Smaller, ...] = ()
    notices: tuple[Message, ...] = ()
    command: str = ""
    created_at: str = ""
    versions: tuple[tuple[str, str], ...] = ()

    @property
    def chosen(self) -> Standing:
        return self.standings[0]

    @property
    def measured(self) -> tuple[Standing, ...]:
        """Those that were trained in earnest."""
        return tuple(standing for standing in self.standings if standing.in_earnest)

    def frontier(self) -> tuple[Standing, ...]:
        """Of those trained in earnest the ones that none beats in all objectives at once."""
        measured = self.measured
        return tuple(measured[place] for place in frontier([self.costs(one) for one in measured]))

    def knee(self) -> Standing | None:
        measured = self.measured
        place = knee([self.costs(one) for one in measured])
        return None if place is None else measured[place]

    def costs(self, standing: Standing) -> Costs:
        """Of each objective, to be made small; NaN = not known."""
        return tuple(_COSTS[name](self, standing) for name in self.objectives)

    def money(self, standing: Standing) -> Money | None:
        """What its training cost, at the machine's price; None where that is not known."""
        price, best = self.machine.price, standing.best
        if price is None or best is None:
            return None
        return Money(price.hourly.amount * best.train_seconds / 3600, price.hourly.currency)


def _score_cost(bakeoff: Bakeoff, standing: Standing) -> float:
    best = standing.best
    return math.nan if best is None or best.dev is None else -best.dev.merit


def _money_cost(bakeoff: Bakeoff, standing: Standing) -> float:
    money = bakeoff.money(standing)
    return math.nan if money is None else money.amount


_COSTS: Mapping[Objective, Callable[[Bakeoff, Standing], float]] = {
    "score": _score_cost,
    "memory": lambda _, standing: float(standing.best.peak_memory_bytes) if standing.best else math.nan,
    "time": lambda _, standing: standing.best.train_seconds if standing.best else math.nan,
    "money": _money_cost,
    "size": lambda _, standing: float(standing.artifact_bytes) if standing.artifact_bytes else math.nan,
    "latency": lambda _, standing: standing.compared.text_seconds if standing.compared else math.nan,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class BakeoffStarted:
    """Who takes part, and who does not; `metric`: by which, "" before anything was scored. `resumed`: trials that
    an earlier process had finished."""

    entrants: tuple[Entrant, ...]
    skipped: tuple[Standing, ...]
    budget_seconds: float
    spent_seconds: float
    metric: str = ""
    resumed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineDone:
    baseline: Baseline


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialStarted:
    """`predicted_seconds` with all that is around the training; `left_seconds` of the budget."""

    trial: Trial
    predicted_seconds: float
    left_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialStep:
    """Of the trial that runs."""

    trial: Trial
    step: int
    steps: int
    loss: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialDone:
    result: TrialResult


@dataclass(frozen=True, kw_only=True, slots=True)
class WaitingForOthers:
    """Another process has the trials of this rung that are left."""

    trials: int


@dataclass(frozen=True, kw_only=True, slots=True)
class BakeoffDone:
    """`comparison_path` is the page, beside it .json and .csv."""

    bakeoff: Bakeoff
    comparison_path: str


Happening = (
    BakeoffStarted | BaselineDone | TrialStarted | TrialStep | TrialDone | WaitingForOthers | BakeoffDone | Message
)
