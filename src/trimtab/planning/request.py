"""Request: all that a plan is asked for, and the refusal of what cannot be done, before anything loads."""

import difflib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Literal

from trimtab.data.spec import DataSpec
from trimtab.errors import ModelError, UsageError
from trimtab.hardware.machine import Machine
from trimtab.methods import (
    DECAYS,
    LORA_VARIANTS,
    METHODS,
    PLACEMENTS,
    PRECISIONS,
    QUANTISED,
    STAGE_PRESETS,
    BasePrecision,
    Choices,
    Decay,
    LayerLoad,
    Method,
    Part,
    Precision,
    Schedule,
    Stage,
    Strategy,
    UpdateRule,
    method_named,
    parts_for,
    stages_from,
    update_rule_named,
)
from trimtab.models import TRAINED_FAMILIES
from trimtab.models.families import transposed
from trimtab.models.sentence import POOLINGS
from trimtab.models.spec import Kind, ModelSpec
from trimtab.planning.kept import KeptEstimates
from trimtab.planning.once import PREFIX_CHOICES, PrefixChoice, cannot
from trimtab.planning.plan import GOALS, Goal, Limits
from trimtab.planning.words import span_word

_COUNTED = ("epochs", "batch", "learning_rate", "max_length", "temperature")
_LARGEST_SEED = 2**32 - 1  # what every library that draws takes
# Up to four special tokens and a token of each of two texts; with less room a tokenizer cuts nothing at all.
_SHORTEST_LENGTH = 8
_MOST_VIRTUAL_TOKENS = 1000  # of a model without a limit; papers try up to 200
_LONGEST_WORD = 60  # characters of a word that is no target
# The kind of model that a task needs, and the refusal of another.
_KINDS: Mapping[str, tuple[Kind, str]] = {
    "instruct": ("decoder", "TT-P021"),
    "embed": ("encoder", "TT-M065"),
    "text": ("decoder", "TT-M066"),
}
_FEWEST_EPOCHS = 2  # no training that is left to the planner has fewer


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What a user may wish about a training; None leaves it to the planner.

    `batch` is the global batch, in rows. `max_length` is in tokens. `recompute` is gradient checkpointing,
    `packed` lays rows end to end. `prefix_cache`: whether what lies below all that is trained is run once over the
    data ("auto": where that is quicker).
    `base_precision`: how frozen matrices are stored, None = as the method has it. `optimizer` names an update
    rule. `layer_decay` is the learning rate of a layer over that of the one above it. `ema` is the decay of a
    moving average of the weights, None = none is kept.
    `stages`: a name of STAGE_PRESETS or stages as `methods.stage` reads them, None = as the method has it.
    `label_smoothing` and `class_weights` change the loss of tasks with classes, None = they do not; `temperature`
    that of embeddings.
    """

    epochs: int | None = None
    batch: int | None = None
    learning_rate: float | None = None
    max_length: int | None = None
    precision: Precision | None = None
    base_precision: BasePrecision | None = None
    recompute: bool | None = None
    packed: bool = False
    prefix_cache: PrefixChoice = "auto"
    optimizer: str | None = None
    decay: Decay | None = None
    layer_decay: float | None = None
    stages: str | None = None
    ema: float | None = None
    label_smoothing: float | None = None
    class_weights: Literal["balanced"] | None = None
    temperature: float | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One question to the planner. `method` None = every method competes. `kept`: estimates that were made before;
    None = all are made anew."""

    spec: ModelSpec
    data: DataSpec
    machine: Machine
    goal: Goal = "balanced"
    limits: Limits = field(default_factory=Limits)
    method: str | None = None
    choices: Choices = field(default_factory=Choices)
    settings: Settings = field(default_factory=Settings)
    kept: KeptEstimates | None = field(default=None, compare=False, repr=False)

    @property
    def methods(self) -> tuple[Method, ...]:
        """The methods that compete: those asked for that have something to train in the model, for this task.
        Raises UsageError for an unknown name."""
        return tuple(
            method
            for method in self.asked_for
            if method.refusal(self.spec, self.choices) is None
            and self.parts(method, self.choices)
            and (self.method is not None or self._competes(method))
        )

    @property
    def asked_for(self) -> tuple[Method, ...]:
        """The one named, or all that leave something to quantise where the user wants that, those that quantise of
        themselves where the machine can; of them, those that take every choice he made (who asks for
        `--top-layers 4` does not want full tuning)."""
        named = self._competing() if self.method is None else (method_named(self.method),)
        return tuple(method for method in named if set(_made(self.choices)) <= set(method.takes))

    def parts(self, method: Method, choices: Choices) -> tuple[Part, ...]:
        """What `method` trains of this model for this task; nothing where it has nothing to train."""
        return parts_for(method, self.data.task, self.spec, choices)

    def _competes(self, method: Method) -> bool:
        able = self.moves(method) and self.reaches_layers(method) and self.has_room(method)
        return able and self.packs(method)

    def packs(self, method: Method) -> bool:
        """Whether rows can be laid end to end under `method`, where that is asked for."""
        return not self.settings.packed or not any(part.positions for part in self.parts(method, self.choices))

    def moves(self, method: Method) -> bool:
        """Whether the update rule asked for moves what `method` trains."""
        rule = self.settings.optimizer
        parts = self.parts(method, self.choices)
        at_zero = any(part.adapter and part.starts_at_base for part in parts)
        return rule is None or update_rule_named(rule).moves_zeros or not at_zero

    def most_text(self, method: Method) -> int:
        """Tokens of a text that the model reads beside what `method` puts before it; 0 = no limit of its own."""
        positions = sum(part.positions for part in self.parts(method, self.choices))
        return max(1, self.spec.longest_text - positions) if self.spec.longest_text else 0

    def has_room(self, method: Method) -> bool:
        """Whether texts as long as asked for fit beside what `method` puts before them."""
        asked, most = self.settings.max_length, self.most_text(method)
        return asked is None or not most or asked <= most

    def reaches_layers(self, method: Method) -> bool:
        """Whether `method` trains something in single layers, where what is asked for speaks of these."""
        parts = self.parts(method, self.choices)
        return not _of_layers(self.settings) or any(part.in_a_layer(self.spec) for part in parts)

    def stages(self, method: Method, parts: tuple[Part, ...], epochs: int) -> tuple[Stage, ...]:
        """The stages in which `method` trains `parts`, which a name makes of `epochs`; empty where there are none.
        Raises UsageError TT-U095 and TT-U096 where what was asked for cannot be read."""
        asked = self.settings.stages or method.stages
        if asked is None:
            return ()
        lowest = min(part.lowest_layer(self.spec) for part in parts)
        return stages_from(asked, lowest, self.spec.layers, epochs)

    def base_precision_of(self, method: Method) -> BasePrecision:
        """How `method` stores frozen matrices here."""
        return self.settings.base_precision or method.base_precision

    def _competing(self) -> tuple[Method, ...]:
        able = can_quantise(self.machine) and not transposed(self.spec)
        return tuple(
            method
            for method in METHODS
            if self.base_precision_of(method) == "same" or (able and self.leaves_matrices(method))
            if method.stages is None  # one in stages is another with stages, and no prior orders these
        )

    def leaves_matrices(self, method: Method) -> bool:
        """Whether `method` leaves matrices of the layers as they are: they alone can be quantised."""
        return bool(_frozen_matrices(self.parts(method, self.choices), self.spec))

    def check(self) -> None:
        """Raises UsageError where the request contradicts itself, the model or the machine, ModelError TT-P014 or
        TT-P018 where what a training of the model takes cannot be told, TT-P071 where the method has nothing to
        train in it."""
        _check_layers(self.spec)
        _check_task(self)
        _check_goal(self.goal)
        _check_words(self.settings, self.choices)
        _check_targets(self.spec, self.choices)
        _check_price(self)
        _check_counts(self.settings, self.choices)
        _check_library(self)
        _check_choices(self)
        _check_length(self)
        _check_virtual_tokens(self)
        _check_method(self)
        _check_rank(self)
        _check_bottleneck(self)
        _check_depth(self.spec, self.choices)
        _check_precision(self.machine, self.settings)
        _check_frozen(self)
        _check_rule(self.machine, self.settings)
        _check_moved(self)
        _check_loss(self.data, self.settings)
        _check_packed(self)
        _check_prefix(self)
        _check_layered(self)
        _check_stages(self)


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


def refuse_unanswering(task: str, spec: ModelSpec) -> None:
    """Raises UsageError TT-P021 for conversations and a model that writes no text, TT-M066 for plain text and such
    a one, TT-M065 for embeddings and one that is no encoder, TT-M067 for a sentence encoder that makes its vectors
    in a way that is not trained here. Asked before tokens are counted, since the first has no chat template
    either."""
    wanted = _KINDS.get(task)
    if wanted is not None and spec.kind != wanted[0]:
        raise UsageError(wanted[1], model=spec.name, family=spec.family)
    if task == "embed" and spec.pooling not in ("", *POOLINGS):
        raise UsageError("TT-M067", model=spec.name, pooling=spec.pooling, known=", ".join(POOLINGS))


def can_compute(machine: Machine, precision: Precision) -> bool:
    """Whether `machine` can train in `precision` at all. A CPU emulates bf16 where it lacks the instructions; fp16
    needs a GPU, since its range is too small to train in without tensor hardware's fp32 sums."""
    if precision == "fp32" or (precision == "bf16" and machine.device.kind == "cpu"):
        return True
    return machine.device.kind != "cpu" and machine.device.peak(precision) is not None


def can_quantise(machine: Machine) -> bool:
    """Whether bitsandbytes runs on `machine`: on CPUs and NVIDIA's and AMD's GPUs; here, where it is installed."""
    return machine.quantises and machine.device.kind in ("cpu", "gpu")


def can_update(machine: Machine, rule: UpdateRule) -> bool:
    """Whether `rule` runs on `machine`, with a library that is there as far as is known."""
    if rule.gpu_only and machine.device.kind != "gpu":
        return False
    return not rule.library or can_quantise(machine)


def _frozen_matrices(parts: tuple[Part, ...], spec: ModelSpec) -> int:
    """How many matrices of the layers `parts` leave as they are."""
    strategy = Strategy(method="", parts=parts, base_precision="nf4")
    return sum(len(strategy.quantised(spec, layer)) for layer in range(spec.layers))


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
    """Raises as `refuse_unanswering`, and UsageError TT-P022 for a method that trains nothing which a model has
    that does the task."""
    refuse_unanswering(request.data.task, request.spec)
    if request.method is not None and not request.parts(method_named(request.method), Choices()):
        able = ", ".join(method.name for method in _answering(request))
        raise UsageError("TT-P022", method=request.method, task=request.data.task, able=able)


def _answering(request: Request) -> Iterator[Method]:
    for method in METHODS:
        if request.parts(method, Choices()) and method.refusal(request.spec, Choices()) is None:
            yield method


def _check_goal(goal: str) -> None:
    if goal not in GOALS:
        raise UsageError("TT-P005", goal=goal, known=", ".join(GOALS))


def _check_words(settings: Settings, choices: Choices) -> None:
    """A word that does not exist is the fault of no machine and no model."""
    if choices.placement is not None and choices.placement not in PLACEMENTS:
        raise UsageError("TT-P074", placement=choices.placement, known=", ".join(PLACEMENTS))
    if choices.lora_variant not in (None, *LORA_VARIANTS):
        raise UsageError("TT-P090", variant=choices.lora_variant, known=", ".join(LORA_VARIANTS))
    if settings.base_precision not in (None, "same", *QUANTISED):
        raise UsageError("TT-P043", base=settings.base_precision, known=", ".join(QUANTISED))
    if settings.precision is not None and settings.precision not in PRECISIONS:
        raise UsageError("TT-P019", precision=settings.precision, known=", ".join(PRECISIONS))
    if settings.decay is not None and settings.decay not in DECAYS:
        raise UsageError("TT-P060", decay=settings.decay, known=", ".join(DECAYS))
    if settings.prefix_cache not in PREFIX_CHOICES:
        raise UsageError("TT-P365", choice=settings.prefix_cache, known=", ".join(PREFIX_CHOICES))
    if settings.class_weights not in (None, "balanced"):
        raise UsageError("TT-P061", weights=settings.class_weights)


def _check_targets(spec: ModelSpec, choices: Choices) -> None:
    """Targets are roles, and nothing is matched: a pattern is no role. Named are those that the model has, each
    with its matrix; the nearest of either is suggested."""
    known = {role: linear.module for linear in spec.linears for role in linear.roles}
    strange = next((target for target in choices.targets or () if target not in known), None)
    if strange is None:
        return
    words = {module.rpartition(".")[2]: role for role, module in known.items()} | {role: role for role in known}
    nearest = difflib.get_close_matches(strange[:_LONGEST_WORD].lower(), words, n=1, cutoff=0.0)[0]
    named = ", ".join(f"{role} ({module})" for role, module in known.items())
    raise UsageError(
        "TT-U100", target=strange[:_LONGEST_WORD], model=spec.name, suggestion=words[nearest], known=named
    )


def _check_price(request: Request) -> None:
    """What a training costs is not known on a machine without a price."""
    if request.machine.price is not None:
        return
    if request.limits.money is not None:
        raise UsageError("TT-P015", option=f"--money {request.limits.money}", machine=request.machine.name)
    if request.goal == "money":
        raise UsageError("TT-P015", option="--goal money", machine=request.machine.name)


def _check_counts(settings: Settings, choices: Choices) -> None:
    counts = {name: getattr(settings, name) for name in _COUNTED}
    counts |= {
        name: getattr(choices, name) for name in ("rank", "alpha", "bottleneck", "top_layers", "virtual_tokens")
    }
    for name, value in counts.items():
        if value is not None and not 0 < value < math.inf:
            raise UsageError("TT-P006", flag=_flag(name), value=value)
    if not 0 <= settings.seed <= _LARGEST_SEED:
        raise UsageError("TT-P011", value=settings.seed, most=_LARGEST_SEED)


def _check_choices(request: Request) -> None:
    if request.asked_for:
        return
    made = _made(request.choices)
    takers = {choice: [method.name for method in METHODS if choice in method.takes] for choice in made}
    refused = next(choice for choice in made if request.method not in takers[choice])
    raise UsageError(
        "TT-P007", flag=_flag(refused), method=request.method or "auto", takers=", ".join(takers[refused])
    )


def _check_method(request: Request) -> None:
    """Refused where none of those asked for has something to train in the model."""
    if request.methods:
        return
    method = request.asked_for[0]
    why = method.refusal(request.spec, request.choices)
    able = replace(request, method=None, choices=Choices()).methods
    raise ModelError("TT-P071", method=method.name, why=why, able=", ".join(other.name for other in able))


def _check_rank(request: Request) -> None:
    """At the smaller side of a matrix a low-rank product can be any matrix of that size: more costs more and says
    nothing more."""
    rank, spec = request.choices.rank, request.spec
    if rank is None:
        return
    matrices = [linear for load in _top_loads(request) for linear, _ in load.beside]
    smallest = min(matrices, key=lambda linear: min(linear.inputs, linear.outputs), default=None)
    if smallest is not None and rank > (most := min(smallest.inputs, smallest.outputs)):
        raise UsageError(
            "TT-P016", asked=rank, most=most, model=spec.name, matrix=smallest.module,
            inputs=smallest.inputs, outputs=smallest.outputs,
        )  # fmt: skip


def _check_bottleneck(request: Request) -> None:
    """At the width of what it is given a bottleneck is none."""
    width, spec = request.choices.bottleneck, request.spec
    matrices = [linear for load in _top_loads(request) for linear, _ in load.after]
    narrowest = min(matrices, key=lambda linear: linear.outputs, default=None)
    if width is not None and narrowest is not None and width > narrowest.outputs:
        raise UsageError("TT-P070", asked=width, most=narrowest.outputs, model=spec.name, matrix=narrowest.module)


def _top_loads(request: Request) -> Iterator[LayerLoad]:
    """What the competing methods do to the highest layer."""
    spec = request.spec
    for method in request.methods:
        for part in request.parts(method, request.choices):
            yield part.load(spec, spec.layers - 1)


def _check_depth(spec: ModelSpec, choices: Choices) -> None:
    if choices.top_layers is not None and choices.top_layers > spec.layers:
        raise UsageError("TT-P008", asked=choices.top_layers, model=spec.name, layers=spec.layers)


def _check_length(request: Request) -> None:
    spec, asked = request.spec, request.settings.max_length
    if asked is not None and asked < _SHORTEST_LENGTH:
        raise UsageError("TT-P012", asked=asked, least=_SHORTEST_LENGTH)
    if asked is not None and spec.longest_text and asked > spec.longest_text:
        raise UsageError("TT-P009", asked=asked, model=spec.name, positions=spec.longest_text)


def _check_virtual_tokens(request: Request) -> None:
    """What stands before a text takes up positions that the model has for texts."""
    spec, choices, asked = request.spec, request.choices, request.settings.max_length
    longest = spec.longest_text or _MOST_VIRTUAL_TOKENS + _SHORTEST_LENGTH
    most = min(_MOST_VIRTUAL_TOKENS, longest - _SHORTEST_LENGTH)
    if choices.virtual_tokens is not None and choices.virtual_tokens > most:
        raise UsageError("TT-P081", asked=choices.virtual_tokens, model=spec.name, most=most)
    if choices.init_text is not None and not choices.init_text.strip():
        raise UsageError("TT-P083", text=choices.init_text)
    crowded = [method for method in request.asked_for if not request.has_room(method)]
    if crowded and len(crowded) == len(request.asked_for):
        room = request.most_text(crowded[0])
        tokens = spec.longest_text - room
        raise UsageError(
            "TT-P080", asked=asked, tokens=tokens, model=spec.name, positions=spec.longest_text, most=room
        )


def _check_precision(machine: Machine, settings: Settings) -> None:
    precision = settings.precision
    if precision is not None and not can_compute(machine, precision):
        able = ", ".join(name for name in PRECISIONS if can_compute(machine, name))
        raise UsageError("TT-P010", precision=precision, device=machine.device.name, able=able)


def _quantised_base(request: Request) -> BasePrecision:
    """How the method asked for stores frozen matrices; where none is, how the user wants them stored. Methods that
    quantise of themselves compete only where they can."""
    if request.method is not None:
        return request.base_precision_of(method_named(request.method))
    return request.settings.base_precision or "same"


def _check_library(request: Request) -> None:
    """What quantises has to run on the machine, and to take the model's matrices."""
    base = _quantised_base(request)
    if base != "same" and not can_quantise(request.machine):
        code = "TT-P041" if request.machine.is_here and not request.machine.quantises else "TT-P042"
        raise UsageError(code, base=base, machine=request.machine.name)
    if base != "same" and transposed(request.spec):
        raise UsageError("TT-P044", base=base, model=request.spec.name, family=request.spec.family)


def _check_frozen(request: Request) -> None:
    """A quantised matrix is a rounded copy: it can be multiplied with and not trained."""
    base = _quantised_base(request)
    if base != "same" and request.method and not request.leaves_matrices(method_named(request.method)):
        raise UsageError("TT-P040", base=base, method=request.method)


def _check_rule(machine: Machine, settings: Settings) -> None:
    if settings.optimizer is None:
        return
    rule = update_rule_named(settings.optimizer)
    if can_update(machine, rule):
        return
    if rule.gpu_only and machine.device.kind == "cpu":
        raise UsageError("TT-T086", name=rule.name)
    if machine.is_here and not machine.quantises:
        raise UsageError("TT-T085", name=rule.name, library=rule.library)
    raise UsageError("TT-P064", name=rule.name, library=rule.library, device=machine.device.name)


def _check_moved(request: Request) -> None:
    """Steps in proportion to the size of a weight leave what starts at 0 where it is."""
    if request.method is not None and not request.moves(method_named(request.method)):
        raise UsageError("TT-P065", name=request.settings.optimizer, method=request.method)


def _check_loss(data: DataSpec, settings: Settings) -> None:
    """Shares are between 0 and 1, and only classes can be smoothed and weighed."""
    for name in ("ema", "label_smoothing", "layer_decay"):
        value = getattr(settings, name)
        if value is not None and not 0 < value < 1:
            raise UsageError("TT-P062", flag=_flag(name), value=value)
    for name in ("label_smoothing", "class_weights"):
        if getattr(settings, name) is not None and not data.labels:
            raise UsageError("TT-P063", flag=_flag(name), task=data.task)
    if settings.temperature is not None and data.task != "embed":
        raise UsageError("TT-D147", option="--temperature", task=data.task)


def _check_packed(request: Request) -> None:
    """Conversations alone have a length of their own and no need of a whole sequence; virtual tokens stand before
    a sequence, and would stand before the first row alone."""
    if not request.settings.packed:
        return
    if request.data.task != "instruct":
        raise UsageError("TT-P066", task=request.data.task)
    if request.method is not None and not request.packs(method_named(request.method)):
        raise UsageError("TT-P067", method=request.method)


def _check_prefix(request: Request) -> None:
    """What is run once has to be there, of every method that competes where none is named."""
    settings = request.settings
    if settings.prefix_cache != "on" or request.method is None:
        return
    method = method_named(request.method)
    parts = request.parts(method, request.choices)
    stages = request.stages(method, parts, epochs=settings.epochs or _FEWEST_EPOCHS)
    asked = Strategy(method=method.name, parts=parts, schedule=Schedule(stages=stages), prefix_cache=True)
    refused = cannot(asked, request.spec)
    if refused is not None:
        raise UsageError("TT-P364", why=refused)


def _check_layered(request: Request) -> None:
    """What is said of layers needs a method that trains something in them."""
    if request.method is not None and not request.reaches_layers(method_named(request.method)):
        able = ", ".join(method.name for method in replace(request, method=None, choices=Choices()).methods)
        raise UsageError("TT-P091", flag=_of_layers(request.settings)[0], method=request.method, able=able)


def _check_stages(request: Request) -> None:
    """Every stage of the method asked for trains something that is there, or the head alone. Where all compete,
    those that have nothing in a stage train their head in it."""
    settings, spec = request.settings, request.spec
    if request.method is None:
        return
    method = method_named(request.method)
    parts = request.parts(method, request.choices)
    stages = request.stages(method, parts, epochs=settings.epochs or _FEWEST_EPOCHS)
    named = settings.stages in (None, *STAGE_PRESETS)
    if stages and named and len(stages) == 1:
        raise UsageError("TT-P095", method=method.name)
    if stages and not named and settings.epochs is not None:
        raise UsageError("TT-P094", epochs=settings.epochs)
    lowest = min(part.lowest_layer(spec) for part in parts)
    for stage in stages:
        alone = Strategy(method="", parts=parts, span=(stage.first, stage.last))
        if stage.last < lowest or not alone.trainable_parameters(spec, request.data.outputs):
            said, trained = (span_word(*span, spec.layers) for span in _spans(stage, lowest, spec))
            raise UsageError("TT-P093", stage=said, method=method.name, trained=trained)


def _spans(stage: Stage, lowest: int, spec: ModelSpec) -> tuple[tuple[int, int], tuple[int, int]]:
    return (stage.first, stage.last), (lowest, spec.layers - 1)


def _of_layers(settings: Settings) -> tuple[str, ...]:
    """The options that were given and speak of layers."""
    return tuple(_flag(name) for name in ("layer_decay", "stages") if getattr(settings, name) is not None)
