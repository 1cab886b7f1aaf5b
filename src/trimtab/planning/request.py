"""Request: all that a plan is asked for, and the refusal of what cannot be done, before anything loads."""

import math
from dataclasses import dataclass, field, fields

from trimtab.data.spec import DataSpec
from trimtab.errors import ModelError, UsageError
from trimtab.hardware.machine import Machine
from trimtab.methods import METHODS, PRECISIONS, Choices, Method, Part, Precision, method_named, parts_for
from trimtab.models import TRAINED_FAMILIES
from trimtab.models.spec import ModelSpec
from trimtab.planning.plan import GOALS, Goal, Limits

_LARGEST_SEED = 2**32 - 1  # what every library that draws takes
# Up to four special tokens and a token of each of two texts; with less room a tokenizer cuts nothing at all.
_SHORTEST_LENGTH = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What a user may wish about a training; None leaves it to the planner.

    `batch` is the global batch, in rows. `max_length` is in tokens. `recompute` is gradient checkpointing.
    """

    epochs: int | None = None
    batch: int | None = None
    learning_rate: float | None = None
    max_length: int | None = None
    precision: Precision | None = None
    recompute: bool | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One question to the planner. `method` None = every method competes."""

    spec: ModelSpec
    data: DataSpec
    machine: Machine
    goal: Goal = "balanced"
    limits: Limits = field(default_factory=Limits)
    method: str | None = None
    choices: Choices = field(default_factory=Choices)
    settings: Settings = field(default_factory=Settings)

    @property
    def methods(self) -> tuple[Method, ...]:
        """The methods that compete: the one asked for, or all that take every choice the user made (who asks
        for `--top-layers 4` does not want full tuning). Raises UsageError for an unknown name."""
        named = METHODS if self.method is None else (method_named(self.method),)
        able = (method for method in named if self.parts(method, self.choices))
        return tuple(method for method in able if set(_made(self.choices)) <= set(method.takes))

    def parts(self, method: Method, choices: Choices) -> tuple[Part, ...]:
        """What `method` trains of this model for this task; nothing where it has nothing to train."""
        return parts_for(method, self.data.task, self.spec, choices)

    def check(self) -> None:
        """Raises UsageError where the request contradicts itself, the model or the machine, ModelError TT-P014 or
        TT-P018 where what a training of the model takes cannot be told."""
        _check_layers(self.spec)
        _check_task(self)
        _check_goal(self.goal)
        _check_word(self.settings)
        _check_price(self)
        _check_counts(self.settings, self.choices)
        _check_choices(self)
        _check_rank(self)
        _check_depth(self.spec, self.choices)
        _check_length(self.spec, self.settings)
        _check_precision(self.machine, self.settings)


def needs_price(goal: Goal, limits: Limits) -> bool:
    """Whether the answer rests on what a training costs."""
    return goal == "money" or limits.money is not None


def refuse_untrained(spec: ModelSpec) -> None:
    """For who plans what is to be run: raises ModelError TT-P014, TT-P018 or TT-P017 where no training can run the
    model. Of some that are refused here memory and time are predicted all the same: `estimate`, `cost train`."""
    _check_layers(spec)
    if not spec.can_be_trained:
        known = ", ".join(TRAINED_FAMILIES)
        raise ModelError("TT-P017", model=spec.name, family=spec.family, known=known)


def can_compute(machine: Machine, precision: Precision) -> bool:
    """Whether `machine` can train in `precision` at all. A CPU emulates bf16 where it lacks the instructions; fp16
    needs a GPU, since its range is too small to train in without tensor hardware's fp32 sums."""
    if precision == "fp32" or (precision == "bf16" and machine.device.kind == "cpu"):
        return True
    return machine.device.kind != "cpu" and machine.device.peak(precision) is not None


def _made(choices: Choices) -> tuple[str, ...]:
    return tuple(field.name for field in fields(choices) if getattr(choices, field.name) is not None)


def _flag(name: str) -> str:
    return "--lr" if name == "learning_rate" else "--" + name.replace("_", "-")


def _check_layers(spec: ModelSpec) -> None:
    """A part says which layers it trains. The layers of ALBERT are one, and an encoder-decoder has two stacks of
    them: neither the loop nor what the parts count is right for these."""
    if spec.stored_layers < spec.layers:
        raise ModelError("TT-P014", model=spec.name, family=spec.family, layers=spec.layers)
    if spec.kind == "encoder-decoder":
        raise ModelError("TT-P018", model=spec.name, family=spec.family)


def _check_task(request: Request) -> None:
    """Raises UsageError TT-P021 for conversations and a model that writes no text, TT-P022 for a method that
    trains nothing which such a model has."""
    if request.data.task != "instruct":
        return
    if request.spec.kind != "decoder":
        raise UsageError("TT-P021", model=request.spec.name, family=request.spec.family)
    if request.method is not None and not request.parts(method_named(request.method), Choices()):
        able = ", ".join(method.name for method in METHODS if request.parts(method, Choices()))
        raise UsageError("TT-P022", method=request.method, able=able)


def _check_goal(goal: str) -> None:
    if goal not in GOALS:
        raise UsageError("TT-P005", goal=goal, known=", ".join(GOALS))


def _check_word(settings: Settings) -> None:
    """A precision that does not exist is no machine's fault."""
    if settings.precision is not None and settings.precision not in PRECISIONS:
        raise UsageError("TT-P019", precision=settings.precision, known=", ".join(PRECISIONS))


def _check_price(request: Request) -> None:
    """What a training costs is not known on a machine without a price."""
    if request.machine.price is not None:
        return
    if request.limits.money is not None:
        raise UsageError("TT-P015", option=f"--money {request.limits.money}", machine=request.machine.name)
    if request.goal == "money":
        raise UsageError("TT-P015", option="--goal money", machine=request.machine.name)


def _check_counts(settings: Settings, choices: Choices) -> None:
    counts = {name: getattr(settings, name) for name in ("epochs", "batch", "learning_rate", "max_length")}
    counts |= {name: getattr(choices, name) for name in ("rank", "alpha", "top_layers")}
    for name, value in counts.items():
        if value is not None and not 0 < value < math.inf:
            raise UsageError("TT-P006", flag=_flag(name), value=value)
    if not 0 <= settings.seed <= _LARGEST_SEED:
        raise UsageError("TT-P011", value=settings.seed, most=_LARGEST_SEED)


def _check_choices(request: Request) -> None:
    if request.methods:
        return
    made = _made(request.choices)
    takers = {choice: [method.name for method in METHODS if choice in method.takes] for choice in made}
    refused = next(choice for choice in made if request.method not in takers[choice])
    raise UsageError(
        "TT-P007", flag=_flag(refused), method=request.method or "auto", takers=", ".join(takers[refused])
    )


def _check_rank(request: Request) -> None:
    """At the smaller side of a matrix a low-rank product can be any matrix of that size: more costs more and says
    nothing more."""
    rank, spec = request.choices.rank, request.spec
    if rank is None:
        return
    parts = [part for method in request.methods for part in request.parts(method, request.choices)]
    matrices = [linear for part in parts for linear, _ in part.load(spec, spec.layers - 1).beside]
    smallest = min(matrices, key=lambda linear: min(linear.inputs, linear.outputs), default=None)
    if smallest is not None and rank > (most := min(smallest.inputs, smallest.outputs)):
        raise UsageError(
            "TT-P016", asked=rank, most=most, model=spec.name, matrix=smallest.module,
            inputs=smallest.inputs, outputs=smallest.outputs,
        )  # fmt: skip


def _check_depth(spec: ModelSpec, choices: Choices) -> None:
    if choices.top_layers is not None and choices.top_layers > spec.layers:
        raise UsageError("TT-P008", asked=choices.top_layers, model=spec.name, layers=spec.layers)


def _check_length(spec: ModelSpec, settings: Settings) -> None:
    asked = settings.max_length
    if asked is not None and asked < _SHORTEST_LENGTH:
        raise UsageError("TT-P012", asked=asked, least=_SHORTEST_LENGTH)
    if asked is not None and spec.longest_text and asked > spec.longest_text:
        raise UsageError("TT-P009", asked=asked, model=spec.name, positions=spec.longest_text)


def _check_precision(machine: Machine, settings: Settings) -> None:
    precision = settings.precision
    if precision is not None and not can_compute(machine, precision):
        able = ", ".join(name for name in PRECISIONS if can_compute(machine, name))
        raise UsageError("TT-P010", precision=precision, device=machine.device.name, able=able)
