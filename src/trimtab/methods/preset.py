"""Method: a named preset of parts and base precision, the word a user types. Combinations need no new code."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from trimtab.errors import Message
from trimtab.methods.base_precision import BasePrecision
from trimtab.methods.biases import Biases
from trimtab.methods.bottleneck import Bottleneck, Placement
from trimtab.methods.head import Head
from trimtab.methods.ia3 import Ia3
from trimtab.methods.language_head import LanguageHead
from trimtab.methods.lora import Lora, LoraVariant
from trimtab.methods.part import Part
from trimtab.methods.pooling import Pooling
from trimtab.methods.prefix import Prefix
from trimtab.methods.prompt import Prompt
from trimtab.methods.ptuning import PTuning
from trimtab.methods.stage import StagePreset
from trimtab.methods.token_head import TokenHead
from trimtab.methods.weights import Weights
from trimtab.models.sentence import POOLINGS
from trimtab.models.spec import ModelSpec, Role

PARTS: tuple[type[Part], ...] = (Weights, Head, Lora, Bottleneck, Ia3, Biases, Prompt, Prefix, PTuning)
_USUAL_TOKENS = 8
_RSLORA_ALPHA = 16  # whatever the rank, as in the paper; plain LoRA takes twice the rank
_USUAL_WIDTH = 64  # of a bottleneck; Houlsby et al. 2019 try 8 to 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """What a user may set about a method; None = the method's own default. `bottleneck` is a width in numbers,
    `init_text` what virtual tokens start as."""

    rank: int | None = None
    alpha: int | None = None
    targets: tuple[Role, ...] | None = None
    lora_variant: LoraVariant | None = None
    bottleneck: int | None = None
    placement: Placement | None = None
    top_layers: int | None = None
    virtual_tokens: int | None = None
    init_text: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Method:
    """`parts` makes the parts for a model. `learning_rate` is the default to start from.

    `quality` is points of accuracy against full tuning (low, typical, high), a rule; `quality_source` names
    the published comparison it is read from. What a quantised base costs is another figure. `base_precision`:
    how frozen matrices are stored where the user says nothing. `depths` are the shares of layers, from the top,
    that the planner tries where the user names no `top_layers`; empty = the method has no depth, or keeps its
    own. `stages`: those it goes through where the user names none.
    """

    name: str
    parts: Callable[[ModelSpec, Choices], tuple[Part, ...]]
    learning_rate: float
    quality: tuple[float, float, float]
    quality_source: str
    takes: tuple[str, ...] = ()
    depths: tuple[float, ...] = ()
    base_precision: BasePrecision = "same"
    stages: StagePreset | None = None

    def refusal(self, spec: ModelSpec, choices: Choices) -> Message | None:
        """Why it has nothing to train in this model, None where it has."""
        return next((why for part in self.parts(spec, choices) if (why := part.refusal(spec))), None)


def _full(spec: ModelSpec, choices: Choices) -> tuple[Part, ...]:
    return (Weights(), Head())


def _freeze(spec: ModelSpec, choices: Choices) -> tuple[Part, ...]:
    return (Weights(top_layers=choices.top_layers or max(1, spec.layers // 3)), Head())


def _staged(spec: ModelSpec, choices: Choices) -> tuple[Part, ...]:
    return (Weights(top_layers=choices.top_layers), Head())


def _head(spec: ModelSpec, choices: Choices) -> tuple[Part, ...]:
    return (Head(),)


def _lora(spec: ModelSpec, choices: Choices) -> tuple[Part, ...]:
    rank = choices.rank or 8
    targets = choices.targets or lora_targets(spec)
    variant = choices.lora_variant
    usual = _RSLORA_ALPHA if variant == "rslora" else 2 * rank
    lora = Lora(
        rank=rank,
        alpha=choices.alpha or usual,
        targets=targets,
        variant=variant,
        top_layers=choices.top_layers,
    )
    return (lora, Head())


def _adapter(spec: ModelSpec, choices: Choices) -> tuple[Part, ...]:
    bottleneck = Bottleneck(
        width=choices.bottleneck or min(_USUAL_WIDTH, spec.hidden),
        placement=choices.placement or "houlsby",
        top_layers=choices.top_layers,
    )
    return (bottleneck, Head())


def _ia3(spec: ModelSpec, choices: Choices) -> tuple[Part, ...]:
    return (Ia3(top_layers=choices.top_layers), Head())


def _bitfit(spec: ModelSpec, choices: Choices) -> tuple[Part, ...]:
    return (Biases(top_layers=choices.top_layers), Head())


def _prompt(spec: ModelSpec, choices: Choices) -> tuple[Part, ...]:
    tokens = choices.virtual_tokens or _USUAL_TOKENS
    return (Prompt(tokens=tokens, init_text=choices.init_text or ""), Head())


def _prefix(spec: ModelSpec, choices: Choices) -> tuple[Part, ...]:
    return (Prefix(tokens=choices.virtual_tokens or _USUAL_TOKENS), Head())


def _ptuning(spec: ModelSpec, choices: Choices) -> tuple[Part, ...]:
    return (PTuning(tokens=choices.virtual_tokens or _USUAL_TOKENS), Head())


def lora_targets(spec: ModelSpec) -> tuple[Role, ...]:
    """Encoders: query and value, as in the LoRA paper and PEFT's defaults. Decoders: all matrices, which is
    what matches full tuning there ("LoRA Without Regret", Schulman et al. 2025)."""
    return ("q", "v") if spec.kind == "encoder" else ("q", "k", "v", "o", "gate", "up", "down")


def parts_for(method: Method, task: str, spec: ModelSpec, choices: Choices) -> tuple[Part, ...]:
    """The method's parts for a task. Where a classifier has its own head stands what the task has in its place
    (`_TOPS`). Empty where the method then trains nothing (the head alone)."""
    parts = method.parts(spec, choices)
    top = _TOPS.get(task)
    if top is None:
        return parts
    kept = tuple(part for part in parts if not isinstance(part, Head))
    above = top(kept, spec)
    return (*kept, above) if kept or above.trainable_parameters(spec, 1) else ()


def _language_head(kept: tuple[Part, ...], spec: ModelSpec) -> Part:
    """Trained where all weights are."""
    return LanguageHead(trained=any(isinstance(part, Weights) and part.top_layers is None for part in kept))


def _pooling(kept: tuple[Part, ...], spec: ModelSpec) -> Part:
    """As the model was published, else the mean: what most sentence encoders were trained with."""
    kind = next((kind for kind in POOLINGS if kind == spec.pooling), None)
    return Pooling() if kind is None else Pooling(kind=kind)


def _token_head(kept: tuple[Part, ...], spec: ModelSpec) -> Part:
    return TokenHead()


_TOPS: Mapping[str, Callable[[tuple[Part, ...], ModelSpec], Part]] = {
    "tag": _token_head,
    "instruct": _language_head,
    "text": _language_head,
    "embed": _pooling,
}


_LORA = Method(
    name="lora",
    parts=_lora,
    learning_rate=5e-4,
    quality=(-2.0, -0.3, 1.0),
    quality_source="LoRA paper table 2 (RoBERTa-base, 8 GLUE tasks: average 87.2 against 86.4)",
    takes=("rank", "alpha", "targets", "lora_variant", "top_layers"),
    depths=(1.0, 1 / 2),
)

_VIRTUAL_SOURCE = (
    "one run each of MiniLM-L6 on 2,048 rows of SST-2, dev (n = 872), against full tuning's 0.821; head alone "
    "0.706 (benchmarks/learning_rates.py); larger models lose less (Lester et al., arXiv 2104.08691)"
)

METHODS: tuple[Method, ...] = (
    Method(
        name="full",
        parts=_full,
        learning_rate=5e-5,
        quality=(0.0, 0.0, 0.0),
        quality_source="the reference itself",
    ),
    _LORA,
    replace(_LORA, name="qlora", depths=(1.0,), base_precision="nf4"),
    Method(
        name="adapter",
        parts=_adapter,
        learning_rate=1e-3,
        quality=(-2.0, -0.4, 1.0),
        quality_source="Houlsby et al., arXiv 1902.00751 (BERT-large, GLUE: within 0.4 points of full)",
        takes=("bottleneck", "placement", "top_layers"),
    ),
    Method(
        name="ia3",
        parts=_ia3,
        learning_rate=1e-2,  # dev of SST-2, MiniLM-L6: 0.812 at 5e-3, 0.835, 0.831 at 2e-2
        quality=(-15.0, -3.0, 1.0),
        quality_source="a wide guess: (IA)^3, arXiv 2205.05638, was compared on few examples a task alone",
        takes=("top_layers",),
    ),
    Method(
        name="bitfit",
        parts=_bitfit,
        learning_rate=4e-3,  # likewise: 0.828 at 2e-3, 0.833, 0.835 at 8e-3
        quality=(-4.0, -1.2, 0.5),
        quality_source="Ding et al. 2023, doi 10.1038/s42256-023-00626-4, table 2 (RoBERTa-large, 8 GLUE tasks: "
        "0.8 below adapters), and adapters against full",
        takes=("top_layers",),
    ),
    Method(
        name="prompt",
        parts=_prompt,
        learning_rate=1e-2,  # dev, as below: 0.732, 0.731 at 3e-2, 0.669 at 0.1, 0.493 at 0.3, 0.509 at 1
        quality=(-20.0, -9.0, 0.0),
        quality_source=_VIRTUAL_SOURCE,
        takes=("virtual_tokens", "init_text"),
    ),
    Method(
        name="prefix",
        parts=_prefix,
        learning_rate=3e-2,  # likewise: 0.729 at 1e-2, 0.736
        quality=(-20.0, -8.5, 0.0),
        quality_source=_VIRTUAL_SOURCE,
        takes=("virtual_tokens",),
    ),
    Method(
        name="ptuning",
        parts=_ptuning,
        learning_rate=1e-3,  # likewise: 0.666, 0.667 at 3e-3
        quality=(-25.0, -15.5, 0.0),
        quality_source=_VIRTUAL_SOURCE,
        takes=("virtual_tokens",),
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
        name="staged",
        parts=_staged,
        learning_rate=5e-5,
        quality=(-3.0, -0.5, 1.0),
        quality_source="a wide guess: gradual unfreezing alone, arXiv 1801.06146, table 7, is near full tuning",
        takes=("top_layers",),
        depths=(1.0,),
        stages="top-down",
    ),
    Method(
        name="head",
        parts=_head,
        learning_rate=2e-3,
        quality=(-25.0, -10.0, -3.0),
        quality_source="order head << last block < all layers on small classification sets",
    ),
)
