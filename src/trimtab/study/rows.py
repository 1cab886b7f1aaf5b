"""The verb `estimate --rows`: one estimate for every row of a csv file of training setups, as they are read.

The columns are those that published tables of fine-tuning runs share (docs/rows.md); their order does not matter
and others are ignored. An empty cell takes the documented default, and the answer says so. A row that cannot be
read has its error and does not stop the others. Nothing here imports torch, and no more than a row is held.
"""

import csv
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from trimtab.errors import BadInput, Message, TrimtabError, UsageError, message, system_reason
from trimtab.estimation import MoneyEstimate
from trimtab.estimation.money import money
from trimtab.estimation.setups import (
    LOSSES,
    METHODS,
    OPTIMIZERS,
    QUANTS,
    SHARDINGS,
    Setup,
    SetupEstimate,
    estimate_setup,
)
from trimtab.estimation.setups.setup import BYTES_OF, Attention, Loss, MemoryKind, Number, OptimizerKind, Quant
from trimtab.estimation.setups.trained import HEAD
from trimtab.hardware import machine_named
from trimtab.hardware.machine import Machine, Price
from trimtab.hardware.prices import cheapest_price, known_offers
from trimtab.models.catalogue import shape_named
from trimtab.models.spec import ModelSpec
from trimtab.study.dry_runs import traced_setup_phases
from trimtab.study.jsonable import jsonable
from trimtab.study.request import Pricing
from trimtab.units import Figure, exchange_rate

Found = TypeVar("Found")
_UNKNOWN = ("", "unknown")
_MOST = 10**13  # of anything counted: more is a slip
_KINDS: dict[str, MemoryKind] = {
    "allocated": "allocated",
    "reserved": "reserved",
    "nvidia-smi": "device",
    "device": "device",
}
_BESIDE = ("lora", "dora", "qlora4", "qlora8")  # methods that stand beside matrices, whatever the row says of them
# Roles that a family may not have: a gate where the network has none is passed over, as LoRA does.
_OTHER_ROLES = ("q", "k", "v", "o", "gate", "up", "down", HEAD)
_NO_SUCH_MACHINE = "TT-H001"
_VARIANTS = ("adapter-v2",)  # of "other", those with a row in METHODS
_FIRST_QUANT = {"qlora4": "nf4", "qlora8": "int8"}
_TABLES: dict[str, Literal["embedding", "head"]] = {
    "wte": "embedding",
    "embed_tokens": "embedding",
    "embedding": "embedding",
    "lm_head": "head",
    "head": "head",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class RowEstimate:
    """The answer to one row. `kind`: the memory it asks for, reserved where it says nothing. `assumed`: cells
    that took a default, as "column=value". Exactly one of `estimate` and `error` is there. `train_seconds`: of all
    its epochs, where it says how many examples there are; `money`: where its device is rented out besides."""

    id: str
    kind: MemoryKind = "reserved"
    assumed: tuple[str, ...] = ()
    estimate: SetupEstimate | None = None
    train_seconds: Figure | None = None
    money: MoneyEstimate | None = None
    error: Message | None = None


def estimate_rows(path: str, *, exact: bool = False, pricing: Pricing = Pricing()) -> Iterator[RowEstimate]:
    """One answer a row of the csv file (UTF-8), in order. `exact`: memory by a dry run, seconds a row and torch.
    `pricing`: where the price of a row's device is looked up.

    Raises BadInput TT-W001 to TT-W004 for a file that cannot be read as a table at all; what is wrong with one
    row is in its answer.

    >>> import csv, pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp(), "rows.csv")
    >>> _ = file.write_text("model_key,method,rank,micro_batch,seq_len\\nllama-2-7b,lora,8,1,2048\\n")
    >>> [row] = estimate_rows(str(file))
    >>> 15e9 < row.estimate.memory.allocated.value < 40e9
    True
    """
    prices = _Prices(pricing)
    for number, cells in enumerate(_table(Path(path).expanduser()), start=1):
        yield estimate_row(cells, str(number), exact=exact, price_of=prices.of)


def estimate_row(
    cells: Mapping[str, str],
    name: str,
    *,
    exact: bool = False,
    price_of: Callable[[Machine], Price | None] = lambda machine: None,
) -> RowEstimate:
    """The answer to one row of cells by column; `name` is its id where it has none of its own. `price_of`: what
    an hour of a machine costs."""
    name = cells.get("id", "").strip() or name
    row = _Row(cells)
    try:
        machine = _machine(row)
        setup, kind = _setup(row, machine), row.word("mem_kind", _KINDS, "reserved")
        traced = traced_setup_phases(setup) if exact else ()
        found = estimate_setup(setup, traced=traced)
        seconds = _train_seconds(row, setup, found)
        price = None if seconds is None or machine is None else price_of(machine)
        return RowEstimate(
            id=name,
            kind=kind,
            assumed=tuple(row.assumed),
            estimate=found,
            train_seconds=seconds,
            money=None if seconds is None or price is None else money(seconds, price),
        )
    except TrimtabError as error:
        return RowEstimate(id=name, error=error.message)
    except Exception as error:  # a library's, of a dry run: no other row shall suffer for it
        reason = f"{type(error).__name__}: {error}".strip().partition("\n")[0][:200]
        return RowEstimate(id=name, error=message("TT-W021", reason=reason))


def _train_seconds(row: "_Row", setup: Setup, found: SetupEstimate) -> Figure | None:
    """Of all epochs; None where the row does not say how many examples there are, or has no time."""
    examples = row.count("examples", None)
    if examples is None or found.time is None:
        return None
    epochs = row.number("epochs", 1.0)
    a_step = setup.micro_batch * setup.micro_batches * setup.devices
    return found.time.step_seconds.times(math.ceil(epochs * -(-examples // a_step)))


class _Prices:
    """The price of an hour of a catalogue machine; offers are read once, and where the user's own file of them
    cannot be, nothing has a price. Raises BadInput at once for a file that is named."""

    def __init__(self, pricing: Pricing) -> None:
        self._today = pricing.today or date.today()
        self._rate = exchange_rate(pricing.cny_per_usd)
        try:
            self._offers = known_offers(pricing.file, self._today)
        except BadInput:
            if pricing.file is not None:
                raise
            self._offers = ()

    def of(self, machine: Machine) -> Price | None:
        return cheapest_price(machine, self._offers, self._rate, self._today)


def _table(path: Path) -> Iterator[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from _records(path, csv.DictReader(file, strict=True))
    except OSError as error:
        raise BadInput("TT-W001", path=str(path), reason=system_reason(error)) from error
    except UnicodeDecodeError as error:
        raise BadInput("TT-W003", path=str(path)) from error


def _records(path: Path, records: "csv.DictReader[str]") -> Iterator[dict[str, str]]:
    try:
        if records.fieldnames is not None:
            records.fieldnames = [name.strip() for name in records.fieldnames]
        if "model_key" not in (records.fieldnames or ()):
            columns = ", ".join(records.fieldnames or ()) or "-"
            raise BadInput("TT-W002", path=str(path), columns=columns)
        names = list(records.fieldnames or ())
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise BadInput("TT-W005", path=str(path), columns=", ".join(twice))
        for record in records:
            # cells beyond the header stand under None; absent ones are None
            yield {column: cell or "" for column, cell in record.items() if isinstance(column, str)}
    except csv.Error as error:
        raise BadInput("TT-W004", path=str(path), line=records.line_num) from error


@dataclass(slots=True)
class _Row:
    """The cells of one row, read one by one; `assumed` grows as defaults are taken."""

    cells: Mapping[str, str]
    assumed: list[str] = field(default_factory=list)

    def text(self, column: str) -> str:
        """The cell; "" where it is empty or unknown."""
        cell = self.cells.get(column, "").strip()
        return "" if cell in _UNKNOWN else cell

    def word(self, column: str, known: Mapping[str, Found], default: str) -> Found:
        cell = self.text(column)
        if not cell:
            self.assume(column, default)
            return known[default]
        if cell not in known:
            raise UsageError("TT-W011", column=column, value=cell, known=", ".join(known))
        return known[cell]

    def count(self, column: str, default: int | None, least: int = 1) -> int | None:
        cell = self.text(column)
        if not cell:
            if default is not None:
                self.assume(column, str(default))
            return default
        number = _whole(cell)
        if number is None or not least <= number <= _MOST:
            raise UsageError("TT-W012", column=column, value=cell, least=least, most=_MOST)
        return number

    def number(self, column: str, default: float) -> float:
        """A positive number, decimals too."""
        cell = self.text(column)
        if not cell:
            self.assume(column, f"{default:g}")
            return default
        with suppress(ValueError):
            number = float(cell)
            if 0 < number <= _MOST:
                return number
        raise UsageError("TT-W012", column=column, value=cell, least=0, most=_MOST)

    def flag(self, column: str, *, default: bool = False) -> bool:
        return self.word(column, {"yes": True, "no": False}, "yes" if default else "no")

    def said(self, column: str) -> bool:
        """A flag that is "no" where nothing is said of it, which few tables do."""
        return bool(self.text(column)) and self.flag(column)

    def assume(self, column: str, value: str) -> None:
        self.assumed.append(f"{column}={value}")


def _whole(cell: str) -> int | None:
    with suppress(ValueError, OverflowError):
        number = float(cell)
        return int(number) if number.is_integer() else None
    return None


# -------------------------------------------------------------------- a row as a Setup


def setup_of(cells: Mapping[str, str]) -> Setup:
    """The Setup that a row of cells describes. Raises ModelError for a model that is not in the catalogue,
    UsageError for a cell that cannot be read."""
    row = _Row(cells)
    return _setup(row, _machine(row))


def kind_of(cells: Mapping[str, str]) -> MemoryKind:
    """The memory a row asks for: reserved where it says nothing. Raises UsageError for a word that is none."""
    return _Row(cells).word("mem_kind", _KINDS, "reserved")


def _setup(row: _Row, machine: Machine | None = None) -> Setup:
    spec = _model(row)
    method = _method(row)
    weights = row.word("weights_dtype", _numbers(), "fp32" if spec.kind == "encoder" else "bf16")
    quant = _quant(row, method)
    beside = method not in ("full", "freeze", "head")
    return Setup(
        spec=spec,
        method=method,
        roles=_roles(row, spec, method),
        rank=_some(row.count("rank", 8)) if method in _BESIDE else _some(row.count("rank", None)),
        bottleneck=_some(row.count("bottleneck", 64 if method == "adapter" else None)),
        virtual_tokens=_some(
            row.count("virtual_tokens", 8 if method in ("prompt", "prefix", "ptuning") else None)
        ),
        top_layers=_top_layers(row, spec, method),
        trainable=row.count("trainable_params", None),
        copies=_copies(row),
        untied_head=row.said("untied_head"),
        quant=quant,
        weights=weights,
        adapters=row.word("adapter_dtype", _numbers(), "fp32") if beside else weights,
        compute=row.word("compute_dtype", _numbers() | {"fp8": "bf16"}, weights),
        optimizer=_optimizer(row),
        steps_in_backward="backward" in row.text("optimizer_detail"),
        recompute=row.flag("grad_checkpointing"),
        attention=row.word("attention", _attentions(), "sdpa"),
        loss=_loss(row),
        packed=row.flag("packing"),
        compiled=row.said("compile"),
        offloads_activations=row.said("activation_offload"),
        offloads_weights=row.said("offload"),
        micro_batch=_some(row.count("micro_batch", 1)),
        length=_some(row.count("seq_len", 512)),
        mean_length=_mean_length(row),
        micro_batches=_some(row.count("micro_batches_per_step", 1)),
        devices=machine.count if machine is not None else _some(row.count("gpus", 1)),
        sharding=row.word("parallelism", SHARDINGS | {"other": SHARDINGS["ddp"]}, "none"),
        device=None if machine is None else machine.device,
    )


def _some(count: int | None) -> int:
    return count or 0


def _numbers() -> dict[str, Number]:
    return {name: cast(Number, name) for name in BYTES_OF}


def _attentions() -> dict[str, Attention]:
    return {"eager": "eager", "sdpa": "sdpa", "flash": "flash"}


def _model(row: _Row) -> ModelSpec:
    name = row.text("model_key")
    if not name:
        raise UsageError("TT-W010", column="model_key")
    spec = shape_named(name)
    if spec.decoder_layers or spec.stored_layers < spec.layers:
        raise UsageError("TT-W022", model=spec.name, family=spec.family)
    return spec


def _method(row: _Row) -> str:
    """The method; a variant of "other" that has a row of its own is taken by that."""
    method = row.word("method", {name: name for name in METHODS}, "full")
    variant = row.text("variant")
    return next((name for name in _VARIANTS if name in variant), method) if method == "other" else method


def _copies(row: _Row) -> tuple[Literal["embedding", "head"], ...]:
    words = [word for word in re.split(r"[\s,]+", row.text("trained_extra")) if word]
    if strangers := [word for word in words if word not in _TABLES]:
        raise UsageError("TT-W011", column="trained_extra", value=" ".join(strangers), known=", ".join(_TABLES))
    return tuple(dict.fromkeys(_TABLES[word] for word in words))


def _quant(row: _Row, method: str) -> Quant:
    name = row.text("quant")
    if not name:
        name = _FIRST_QUANT.get(method, "none")
        row.assume("quant", name)
    doubled = f"{name}-double"
    if name not in ("", "none") and method == "full":
        raise UsageError("TT-W023", method=method, quant=name)
    if doubled in QUANTS and row.flag("double_quant"):
        return QUANTS[doubled]
    if name not in QUANTS:
        raise UsageError("TT-W011", column="quant", value=name, known=", ".join(QUANTS))
    return QUANTS[name]


def _roles(row: _Row, spec: ModelSpec, method: str) -> tuple[str, ...]:
    """Matrices that something stands beside: by role, by their name in the model, or "all-linear"."""
    known = tuple(role for linear in spec.linears for role in linear.roles)
    if written := row.text("target_roles"):
        roles = tuple(word for word in re.split(r"[\s,]+", written) if word)
        if strangers := [role for role in roles if role not in (*known, *_OTHER_ROLES)]:
            raise UsageError(
                "TT-W011", column="target_roles", value=" ".join(strangers), known=", ".join((*known, HEAD))
            )
        return roles
    targets = row.text("targets")
    if targets == "all-linear":
        return known
    names = {name.rsplit(".", 1)[-1] for name in re.split(r"[\s,]+", targets) if name}
    found: tuple[str, ...] = tuple(
        role for linear in spec.linears if linear.module.rsplit(".", 1)[-1] in names for role in linear.roles
    )
    found += (HEAD,) if "lm_head" in names else ()
    if found or method not in _BESIDE:
        return found
    if names:
        modules = ", ".join(sorted({linear.module.rsplit(".", 1)[-1] for linear in spec.linears}))
        raise UsageError("TT-W011", column="targets", value=targets, known=f"{modules}, lm_head, all-linear")
    row.assume("target_roles", "q v")
    return ("q", "v")


def _top_layers(row: _Row, spec: ModelSpec, method: str) -> int | None:
    top = row.count("trainable_layers", max(1, spec.layers // 3) if method == "freeze" else None)
    if top is not None and top > spec.layers:
        raise UsageError("TT-W012", column="trainable_layers", value=top, least=1, most=spec.layers)
    return top


def _optimizer(row: _Row) -> OptimizerKind:
    """The optimiser; its detail says where the states lie and how the step is taken."""
    detail = row.text("optimizer_detail").lower()
    known = OPTIMIZERS | {"other": OPTIMIZERS["adamw"]}
    kind = row.word("optimizer", known, "adamw")
    if kind.name == "adamw" and "paged" in detail:
        return OPTIMIZERS["adamw-paged"]
    if kind.name == "adamw" and "fused" in detail and "backward" not in detail:
        return OPTIMIZERS["adamw-fused"]
    return kind


_LOSS_BEGINS: tuple[tuple[str, str], ...] = (
    ("litgpt", "litgpt"),
    ("chunked", "chunked"),
    ("transformers", "transformers"),
    ("torch", "plain"),
    ("liger", "fused"),
    ("unsloth", "fused"),
    ("fused", "fused"),
)


def _loss(row: _Row) -> Loss:
    kernel = row.text("loss_kernel").lower()
    named = next((name for begin, name in _LOSS_BEGINS if kernel.startswith(begin)), None)
    if named is not None:
        return LOSSES[named]
    if kernel:
        known = ", ".join(begin for begin, _ in _LOSS_BEGINS)
        raise UsageError("TT-W011", column="loss_kernel", value=kernel, known=known)
    return LOSSES["fused"] if row.flag("fused_loss") else LOSSES["plain"]


def _mean_length(row: _Row) -> float | None:
    """Of the rows really met: no longer than their limit."""
    if not row.text("mean_seq_len"):
        return None
    mean, most = row.number("mean_seq_len", 1.0), _some(row.count("seq_len", 512))
    if mean > most:
        raise UsageError("TT-W012", column="mean_seq_len", value=row.text("mean_seq_len"), least=1, most=most)
    return mean


def _machine(row: _Row) -> Machine | None:
    """The catalogue machine of the row's GPUs; where it is none, there is no time to be told, and the answer says
    so. Raises UsageError where `gpus` and a count in the name contradict each other."""
    name = row.text("device")
    if not name:
        return None
    try:
        machine = machine_named(name, _some(row.count("gpus", None)) or 1)
    except UsageError as error:
        if error.code != _NO_SUCH_MACHINE:
            raise
        row.assume("device", "none")
        return None
    if machine.device.kind != "gpu":
        row.assume("device", "none")
        return None
    return machine


# -------------------------------------------------------------------- as JSON


def row_facts(found: RowEstimate, say: Callable[[Message], dict[str, Any]]) -> dict[str, Any]:
    """One line of output: bytes as whole numbers, seconds; `say` tells an error."""
    if found.estimate is None:
        assert found.error is not None
        return {"id": found.id, "error": say(found.error)}
    memory, time = found.estimate.memory, found.estimate.time
    asked = getattr(memory, found.kind)
    parts = {name: getattr(memory.parts, name) for name in type(memory.parts).__dataclass_fields__}
    cost = found.money
    paid = (
        None
        if cost is None
        else {"cny": jsonable(cost.cny), "usd": jsonable(cost.usd), "price": jsonable(cost.price)}
    )
    return {
        "id": found.id,
        "memory": {
            "allocated": round(memory.allocated.value),
            "reserved": round(memory.reserved.value),
            "device": round(memory.device.value),
            "low": round(asked.low),
            "high": round(asked.high),
            "kind": found.kind,
            "parts": parts,
            "phase": memory.phase,
        },
        "trainable_parameters": found.estimate.trainable_parameters,
        "step_seconds": None if time is None else time.step_seconds.value,
        "tokens_per_second": None if time is None else time.tokens_per_second.value,
        "train_seconds": None if found.train_seconds is None else jsonable(found.train_seconds),
        "money": paid,
        "evidence": str(asked.evidence),
        "assumed": list(found.assumed),
    }
