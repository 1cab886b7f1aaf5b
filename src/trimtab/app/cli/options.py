"""The options that several verbs share, each written once: alone, or in a group (groups.py) that knows what is
made of it. Help texts and panel titles are catalogue codes.

The lists of goals, methods, placements, precisions and tasks stand here as words, because importing them would
make `trimtab --help` slow; tests/app/test_options.py holds them to the rooms they come from.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from trimtab.errors import UsageError

if TYPE_CHECKING:
    from trimtab import data, methods, planning, study, units
    from trimtab.models import Role

DATA, LIMITS, METHOD, TRAINING = "TT-V061", "TT-V062", "TT-V063", "TT-V064"
GOALS = "balanced|quality|memory|time|money"
METHODS = "auto|full|lora|qlora|adapter|ia3|bitfit|prompt|prefix|ptuning|freeze|staged|head"
PREFIX_CACHE = "auto|on|off"
STAGES = "top-down|bottom-up|..."
LORA_VARIANTS = "dora|rslora"
PLACEMENTS = "houlsby|pfeiffer"
PRECISIONS = "fp32|bf16|fp16"
QUANTISED = "nf4|int8"
OPTIMIZERS = "adamw|adamw8bit|paged_adamw8bit|lion|adafactor"
DECAYS = "linear|cosine|constant|wsd"
TASKS = "classify|pair|multilabel|regress|tag|instruct|embed|text"
# An option of each panel.
_data = partial(typer.Option, rich_help_panel=DATA)
_limits = partial(typer.Option, rich_help_panel=LIMITS)
_method = partial(typer.Option, rich_help_panel=METHOD)
_training = partial(typer.Option, rich_help_panel=TRAINING)

Model = Annotated[str, typer.Argument(metavar="MODEL", help="TT-V100")]
MaybeModel = Annotated[str | None, typer.Argument(metavar="[MODEL]", help="TT-V100", show_default=False)]
Folder = Annotated[str, typer.Argument(metavar="DIR", help="TT-V101")]
DataArgument = Annotated[str, typer.Argument(metavar="D", help="TT-V102")]
Models = Annotated[str | None, _method("--models", metavar="A,B,..", help="TT-V176")]
Data = Annotated[str, _data("--data", metavar="D", help="TT-V102")]
MaybeData = Annotated[str | None, _data("--data", metavar="D", help="TT-V102")]
Task = Annotated[str | None, _data("--task", metavar=TASKS, help="TT-V103")]
Text = Annotated[list[str] | None, _data("--text", metavar="COL", help="TT-V104")]
Label = Annotated[str | None, _data("--label", metavar="COL", help="TT-V105")]
KeepOverlap = Annotated[bool, _data("--keep-overlap", help="TT-V106")]
On = Annotated[str | None, _limits("--on", metavar="NAME", help="TT-V110")]
Exchange = Annotated[float | None, _limits("--rate", metavar="X", help="TT-V117")]
Goal = Annotated[str, _limits("--goal", metavar=GOALS, help="TT-V113")]
Method = Annotated[str, _method("--method", metavar=METHODS, help="TT-V120")]
MaybeMethod = Annotated[str | None, _method("--method", metavar=METHODS, help="TT-V120")]
Seed = Annotated[int, _training("--seed", metavar="N", help="TT-V135")]
TrustCode = Annotated[bool, typer.Option("--trust-remote-code", help="TT-V153")]
Rows = Annotated[str | None, _data("--rows", metavar="FILE", help="TT-V175")]
Exact = Annotated[bool, _method("--exact", help="TT-V174")]
Trainable = Annotated[bool, _method("--trainable", help="TT-V185")]
Json = Annotated[bool, typer.Option("--json", help="TT-V140")]


@dataclass(frozen=True, kw_only=True)
class Columns:
    """How data are read."""

    task: Task = None
    text: Text = None
    label: Label = None
    prefix: Annotated[str | None, _data("--prefix", metavar="TEXT", help="TT-D150")] = None
    passage_prefix: Annotated[str | None, _data("--passage-prefix", metavar="TEXT", help="TT-D151")] = None
    sample: Annotated[int | None, _data("--sample", metavar="N", help="TT-B055")] = None
    dev_sample: Annotated[int | None, _data("--dev-sample", metavar="N", help="TT-B056")] = None

    def reading(self, seed: int, keep_overlap: bool = False) -> "study.Reading":
        from trimtab.data import Prefixes, Sample

        read = reading(self.task, self.text, self.label, seed, keep_overlap)
        prefixes = Prefixes(self.prefix or "", self.passage_prefix)
        return replace(read, prefixes=prefixes, sample=Sample(train_rows=self.sample, dev_rows=self.dev_sample))


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A data set that is to be imagined."""

    examples: Annotated[int | None, _data("--examples", metavar="N", help="TT-V107")] = None
    length: Annotated[int | None, _data("--length", metavar="N", help="TT-V108")] = None
    labels: Annotated[int | None, _data("--labels", metavar="N", help="TT-V109")] = None

    def imagined(self) -> "study.Shape | None":
        """None where nothing was said of it."""
        from trimtab.study import Shape

        said = {name: value for name, value in vars(self).items() if value is not None}
        return Shape(**said) if said else None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Within what a training must stay, and what an hour of the machine costs."""

    memory: Annotated[str | None, _limits("--memory", metavar="SIZE", help="TT-V111")] = None
    time: Annotated[str | None, _limits("--time", metavar="SPAN", help="TT-V112")] = None
    money: Annotated[str | None, _limits("--money", metavar="SUM", help="TT-V114")] = None
    price: Annotated[str | None, _limits("--price", metavar="SUM", help="TT-V115")] = None

    def limits(self) -> "planning.Limits":
        """Raises UsageError where a size, a span or a sum cannot be read."""
        from trimtab.planning import Limits
        from trimtab.units import parse_bytes, parse_seconds

        return Limits(
            memory_bytes=parse_bytes(self.memory) if self.memory else None,
            seconds=parse_seconds(self.time) if self.time else None,
            money=sum_of(self.money),
        )

    def hourly(self) -> "units.Money | None":
        """Raises UsageError where the sum cannot be read."""
        return sum_of(self.price)


@dataclass(frozen=True, kw_only=True)
class Prices:
    """Where prices come from."""

    prices: Annotated[str | None, _limits("--prices", metavar="FILE", help="TT-V116")] = None
    rate: Exchange = None

    def pricing(self) -> "study.Pricing":
        return pricing(self.prices, self.rate)


@dataclass(frozen=True, kw_only=True)
class Offers(Prices):
    """Machines that are rented out, and what they cost."""

    spot: Annotated[bool, _limits("--spot", help="TT-V173")] = False


@dataclass(frozen=True, kw_only=True)
class Runs:
    """How often a training is paid."""

    runs: Annotated[int, _limits("--runs", metavar="N", help="TT-V171")] = 1
    idle: Annotated[float, _limits("--idle", metavar="X", help="TT-V172")] = 0.0


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a training may be told: the choices of its method, and its settings."""

    rank: Annotated[int | None, _method("--rank", metavar="N", help="TT-V121")] = None
    targets: Annotated[str | None, _method("--targets", metavar="q,v,..", help="TT-V408")] = None
    lora_variant: Annotated[str | None, _method("--lora-variant", metavar=LORA_VARIANTS, help="TT-V191")] = None
    bottleneck: Annotated[int | None, _method("--bottleneck", metavar="N", help="TT-V123")] = None
    placement: Annotated[str | None, _method("--placement", metavar=PLACEMENTS, help="TT-V124")] = None
    virtual_tokens: Annotated[int | None, _method("--virtual-tokens", metavar="N", help="TT-V125")] = None
    init_text: Annotated[str | None, _method("--init-text", metavar="TEXT", help="TT-V126")] = None
    top_layers: Annotated[int | None, _method("--top-layers", metavar="N", help="TT-V122")] = None
    quantize: Annotated[str | None, _method("--quantize", metavar=QUANTISED, help="TT-V187")] = None
    epochs: Annotated[int | None, _training("--epochs", metavar="N", help="TT-V130")] = None
    batch: Annotated[int | None, _training("--batch", metavar="N", help="TT-V131")] = None
    lr: Annotated[float | None, _training("--lr", metavar="X", help="TT-V132")] = None
    max_length: Annotated[int | None, _training("--max-length", metavar="N", help="TT-V133")] = None
    precision: Annotated[str | None, _training("--precision", metavar=PRECISIONS, help="TT-V134")] = None
    pack: Annotated[bool, _training("--pack", help="TT-V194")] = False
    prefix_cache: Annotated[str, _training("--prefix-cache", metavar=PREFIX_CACHE, help="TT-V850")] = "auto"
    optimizer: Annotated[str | None, _training("--optimizer", metavar=OPTIMIZERS, help="TT-V180")] = None
    decay: Annotated[str | None, _training("--decay", metavar=DECAYS, help="TT-V181")] = None
    layer_decay: Annotated[float | None, _training("--layer-decay", metavar="X", help="TT-V192")] = None
    stages: Annotated[str | None, _training("--stages", metavar=STAGES, help="TT-V193")] = None
    ema: Annotated[float | None, _training("--ema", metavar="X", help="TT-V182")] = None
    label_smoothing: Annotated[float | None, _training("--label-smoothing", metavar="X", help="TT-V183")] = None
    class_weights: Annotated[str | None, _training("--class-weights", metavar="balanced", help="TT-V184")] = None
    temperature: Annotated[float | None, _training("--temperature", metavar="X", help="TT-D149")] = None
    seed: Seed = 0

    def choices(self) -> "methods.Choices":
        from trimtab.methods import Choices

        return Choices(
            rank=self.rank,
            # the planner refuses what is no role of the model
            targets=cast("tuple[Role, ...] | None", self.targets and tuple(self.targets.split(","))),
            lora_variant=cast("methods.LoraVariant | None", self.lora_variant),  # as below
            bottleneck=self.bottleneck,
            placement=cast("methods.Placement | None", self.placement),  # the planner refuses an unknown word
            top_layers=self.top_layers,
            virtual_tokens=self.virtual_tokens,
            init_text=self.init_text,
        )

    def settings(self) -> "planning.Settings":
        from trimtab.planning import Settings

        return Settings(
            epochs=self.epochs,
            batch=self.batch,
            learning_rate=self.lr,
            max_length=self.max_length,
            precision=cast("methods.Precision | None", self.precision),  # the planner refuses an unknown word
            base_precision=cast("methods.BasePrecision | None", self.quantize),  # as above
            packed=self.pack,
            prefix_cache=cast("planning.PrefixChoice", self.prefix_cache),  # as above
            optimizer=self.optimizer,
            decay=cast("methods.Decay | None", self.decay),
            layer_decay=self.layer_decay,
            stages=self.stages,
            ema=self.ema,
            label_smoothing=self.label_smoothing,
            class_weights=cast('Literal["balanced"] | None', self.class_weights),
            temperature=self.temperature,
            seed=self.seed,
        )


def sum_of(text: str | None) -> "units.Money | None":
    """Raises UsageError where a sum of money cannot be read."""
    from trimtab.units import parse_money

    return None if text is None else parse_money(text)


def pricing(prices: str | None, rate: float | None) -> "study.Pricing":
    from trimtab.study import Pricing

    return Pricing(file=prices, cny_per_usd=rate)


def reading(
    task: str | None, text: list[str] | None, label: str | None, seed: int, keep_overlap: bool = False
) -> "study.Reading":
    from trimtab.study import Reading

    if task is not None and task not in TASKS.split("|"):
        raise UsageError("TT-V163", task=task, known=TASKS.replace("|", ", "))
    return Reading(
        task=cast("data.Task | None", task),
        text=tuple(text) if text else None,
        label=label,
        seed=seed,
        keep_overlap=keep_overlap,
    )


def models_of(ctx: typer.Context, model: str, models: str | None) -> tuple[str, ...]:
    """The models that are asked for, by the argument or by the option. Raises UsageError TT-U016 for both."""
    named, source = several(models), ctx.get_parameter_source("model")
    if named and source is not None and source.name == "COMMANDLINE":
        raise UsageError("TT-U016", model=model)
    return named or (model,)


def several(words: str | None) -> tuple[str, ...]:
    """Words between commas."""
    return tuple(word.strip() for word in (words or "").split(",") if word.strip())


def goal_of(goal: str) -> "planning.Goal":
    """The planner refuses a word it does not know."""
    return cast("planning.Goal", goal)


def method_of(method: str) -> str | None:
    """The planner's word for it: "auto" leaves the choice to the planner."""
    return None if method == "auto" else method
