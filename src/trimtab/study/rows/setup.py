"""A row of cells as a Setup: what each column means. Prices, time and the estimate itself are not here."""

import re
from collections.abc import Mapping
from typing import Literal, cast

from trimtab.errors import UsageError
from trimtab.estimation.setups import LOSSES, METHODS, OPTIMIZERS, QUANTS, SHARDINGS, Setup
from trimtab.estimation.setups.setup import BYTES_OF, Attention, Loss, MemoryKind, Number, OptimizerKind, Quant
from trimtab.estimation.setups.trained import HEAD
from trimtab.hardware import Machine, machine_named
from trimtab.models.catalogue import shape_named
from trimtab.models.spec import ModelSpec
from trimtab.study.rows.cells import Row

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


def setup_of(cells: Mapping[str, str]) -> Setup:
    """The Setup that a row of cells describes. Raises ModelError for a model that is not in the catalogue,
    UsageError for a cell that cannot be read."""
    row = Row(cells)
    return read_setup(row, read_machine(row))


def kind_of(cells: Mapping[str, str]) -> MemoryKind:
    """The memory a row asks for: reserved where it says nothing. Raises UsageError for a word that is none."""
    return read_kind(Row(cells))


def read_kind(row: Row) -> MemoryKind:
    return row.word("mem_kind", _KINDS, "reserved")


def read_setup(row: Row, machine: Machine | None) -> Setup:
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


def _model(row: Row) -> ModelSpec:
    name = row.text("model_key")
    if not name:
        raise UsageError("TT-W010", column="model_key")
    spec = shape_named(name)
    if spec.decoder_layers or spec.stored_layers < spec.layers:
        raise UsageError("TT-W022", model=spec.name, family=spec.family)
    return spec


def _method(row: Row) -> str:
    """The method; a variant of "other" that has a row of its own is taken by that."""
    method = row.word("method", {name: name for name in METHODS}, "full")
    variant = row.text("variant")
    return next((name for name in _VARIANTS if name in variant), method) if method == "other" else method


def _copies(row: Row) -> tuple[Literal["embedding", "head"], ...]:
    words = [word for word in re.split(r"[\s,]+", row.text("trained_extra")) if word]
    if strangers := [word for word in words if word not in _TABLES]:
        raise UsageError("TT-W011", column="trained_extra", value=" ".join(strangers), known=", ".join(_TABLES))
    return tuple(dict.fromkeys(_TABLES[word] for word in words))


def _quant(row: Row, method: str) -> Quant:
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


def _roles(row: Row, spec: ModelSpec, method: str) -> tuple[str, ...]:
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


def _top_layers(row: Row, spec: ModelSpec, method: str) -> int | None:
    top = row.count("trainable_layers", max(1, spec.layers // 3) if method == "freeze" else None)
    if top is not None and top > spec.layers:
        raise UsageError("TT-W012", column="trainable_layers", value=top, least=1, most=spec.layers)
    return top


def _optimizer(row: Row) -> OptimizerKind:
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


def _loss(row: Row) -> Loss:
    kernel = row.text("loss_kernel").lower()
    named = next((name for begin, name in _LOSS_BEGINS if kernel.startswith(begin)), None)
    if named is not None:
        return LOSSES[named]
    if kernel:
        known = ", ".join(begin for begin, _ in _LOSS_BEGINS)
        raise UsageError("TT-W011", column="loss_kernel", value=kernel, known=known)
    return LOSSES["fused"] if row.flag("fused_loss") else LOSSES["plain"]


def _mean_length(row: Row) -> float | None:
    """Of the rows really met: no longer than their limit."""
    if not row.text("mean_seq_len"):
        return None
    mean, most = row.number("mean_seq_len", 1.0), _some(row.count("seq_len", 512))
    if mean > most:
        raise UsageError("TT-W013", column="mean_seq_len", value=row.text("mean_seq_len"), most=most)
    return mean


def read_machine(row: Row) -> Machine | None:
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
