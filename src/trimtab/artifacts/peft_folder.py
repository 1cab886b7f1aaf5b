"""A LoRA adapter that plain PEFT has saved, read as facts: what of it is a `Lora` of ours on a given base.

Everything is told by the names and shapes in the header of its weights. `target_modules` is not looked at: it may
be a pattern, and a pattern from elsewhere can be made to run for years. Settings that change what LoRA computes,
and any that are not known here, are refused by name. Leaves out other methods of PEFT, adapters on embeddings, on
heads and on some layers below others.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trimtab.artifacts.facts import ADAPTER_CONFIG
from trimtab.artifacts.tensors import adapter_tensors
from trimtab.errors import ArtifactError
from trimtab.methods import Lora, Shape
from trimtab.models.config import Config, read_json_object
from trimtab.models.spec import Linear, ModelSpec
from trimtab.models.weights_header import StoredTensor

PeftTask = Literal["SEQ_CLS", "CAUSAL_LM"]

# What may stand in adapter_config.json whatever its value: told by the tensors, or of no effect once trained.
_TOLD_ELSEWHERE = frozenset(
    {
        *("auto_mapping", "base_model_name_or_path", "corda_config", "eva_config", "exclude_modules"),
        *("fan_in_fan_out", "inference_mode", "layers_pattern", "layers_to_transform", "loftq_config"),
        *("lora_alpha", "lora_dropout", "lora_ga_config", "megatron_config", "megatron_core", "modules_to_save"),
        *("peft_type", "peft_version", "qalora_group_size", "r", "revision", "runtime_config"),
        *("target_modules", "task_type"),
    }
)
# What may stand there with one of these values; any other key must be empty.
_PLAIN: Mapping[str, tuple[object, ...]] = {
    "bias": ("none",),
    "init_lora_weights": (True, False, "gaussian", "orthogonal", "eva"),  # others change the base as well
}
_HEADS = ("classifier", "score", "classifier.out_proj")  # the last matrix of the heads of transformers
_SIDES = {".lora_A.weight": "A", ".lora_B.weight": "B"}


@dataclass(frozen=True, kw_only=True, slots=True)
class PeftLora:
    """`outputs`: numbers that the head gives, 0 where there is none (a language model). `head`: the names in the
    file of what was saved whole."""

    folder: Path
    task: PeftTask
    part: Lora
    outputs: int
    head: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Side:
    """One matrix of a pair: A (rank x inputs) or B (outputs x rank) beside `linear` of `layer`."""

    layer: int
    linear: Linear
    side: str
    shape: Shape


def read_peft_lora(folder: Path, spec: ModelSpec) -> PeftLora:
    """What a PEFT folder holds, as a part on `spec`.

    Raises ArtifactError: TT-A020, TT-A026 no weights that may be read, TT-A030 not LoRA, TT-A031 a setting that is
    not known here, TT-A028 a tensor without a place, TT-A032 made for matrices of another size, TT-A033 a rank
    that is not the one said, TT-A034 on layers or matrices that no `Lora` is on, TT-A035 no head; ModelError for a
    damaged file.
    """
    config = _config(folder)
    tensors = adapter_tensors(folder)
    sides = {tensor.name: side for tensor in tensors if (side := _side(tensor, spec)) is not None}
    head = tuple(tensor for tensor in tensors if tensor.name not in sides)
    if strange := [tensor.name for tensor in head if "lora_" in tensor.name]:
        raise ArtifactError("TT-A028", name=strange[0], folder=str(folder), count=len(strange))
    task = _task(config, head, folder)
    if task == "CAUSAL_LM" and head:
        raise ArtifactError("TT-A028", name=head[0].name, folder=str(folder), count=len(head))
    return PeftLora(
        folder=folder,
        task=task,
        part=_part(config, tuple(sides.values()), spec, folder),
        outputs=_outputs(head, folder) if task == "SEQ_CLS" else 0,
        head=tuple(tensor.name for tensor in head),
    )


def _config(folder: Path) -> Config:
    config = read_json_object(folder / ADAPTER_CONFIG)
    if config.get("peft_type") != "LORA":
        raise ArtifactError("TT-A030", folder=str(folder), kind=str(config.get("peft_type", "?"))[:40])
    for key, value in config.items():
        if key not in _TOLD_ELSEWHERE and value not in _PLAIN.get(key, (None, False, [], {}, "", 0)):
            raise ArtifactError("TT-A031", folder=str(folder), key=key[:40], value=str(value)[:80])
    return config


def _side(tensor: StoredTensor, spec: ModelSpec) -> _Side | None:
    for ending, side in _SIDES.items():
        if tensor.name.endswith(ending):
            path = tensor.name.removesuffix(ending)
            for linear in spec.linears:
                above = path.removesuffix(f".{linear.module}")
                number = above.rpartition(".")[2]
                if above != path and number.isdecimal() and len(number) < 5:
                    own = _of_layer(spec, int(number), linear)
                    return _Side(layer=int(number), linear=own, side=side, shape=tensor.shape)
    return None


def _of_layer(spec: ModelSpec, number: int, linear: Linear) -> Linear:
    """The matrix of layer `number` that is called like `linear`: layers of a pruned model may differ."""
    if number >= spec.layers:  # refused later, with all the others
        return linear
    return next(own for own in spec.layer(number).linears if own.module == linear.module)


def _task(config: Config, head: tuple[StoredTensor, ...], folder: Path) -> PeftTask:
    said = config.get("task_type")
    if said == "SEQ_CLS" or (said is None and head):
        return "SEQ_CLS"
    if said in ("CAUSAL_LM", None):
        return "CAUSAL_LM"
    raise ArtifactError("TT-A031", folder=str(folder), key="task_type", value=str(said)[:80])


def _part(config: Config, sides: tuple[_Side, ...], spec: ModelSpec, folder: Path) -> Lora:
    rank = _rank(config, sides, folder)
    for side in sides:
        wanted = (rank, side.linear.inputs) if side.side == "A" else (side.linear.outputs, rank)
        if side.shape != wanted:
            raise ArtifactError(
                "TT-A032", folder=str(folder), matrix=side.linear.module, model=spec.name,
                found=" x ".join(map(str, side.shape)), wanted=" x ".join(map(str, wanted)),
            )  # fmt: skip
    lowest = min(side.layer for side in sides)
    modules = {side.linear.module for side in sides}
    roles = tuple(role for linear in spec.linears if linear.module in modules for role in linear.roles)
    part = Lora(
        rank=rank,
        alpha=int(_number(config, "lora_alpha", folder)),
        dropout=float(_number(config, "lora_dropout", folder)),
        targets=roles,
        top_layers=None if lowest == 0 else spec.layers - lowest,
    )
    there = {(side.layer, side.linear.module, side.side) for side in sides}
    if there != set(_places(part, spec)):
        raise ArtifactError(
            "TT-A034", folder=str(folder), count=len(there) // 2, layers=spec.layers, model=spec.name
        )
    return part


def _places(part: Lora, spec: ModelSpec) -> Iterator[tuple[int, str, str]]:
    for layer in range(part.lowest_layer(spec), spec.layers):
        for linear in part.matrices(spec):
            yield from ((layer, linear.module, side) for side in _SIDES.values())


def _rank(config: Config, sides: tuple[_Side, ...], folder: Path) -> int:
    """The rank of all pairs. What is said is held to the tensors: they are what takes memory."""
    ranks = {side.shape[0 if side.side == "A" else -1] for side in sides if side.shape}
    said = config.get("r")
    if len(ranks) != 1 or isinstance(said, bool) or not isinstance(said, int) or said not in ranks:
        found = ", ".join(map(str, sorted(ranks))) or "-"
        raise ArtifactError("TT-A033", folder=str(folder), said=str(said)[:40], found=found)
    return next(iter(ranks))


def _number(config: Config, key: str, folder: Path) -> float:
    value = config.get(key, 0)
    # The bounds come first: NaN and infinity are no whole numbers, and cannot be asked whether they are.
    if (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and 0 <= value < 10**9
        and (key != "lora_alpha" or value == int(value) > 0)
    ):
        return value
    raise ArtifactError("TT-A031", folder=str(folder), key=key, value=str(value)[:80])


def _outputs(head: tuple[StoredTensor, ...], folder: Path) -> int:
    for tensor in head:
        if tensor.name.endswith(tuple(f".{name}.weight" for name in _HEADS)) and len(tensor.shape) == 2:
            return tensor.shape[0]
    raise ArtifactError("TT-A035", folder=str(folder))
