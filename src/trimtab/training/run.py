"""Run: a Plan carried out. What was measured, what came out, with which seed and versions."""

from dataclasses import dataclass

from trimtab.metrics.score import Score


@dataclass(frozen=True, kw_only=True, slots=True)
class LossPoint:
    """Training loss (mean since the point before) and, after an evaluation, the main dev metric."""

    step: int
    loss: float
    learning_rate: float
    dev_metric: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class StageRun:
    """One stage as it was run: layers `first` to `last` (see `methods.Stage`) trained for `steps`, to begin with
    at `learning_rate`. `dev_metric`: the main metric of dev at its end."""

    first: int
    last: int
    steps: int
    learning_rate: float
    stopped_early: bool
    dev_metric: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """Measured facts of one training.

    `seconds` is the training loop alone (steps and dev evaluations, without loading), `step_seconds` a step on
    average, but the first. `tokens` counts non-padding tokens trained on, `samples` examples. `peak_memory_bytes`
    is the process' high-water mark (resident set on a CPU, reserved memory plus context on a GPU) and
    `runtime_memory_bytes` what the process held before the model was loaded. `best_step` is the step whose weights
    were kept, 0 where no training was better than none; `stages`: one by one, where there were several;
    `untrained_metric` the main dev metric of the model as it came, where it could do the task. `prefix_seconds`, a
    part of `seconds`, were taken to run the frozen part once, whose states are `prefix_bytes`; 0 where it was run
    in every step. `prefix_built`: not all of them were found as another run had left them."""

    seconds: float
    load_seconds: float
    step_seconds: float
    evaluate_seconds: float
    steps: int
    epochs: float
    samples: int
    tokens: int
    peak_memory_bytes: int
    runtime_memory_bytes: int
    best_step: int
    stopped_early: bool
    seed: int
    precision: str
    micro_batch: int
    threads: int
    history: tuple[LossPoint, ...]
    dev: Score
    test: Score | None
    versions: tuple[tuple[str, str], ...]
    untrained_metric: float | None = None
    stages: tuple[StageRun, ...] = ()
    prefix_bytes: int = 0
    prefix_seconds: float = 0.0
    prefix_built: bool = False

    @property
    def samples_per_second(self) -> float:
        return self.samples / max(self.seconds - self.evaluate_seconds, 1e-9)

    @property
    def tokens_per_second(self) -> float:
        """Non-padding tokens a second of training, evaluations left out."""
        return self.tokens / max(self.seconds - self.evaluate_seconds, 1e-9)
