"""Method: a named preset of parts, the word a user types. Combinations need no new code here."""

from collections.abc import Callable
from dataclasses import dataclass

from trimtab.methods.head import Head
from trimtab.methods.language_head import LanguageHead
from trimtab.methods.lora import Lora
from trimtab.methods.part import Part
from trimtab.methods.weights import Weights
from trimtab.models.spec import ModelSpec, Role


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """What a user may set about a method; None = the method's own default."""

    rank: int | None = None
    alpha: int | None = None
    targets: tuple[Role, ...] | None = None
    top_layers: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Method:
    """`parts` makes the parts for a model. `learning_rate` is the default to start from.

    `quality` is points of accuracy against full tuning (low, typical, high), a rule; `quality_source` names
    the published comparison it is read from. `depths` are the shares of layers, from the top, that the
    planner tries where the user names no `top_layers`; empty = the method has no depth, or keeps its own.
    """

    name: str
    parts: Callable[[ModelSpec, Choices], tuple[Part, ...]]
    learning_rate: float
    quality: tuple[float, float, float]
    quality_source: str
    takes: tuple[str, ...] = ()
    depths: tuple[float, ...] = ()


def _full(spec: ModelSpec, choices: Choices) -> tuple[Part, ...]:
    return (Weights(), Head())


def _freeze(spec: ModelSpec, choices: Choices) -> tuple[Part, ...]:
    return (Weights(top_layers=choices.top_layers or max(1, spec.layers // 3)), Head())


def _head(spec: ModelSpec, choices: Choices) -> tuple[Part, ...]:
    return (Head(),)


def _lora(spec: ModelSpec, choices: Choices) -> tuple[Part, ...]:
    rank = choices.rank or 8
    targets = choices.targets or lora_targets(spec)
    lora = Lora(rank=rank, alpha=choices.alpha or 2 * rank, targets=targets, top_layers=choices.top_layers)
    return (lora, Head())


def lora_targets(spec: ModelSpec) -> tuple[Role, ...]:
    """Encoders: query and value, as in the LoRA paper and PEFT's defaults. Decoders: all matrices, which is
    what matches full tuning there ("LoRA Without Regret", Schulman et al. 2025)."""
    return ("q", "v") if spec.kind == "encoder" else ("q", "k", "v", "o", "gate", "up", "down")


def parts_for(method: Method, task: str, spec: ModelSpec, choices: Choices) -> tuple[Part, ...]:
    """The method's parts for a task. In a chat model the language-model head stands where a classifier has its
    own; it is trained where all weights are. Empty where the method then trains nothing (the head alone)."""
    parts = method.parts(spec, choices)
    if task != "instruct":
        return parts
    kept = tuple(part for part in parts if not isinstance(part, Head))
    whole = any(isinstance(part, Weights) and part.top_layers is None for part in kept)
    return (*kept, LanguageHead(trained=whole)) if kept else ()


METHODS: tuple[Method, ...] = (
    Method(
        name="full",
        parts=_full,
        learning_rate=5e-5,
        quality=(0.0, 0.0, 0.0),
        quality_source="the reference itself",
    ),
    Method(
        name="lora",
        parts=_lora,
        learning_rate=5e-4,
        quality=(-2.0, -0.3, 1.0),
        quality_source="LoRA paper table 2 (RoBERTa-base, 8 GLUE tasks: average 87.2 against 86.4)",
        takes=("rank", "alpha", "targets", "top_layers"),
        depths=(1.0, 1 / 2),
    ),
    Method(
        name="freeze",
        parts=_freeze,
        learning_rate=1e-4,
        quality=(-2.0, 0.0, 0.5),
        quality_source="What would Elsa do, arXiv 1911.03090 (last quarter of layers: about 90 % of full)",
        takes=("top_layers",),
        depths=(1 / 3, 0.0, 1 / 2),
    ),
    Method(
        name="head",
        parts=_head,
        learning_rate=2e-3,
        quality=(-25.0, -10.0, -3.0),
        quality_source="order head << last block < all layers on small classification sets",
    ),
)
