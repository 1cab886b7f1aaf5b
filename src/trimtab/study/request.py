"""What a verb is asked, and what it answers. Values only."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING

from trimtab.data import Sample, lost_answers_problem
from trimtab.data.spec import DataSpec, Prefixes, Task
from trimtab.errors import Message, message
from trimtab.estimation import MoneyEstimate, QualityPrior
from trimtab.hardware import Machine, Offer
from trimtab.methods import Choices, Strategy, TrainedTensors
from trimtab.models.spec import ModelSpec
from trimtab.planning import Goal, Limits, ModelRow, Plan, Request, Settings, needs_price
from trimtab.study.report import Comparison
from trimtab.units import ExchangeRate, Figure, Money

if TYPE_CHECKING:
    from trimtab.training.run import Run


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """How a data set is to be read; None = inferred. `seed` decides a split that has to be cut. `prefixes`: what
    stands before the texts that become vectors (task embed). `sample`: how many rows are used at most."""

    task: Task | None = None
    text: tuple[str, ...] | None = None
    label: str | None = None
    seed: int = 0
    keep_overlap: bool = False
    prefixes: Prefixes = Prefixes()
    sample: Sample = Sample()


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """An imagined data set: `examples` for training, each `length` tokens long, and `labels` classes, two or
    more."""

    examples: int = 10_000
    length: int = 128
    labels: int = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Pricing:
    """Where prices come from. `file` is laid over the shipped offers; None = prices.csv under TRIMTAB_HOME, where
    there is one. `cny_per_usd` None = the dated default. `today`: the day on which a price is old or not yet read;
    None = now."""

    file: str | None = None
    cny_per_usd: float | None = None
    today: date | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What every verb that plans may be asked: `method` None = every method competes; `choices` and `settings` of
    the training; how data are read; where prices come from. `trust_remote_code`: for a model that brings code of
    its own; a plan runs none of it."""

    method: str | None = None
    choices: Choices = Choices()
    settings: Settings = Settings()
    reading: Reading = Reading()
    pricing: Pricing = Pricing()
    trust_remote_code: bool = False

    def question(self, spec: ModelSpec, data: DataSpec, machine: Machine) -> Request:
        """The question to the planner, now that the facts are there."""
        return Request(
            spec=spec, data=data, machine=machine,
            method=self.method, choices=self.choices, settings=self.settings,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class AskedToChoose(Asked):
    """Besides, of a verb that chooses: by which goal, within which limits; `price`: what an hour of the machine
    costs, which limits and goals of money need."""

    goal: Goal = "balanced"
    limits: Limits = Limits()
    price: Money | None = None

    def question(self, spec: ModelSpec, data: DataSpec, machine: Machine) -> Request:
        return replace(Asked.question(self, spec, data, machine), goal=self.goal, limits=self.limits)

    @property
    def needs_price(self) -> bool:
        """Whether the answer rests on what a training costs."""
        return needs_price(self.goal, self.limits)


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanRequest(AskedToChoose):
    """One model, planned for. `on`: a catalogue machine, None = this one."""

    model: str = field(kw_only=False)
    data: str = field(kw_only=False)
    on: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelsRequest(AskedToChoose):
    """Several models, planned for on the same data and machine."""

    models: Sequence[str] = field(kw_only=False)
    data: str = field(kw_only=False)
    on: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class EstimateRequest(Asked):
    """One method, on real data or on an imagined shape of data, never both. `exact`: memory by a dry run.
    `trainable`: what is trained, by its places in the model."""

    model: str = field(kw_only=False)
    method: str | None = field()
    data: str | None = None
    shape: Shape | None = None
    on: str | None = None
    exact: bool = False
    trainable: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class CostRequest(Asked):
    """`runs` trainings, `idle_share` of their time besides, in which the machine stands idle; `spot`: at prices of
    machines that may be taken away at any time. `on` None = every machine that is rented out."""

    model: str = field(kw_only=False)
    data: str | None = None
    shape: Shape | None = None
    on: str | None = None
    runs: int = 1
    idle_share: float = 0.0
    spot: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainRequest(AskedToChoose):
    """One training on this machine: the question to the planner, and where its result goes.

    A checkpoint is written after every evaluation, every `save_seconds`, and every `save_steps` steps (0 =
    never for that reason). `stop_at`: seconds since 1970 after which no step begins.
    """

    model: str
    data: str
    out: str
    resume: bool = False
    allow_changed: bool = False
    save_seconds: float = 600.0
    save_steps: int = 0
    stop_at: float | None = None
    language: str = "en"


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """A plan with the facts it was made from. `notices`: what could not be used, and what goes without it.
    `trained`: what the chosen strategy trains, where that was asked for."""

    plan: Plan
    model: ModelSpec
    data: DataSpec
    machine: Machine
    notices: tuple[Message, ...] = ()
    trained: tuple[TrainedTensors, ...] = ()

    @property
    def warnings(self) -> tuple[Message, ...]:
        """The notices, and what the chosen strategy cannot learn of the data or takes for granted."""
        strategy, found = self.plan.chosen.estimate.strategy, list(self.notices)
        if self.data.answers is not None:
            lost = lost_answers_problem(self.data.answers, strategy.max_length)
            found += [] if lost is None else [lost.message]
        if strategy.pooling is not None and not self.model.pooling:
            found.append(message("TT-M068", model=self.model.name))
        if strategy.pooling is not None and strategy.accumulation > 1 and self.data.form == "ranked":
            found.append(message("TT-D148", batch=strategy.batch, micro=strategy.micro_batch))
        return tuple(found)


@dataclass(frozen=True, kw_only=True, slots=True)
class CostedOffer:
    """A training on one offer: what is run, how good it is expected to be, how long one run takes, and what all of
    them cost."""

    offer: Offer
    strategy: Strategy
    quality: QualityPrior
    seconds: Figure
    money: MoneyEstimate


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelRefusal:
    """A model that has no plan, and why."""

    model: str
    reason: Message


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelChoice:
    """Several models on the same data and machine, each with the strategy of its own plan, in order of preference;
    those that cannot be planned for apart."""

    goal: Goal
    data: DataSpec
    machine: Machine
    rows: tuple[ModelRow, ...]
    refused: tuple[ModelRefusal, ...] = ()
    notices: tuple[Message, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Misfit:
    """A machine that is rented out, and why the training does not fit there."""

    machine: str
    reason: Message


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingCost:
    """What a training costs on one offer and another, the cheapest first. `goal` chose the strategy of each."""

    model: ModelSpec
    data: DataSpec
    goal: Goal
    runs: int
    idle_share: float
    spot: bool
    rate: ExchangeRate
    offers: tuple[CostedOffer, ...]
    misfits: tuple[Misfit, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """A training is finished and its artifact stands. `rows` are predicted figures beside measured ones."""

    artifact_path: str
    report_path: str
    run: "Run"
    rows: tuple[Comparison, ...]
