"""The options that several verbs share, each written once. Help texts and panel titles are catalogue codes.

The lists of goals, methods, precisions and tasks stand here as words, because importing them would make
`trimtab --help` slow; tests/app/test_options.py holds them to the rooms they come from.
"""

from typing import TYPE_CHECKING, Annotated, cast

import typer

from trimtab.errors import UsageError

if TYPE_CHECKING:
    from trimtab import data, methods, planning, units
    from trimtab.methods import Choices
    from trimtab.planning import Limits, Settings
    from trimtab.study import Pricing, Reading, Shape

DATA, LIMITS, METHOD, TRAINING = "TT-V061", "TT-V062", "TT-V063", "TT-V064"
GOALS = "balanced|quality|memory|time|money"
METHODS = "auto|full|lora|freeze|head"
PRECISIONS = "fp32|bf16|fp16"
TASKS = "classify|pair|regress"

Model = Annotated[str, typer.Argument(metavar="MODEL", help="TT-V100")]
MaybeModel = Annotated[str | None, typer.Argument(metavar="[MODEL]", help="TT-V100", show_default=False)]
Folder = Annotated[str, typer.Argument(metavar="DIR", help="TT-V101")]
DataArgument = Annotated[str, typer.Argument(metavar="D", help="TT-V102")]
Models = Annotated[str | None, typer.Option("--models", metavar="A,B,..", help="TT-V176", rich_help_panel=METHOD)]
Data = Annotated[str, typer.Option("--data", metavar="D", help="TT-V102", rich_help_panel=DATA)]
MaybeData = Annotated[str | None, typer.Option("--data", metavar="D", help="TT-V102", rich_help_panel=DATA)]
Examples = Annotated[int | None, typer.Option("--examples", metavar="N", help="TT-V107", rich_help_panel=DATA)]
Length = Annotated[int | None, typer.Option(metavar="N", help="TT-V108", rich_help_panel=DATA)]
Labels = Annotated[int | None, typer.Option(metavar="N", help="TT-V109", rich_help_panel=DATA)]
Task = Annotated[str | None, typer.Option("--task", metavar=TASKS, help="TT-V103", rich_help_panel=DATA)]
Text = Annotated[list[str] | None, typer.Option("--text", metavar="COL", help="TT-V104", rich_help_panel=DATA)]
Label = Annotated[str | None, typer.Option("--label", metavar="COL", help="TT-V105", rich_help_panel=DATA)]
KeepOverlap = Annotated[bool, typer.Option("--keep-overlap", help="TT-V106", rich_help_panel=DATA)]
On = Annotated[str | None, typer.Option("--on", metavar="NAME", help="TT-V110", rich_help_panel=LIMITS)]
Memory = Annotated[str | None, typer.Option("--memory", metavar="SIZE", help="TT-V111", rich_help_panel=LIMITS)]
Time = Annotated[str | None, typer.Option("--time", metavar="SPAN", help="TT-V112", rich_help_panel=LIMITS)]
Money = Annotated[str | None, typer.Option("--money", metavar="SUM", help="TT-V114", rich_help_panel=LIMITS)]
Price = Annotated[str | None, typer.Option("--price", metavar="SUM", help="TT-V115", rich_help_panel=LIMITS)]
Prices = Annotated[str | None, typer.Option("--prices", metavar="FILE", help="TT-V116", rich_help_panel=LIMITS)]
Exchange = Annotated[float | None, typer.Option("--rate", metavar="X", help="TT-V117", rich_help_panel=LIMITS)]
Goal = Annotated[str, typer.Option("--goal", metavar=GOALS, help="TT-V113", rich_help_panel=LIMITS)]
Method = Annotated[str, typer.Option("--method", metavar=METHODS, help="TT-V120", rich_help_panel=METHOD)]
Rank = Annotated[int | None, typer.Option("--rank", metavar="N", help="TT-V121", rich_help_panel=METHOD)]
MaybeMethod = Annotated[
    str | None, typer.Option("--method", metavar=METHODS, help="TT-V120", rich_help_panel=METHOD)
]
TopLayers = Annotated[
    int | None, typer.Option("--top-layers", metavar="N", help="TT-V122", rich_help_panel=METHOD)
]
Epochs = Annotated[int | None, typer.Option("--epochs", metavar="N", help="TT-V130", rich_help_panel=TRAINING)]
Batch = Annotated[int | None, typer.Option("--batch", metavar="N", help="TT-V131", rich_help_panel=TRAINING)]
Rate = Annotated[float | None, typer.Option("--lr", metavar="X", help="TT-V132", rich_help_panel=TRAINING)]
MaxLength = Annotated[
    int | None, typer.Option("--max-length", metavar="N", help="TT-V133", rich_help_panel=TRAINING)
]
Precision = Annotated[
    str | None, typer.Option("--precision", metavar=PRECISIONS, help="TT-V134", rich_help_panel=TRAINING)
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="TT-V135", rich_help_panel=TRAINING)]
TrustCode = Annotated[bool, typer.Option("--trust-remote-code", help="TT-V153")]
Rows = Annotated[str | None, typer.Option("--rows", metavar="FILE", help="TT-V175", rich_help_panel=DATA)]
Exact = Annotated[bool, typer.Option("--exact", help="TT-V174", rich_help_panel=METHOD)]
Json = Annotated[bool, typer.Option("--json", help="TT-V140")]


def limits(memory: str | None, time: str | None, money: str | None) -> "Limits":
    """Raises UsageError where a size, a span or a sum cannot be read."""
    from trimtab.planning import Limits
    from trimtab.units import parse_bytes, parse_seconds

    return Limits(
        memory_bytes=parse_bytes(memory) if memory else None,
        seconds=parse_seconds(time) if time else None,
        money=sum_of(money),
    )


def sum_of(text: str | None) -> "units.Money | None":
    """Raises UsageError where a sum of money cannot be read."""
    from trimtab.units import parse_money

    return None if text is None else parse_money(text)


def pricing(prices: str | None, rate: float | None) -> "Pricing":
    from trimtab.study import Pricing

    return Pricing(file=prices, cny_per_usd=rate)


def shape(examples: int | None, length: int | None, labels: int | None) -> "Shape | None":
    """The data set that is to be imagined; None where nothing was said of it."""
    from trimtab.study import Shape

    told = {"examples": examples, "length": length, "labels": labels}
    said = {name: value for name, value in told.items() if value is not None}
    return Shape(**said) if said else None


def choices(rank: int | None, top_layers: int | None) -> "Choices":
    from trimtab.methods import Choices

    return Choices(rank=rank, top_layers=top_layers)


def settings(
    *,
    epochs: int | None,
    batch: int | None,
    lr: float | None,
    max_length: int | None,
    precision: str | None,
    seed: int,
) -> "Settings":
    from trimtab.planning import Settings

    return Settings(
        epochs=epochs, batch=batch, learning_rate=lr, max_length=max_length, seed=seed,
        precision=cast("methods.Precision | None", precision),  # the planner refuses a word it does not know
    )  # fmt: skip


def reading(
    task: str | None, text: list[str] | None, label: str | None, seed: int, keep_overlap: bool = False
) -> "Reading":
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


def goal_of(goal: str) -> "planning.Goal":
    """The planner refuses a word it does not know."""
    return cast("planning.Goal", goal)


def method_of(method: str) -> str | None:
    """The planner's word for it: "auto" leaves the choice to the planner."""
    return None if method == "auto" else method
