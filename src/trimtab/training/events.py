"""What the loop yields. CLI, web page and store listen; there are no callbacks."""

from dataclasses import dataclass

from trimtab.errors import Message
from trimtab.metrics.score import Score
from trimtab.training.run import Run


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Abstract: something happened."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Started(Event):
    """The model is loaded. `resumed_step` is 0 for a fresh run; `read_seconds`: of `load_seconds`, those in which
    rows were read and tokenised, or found."""

    steps: int
    rows: int
    trainable_parameters: int
    total_parameters: int
    resumed_step: int
    load_seconds: float
    read_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class StageStarted(Event):
    """Of several stages the next one begins, or goes on: number `stage` (1 = first) of `stages`. It trains layers
    `first` to `last` (see `methods.Stage`), `steps` at most, after `step` of the whole."""

    stage: int
    stages: int
    first: int
    last: int
    layers: int
    step: int
    steps: int
    learning_rate: float
    trainable_parameters: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PrefixProgress(Event):
    """What lies below layer `depth` has been run over so many `tokens` `of` all, in `seconds`."""

    depth: int
    tokens: int
    of: int
    seconds: float
    eta_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class PrefixReady(Event):
    """What the lower `depth` of `layers` layers give is there for all `tokens`, in `bytes`; `reused`: an earlier
    run had it. From now on the layers above alone are run."""

    depth: int
    layers: int
    tokens: int
    bytes: int
    seconds: float
    reused: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Preflight(Event):
    """The longest batch went through one whole step of every stage without changing anything."""

    rows: int
    tokens_per_row: int
    seconds: float
    memory_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Step(Event):
    """One optimiser step is done."""

    step: int
    steps: int
    epoch: float
    loss: float
    learning_rate: float
    seconds: float
    eta_seconds: float
    memory_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluated(Event):
    step: int
    score: Score
    best: bool
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Saved(Event):
    """A checkpoint is complete on disk."""

    step: int
    path: str
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice(Event):
    """Something the user should know and need not act on: an OOM retreat, a damaged checkpoint passed over."""

    message: Message


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished(Event):
    run: Run
