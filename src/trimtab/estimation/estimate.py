"""Estimate: predicted memory, time, money and disk of one Strategy, in parts, with intervals and evidence."""

from dataclasses import dataclass, fields
from operator import attrgetter

from trimtab.hardware.machine import Price
from trimtab.methods.strategy import Strategy
from trimtab.units import Currency, Figure

PARTS = (  # above the runtime
    "weights",
    "gradients",
    "optimizer",
    "activations",
    "logits",
    "temporaries",
    "teacher",
    "prefix",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryParts:
    """Bytes alive at the peak, by what they are for. The parts add up to the whole by construction.

    weights: all parameters as held while training (with the fp32 master copy of trained ones where they are
    bf16); gradients; optimiser: its states; activations: kept for backward; logits: head outputs and their
    gradient; temporaries: buffers of the phase that peaks; runtime: interpreter,
    libraries and the kernels they compile, CUDA context; teacher: a second model that answers while this one
    learns; prefix: what a frozen part gave for all texts.
    """

    weights_bytes: int
    gradients_bytes: int
    optimizer_bytes: int
    activations_bytes: int
    logits_bytes: int
    temporaries_bytes: int
    runtime_bytes: int = 0
    teacher_bytes: int = 0
    prefix_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        return sum(_bytes_of(self))

    @property
    def largest(self) -> str:
        """Name of the largest part above the runtime, without its unit: "activations"."""
        return max(PARTS, key=lambda name: getattr(self, f"{name}_bytes"))


_bytes_of = attrgetter(*(field.name for field in fields(MemoryParts)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """What is alive at the worst moment of one phase of a training: ask (a teacher, before the training), load,
    prefix (the frozen part is run once), forward-backward, optimizer, evaluate, or save (what was saved is opened
    again, to be held to the trained model, which has gone by then). Where it stands alone its parts are live
    tensors, without a runtime."""

    name: str
    parts: MemoryParts


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryEstimate:
    """Peak memory. `phase` is the name of the `Phase` that peaks.

    `kind` says which memory is meant: "rss" for a CPU process, "device" for reserved memory plus context on a
    GPU, which is what decides over out-of-memory there.
    """

    peak_bytes: Figure
    parts: MemoryParts
    phase: str
    kind: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeEstimate:
    """Seconds of wall clock. `train_seconds` covers all epochs, `evaluate_seconds` all dev evaluations,
    `teacher_seconds` what a teacher answers before the training begins, `prefix_seconds`, a part of
    `train_seconds`, one run of the frozen part, where it is run once a stage."""

    step_seconds: Figure
    steps: int
    train_seconds: Figure
    evaluate_seconds: Figure
    total_seconds: Figure
    teacher_seconds: Figure | None = None
    prefix_seconds: Figure | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class MoneyEstimate:
    """What a training costs in both currencies, when `price` is paid for `paid_seconds`: of every run, and of the
    time in which the machine stands idle."""

    cny: Figure
    usd: Figure
    paid_seconds: Figure
    price: Price

    def figure(self, currency: Currency) -> Figure:
        return self.cny if currency == "CNY" else self.usd


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityPrior:
    """What is known about a method's quality before running: points of the main metric against full tuning.

    A rule with its interval, never a prediction of one run. `source` names the published comparison.
    """

    relative: Figure
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StageEstimate:
    """One stage of a training: it trains layers `first` to `last` (see `methods.Stage`) for `steps` at most."""

    first: int
    last: int
    epochs: int
    steps: int
    learning_rate: float
    trainable_parameters: int
    step_seconds: Figure
    peak_bytes: Figure


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """Everything predicted for one Strategy on one Machine. `kept_bytes`: of the weights that are kept, what was
    added to the base or the whole model; `disk_bytes`: the most that the output folder holds. `money` is of one
    run without idle time; None where the machine has no price. `stages`: one by one, empty where there is
    but one. `prefix_bytes`: what the frozen part gives for all texts, where it is run once."""

    strategy: Strategy
    trainable_parameters: int
    total_parameters: int
    memory: MemoryEstimate
    time: TimeEstimate
    disk_bytes: Figure
    kept_bytes: int
    quality: QualityPrior
    money: MoneyEstimate | None = None
    stages: tuple[StageEstimate, ...] = ()
    prefix_bytes: int = 0
