"""What a student is before it learns: a model folder like any other, that `training` opens as it does them all.

Three kinds: fewer layers of the teacher's, which keep its weights; another model, as it is; the teacher's family
in another shape, with fresh weights. Leaves out: learning (`distilling`), and cutting inside of layers (pruning).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from trimtab import tuning
from trimtab.errors import UsageError
from trimtab.evaluation import Artifact
from trimtab.home import folder_atomically
from trimtab.models import ModelSource, read_spec
from trimtab.models.config_keys import CONFIG_TABLES
from trimtab.models.spec import ModelSpec
from trimtab.tuning import structure

Config = dict[str, Any]  # transformers' own, as JSON has it


class Student(ABC):
    """Abstract. Its final classes are values."""

    @abstractmethod
    def spec(self, teacher: ModelSpec) -> ModelSpec:
        """Its shape, for a plan; nothing is made. Raises UsageError where there is no such student of this
        teacher."""

    @abstractmethod
    def source(self, teacher: Artifact, folder: Path) -> ModelSource:
        """Its model folder: made in `folder`, which is there whole or not at all, unless it is there already.
        Raises UsageError as `spec`, OSError."""

    def matched(self, student: ModelSpec, teacher: ModelSpec) -> tuple[int, ...]:
        """For each of its layers the teacher's layer that it is held to: evenly spaced, the last to the last."""
        return spaced(student.layers, teacher.layers)


def spaced(layers: int, teacher_layers: int) -> tuple[int, ...]:
    """`layers` of the teacher's, ascending, evenly spaced, the last one among them: 3 of 6 are 1, 3, 5. Where more
    are asked for than there are, some come twice."""
    return tuple(max(0, round((number + 1) * teacher_layers / layers) - 1) for number in range(layers))


@dataclass(frozen=True, kw_only=True, slots=True)
class FewerLayers(Student):
    """`layers` of the teacher's, or those that are `chosen` (0 = the lowest, ascending), with its embeddings, its
    pooler and its head. An adapter is folded into its base first, in memory: the artifact given computes the same
    and is an adapter no more."""

    layers: int
    chosen: tuple[int, ...] = ()

    def picked(self, teacher_layers: int) -> tuple[int, ...]:
        """Raises UsageError TT-C100 for more layers than the teacher has, TT-C101 for layers that it has not, or
        not in this order, TT-C102 for another number of layers than are chosen."""
        if not 1 <= self.layers <= teacher_layers:
            raise UsageError("TT-C100", layers=self.layers, teacher=teacher_layers)
        if not self.chosen:
            return spaced(self.layers, teacher_layers)
        listed = ", ".join(map(str, self.chosen))
        if len(self.chosen) != self.layers:
            raise UsageError("TT-C102", layers=self.layers, chosen=listed, count=len(self.chosen))
        if list(self.chosen) != sorted(set(self.chosen) & set(range(teacher_layers))):
            raise UsageError("TT-C101", chosen=listed, last=teacher_layers - 1)
        return self.chosen

    def spec(self, teacher: ModelSpec) -> ModelSpec:
        self.picked(teacher.layers)
        return replace(teacher, layers=self.layers, stored_bytes=0, fingerprint="")

    def source(self, teacher: Artifact, folder: Path) -> ModelSource:
        picked = self.picked(teacher.spec.layers)
        merge_in_place(
            teacher
        )  # also where the student is there: a resumed run has the teacher that it began with
        if not folder.is_dir():
            plain = _with_layers(teacher.model.config.to_dict(), teacher.spec, picked)
            with torch.device("meta"):
                made = _made(teacher.model, plain)
            # No copy of a weight: the teacher's own become the student's, to be written.
            made.load_state_dict(_picked_weights(teacher, picked), assign=True)
            made.tie_weights()
            _write(made, teacher, folder)
        return _source(folder)

    def matched(self, student: ModelSpec, teacher: ModelSpec) -> tuple[int, ...]:
        return self.picked(teacher.layers)


@dataclass(frozen=True, kw_only=True, slots=True)
class OtherModel(Student):
    """A pretrained model as it is. Its vocabulary may be another: then it learns from outputs alone."""

    model: ModelSource

    def spec(self, teacher: ModelSpec) -> ModelSpec:
        return read_spec(self.model)

    def source(self, teacher: Artifact, folder: Path) -> ModelSource:
        return self.model


@dataclass(frozen=True, kw_only=True, slots=True)
class OtherShape(Student):
    """The teacher's family and vocabulary in a shape of its own; weights made from `seed`. Heads of keys and
    values are as many in proportion as the teacher's."""

    layers: int
    hidden: int
    heads: int
    ffn: int
    seed: int = 0

    def spec(self, teacher: ModelSpec) -> ModelSpec:
        """Raises UsageError TT-C103 where a size is below 1, TT-C104 where heads do not divide the width."""
        if min(self.layers, self.hidden, self.heads, self.ffn) < 1:
            raise UsageError(
                "TT-C103", layers=self.layers, hidden=self.hidden, heads=self.heads, ffn=self.ffn
            )  # fmt: skip
        if self.hidden % self.heads:
            raise UsageError("TT-C104", hidden=self.hidden, heads=self.heads)
        return replace(
            teacher,
            layers=self.layers,
            hidden=self.hidden,
            heads=self.heads,
            kv_heads=math.gcd(self.heads, max(1, self.heads * teacher.kv_heads // teacher.heads)),
            head_dim=self.hidden // self.heads,
            ffn=self.ffn,
            stored_bytes=0,
            fingerprint="",
        )

    def source(self, teacher: Artifact, folder: Path) -> ModelSource:
        spec = self.spec(teacher.spec)
        if not folder.is_dir():
            picked = spaced(self.layers, teacher.spec.layers)
            plain = _with_layers(teacher.model.config.to_dict(), teacher.spec, picked)
            keys = CONFIG_TABLES[spec.family].keys
            sizes = ("hidden", "heads", "kv_heads", "head_dim", "ffn")
            plain |= {keys[size]: getattr(spec, size) for size in sizes if size in keys}
            torch.manual_seed(self.seed)
            _write(_made(teacher.model, plain), teacher, folder)
        return _source(folder)


def merge_in_place(teacher: Artifact) -> None:
    """Fold an adapter into its base, once, in the model of `teacher` itself; nothing for a whole model. Raises
    ModelError TT-T071 where nothing can be merged."""
    if teacher.facts.adapter:
        tuning.merge(teacher.facts.strategy, teacher.model, teacher.spec)


def _with_layers(plain: Config, spec: ModelSpec, picked: tuple[int, ...]) -> Config:
    """A configuration with the picked layers: their number, and of what it lists layer by layer theirs."""
    lists = {
        key: [value[number] for number in picked]
        for key, value in plain.items()
        if "layer" in key and isinstance(value, list) and len(value) == spec.layers
    }
    return plain | lists | {CONFIG_TABLES[spec.family].keys["layers"]: len(picked)}


def _made(like: PreTrainedModel, plain: Config) -> PreTrainedModel:
    """A model of the class of `like`, on the default device, in its dtype; without a pooler where it has none."""
    made = type(like)(type(like.config).from_dict(plain)).to(like.dtype)
    if getattr(structure.backbone(like), "pooler", None) is None and hasattr(structure.backbone(made), "pooler"):
        setattr(structure.backbone(made), "pooler", None)  # noqa: B010 (a module, to mypy)
    return made


def _picked_weights(teacher: Artifact, picked: tuple[int, ...]) -> Mapping[str, torch.Tensor]:
    """All weights by their names in the student."""
    path = f"{structure.layers_path(teacher.model, teacher.spec)}."
    number_of = {old: new for new, old in enumerate(picked)}
    found = {}
    for name, tensor in teacher.model.state_dict().items():
        if not name.startswith(path):
            found[name] = tensor
            continue
        number, _, rest = name.removeprefix(path).partition(".")
        if int(number) in number_of:
            found[f"{path}{number_of[int(number)]}.{rest}"] = tensor
    return found


def _write(made: PreTrainedModel, teacher: Artifact, folder: Path) -> None:
    """With the teacher's tokenizer and what else belongs beside a model of its task."""
    with tuning.quiet_transformers(), folder_atomically(folder) as beside:
        teacher.objective.before_writing(made, teacher.tokenizer)
        made.save_pretrained(str(beside))
        teacher.tokenizer.save_pretrained(str(beside))
        if made.config.hidden_size == teacher.model.config.hidden_size:  # else its vectors are others
            teacher.objective.write_beside(beside, teacher.facts, teacher.model)


def _source(folder: Path) -> ModelSource:
    return ModelSource(folder=folder, name=str(folder))
