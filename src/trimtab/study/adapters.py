"""The verbs on folders of artifacts: list, show, merge, delete, import.

`list_adapters`, `show_adapter` and `delete_adapter` never load torch.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab import __version__
from trimtab.artifacts import (
    ArtifactFacts,
    PeftLora,
    StoredArtifact,
    artifact_named,
    base_of,
    deletable,
    delete_artifact,
    read_facts,
    read_peft_lora,
    stored,
    stored_artifacts,
    trained_tensors_of,
)
from trimtab.data.spec import Task
from trimtab.errors import ArtifactError, BadInput, Message, ModelError, UsageError
from trimtab.heavy import heavy_imports
from trimtab.home import folder_atomically, write_atomically
from trimtab.methods import (
    PRECISIONS,
    Head,
    LanguageHead,
    Precision,
    Strategy,
    TrainedTensors,
    refuse_unmergeable,
)
from trimtab.models import ModelSpec, read_spec
from trimtab.planning.request import refuse_untrained

_REPORT = "report.json"
_SHORTEST = 8  # tokens, as a training has it
# By the numbers that a head gives: none, one, more.
_TASKS_OF_HEADS: tuple[tuple[Task, ...], ...] = (
    ("instruct", "text"),
    ("regress", "multilabel"),
    ("classify", "pair", "multilabel"),
)
_MOST_COLUMNS: Mapping[Task, int] = {"instruct": 0, "text": 1}
_LONGEST_IMPORTED = 512  # tokens, where the user says nothing: a PEFT folder does not tell


@dataclass(frozen=True, kw_only=True, slots=True)
class ArtifactRow:
    """An artifact in a list. `origin`: trained, merged or imported. `score`: of `metric`, on `split`; None where
    there is no report beside it. `trained_at`: UTC, ISO 8601. `damage`: why it cannot be used; then nothing else
    is known."""

    name: str
    folder: str
    size_bytes: int
    adapter: bool = False
    origin: str = ""
    method: str = ""
    task: str = ""
    labels: tuple[str, ...] = ()
    base: str = ""
    base_weights_sha256: str = ""
    metric: str = ""
    score: float | None = None
    split: str = ""
    trained_at: str = ""
    damage: Message | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ArtifactView:
    """One artifact, whole; its files have been checked against their hashes. `trained`: what an adapter holds.
    `unmergeable`: why it cannot be merged, None where it can or is whole already."""

    row: ArtifactRow
    facts: ArtifactFacts
    trained: tuple[TrainedTensors, ...]
    unmergeable: Message | None


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeArtifact:
    """An artifact made of another: by merging, or of a PEFT folder. On `compared_rows` rows it gives what that
    gave but for `difference`, of which `allowed` is rounding."""

    row: ArtifactRow
    compared_rows: int
    difference: float
    allowed: float


def list_adapters(folder: str | None = None) -> tuple[ArtifactRow, ...]:
    """The artifacts in a folder, by name; None = the folder `adapters` under $TRIMTAB_HOME. Raises ArtifactError
    TT-A022."""
    return tuple(artifact_row(one) for one in stored_artifacts(_place(folder)))


def show_adapter(name: str, folder: str | None = None) -> ArtifactView:
    """One artifact, by the name it has in `folder` or by its own folder. Raises ArtifactError."""
    place = artifact_named(name, _place(folder))
    facts = read_facts(place)
    return ArtifactView(
        row=artifact_row(stored(place)),
        facts=facts,
        trained=trained_tensors_of(place) if facts.adapter else (),
        unmergeable=_unmergeable(facts),
    )


def deletable_adapter(name: str, folder: str | None = None) -> ArtifactRow:
    """What `delete_adapter` would delete. Raises as it does."""
    return artifact_row(deletable(artifact_named(name, _place(folder))))


def delete_adapter(name: str, folder: str | None = None) -> ArtifactRow:
    """Delete an artifact and nothing else, without asking; returns what it was. Raises ArtifactError: none of
    that name, no artifact, a link, or a folder that also holds something else."""
    place = artifact_named(name, _place(folder))
    row = artifact_row(deletable(place))
    delete_artifact(place)
    return row


def merge_adapter(
    name: str, out: str, folder: str | None = None, *, trust_remote_code: bool = False
) -> MadeArtifact:
    """Fold an adapter into its base and write the whole model to `out`, which plain transformers opens too. The
    same rows go through before and after; a difference beyond rounding is refused, and nothing is left of it.

    Raises ModelError TT-T071 for what cannot be merged, BadInput TT-A044 an `out` that is not empty, TT-A050 one
    that is the working folder; ArtifactError TT-A046 nothing to merge, TT-A047 a difference.
    """
    place, target = artifact_named(name, _place(folder)), free_folder(out)
    facts = read_facts(place)
    if not facts.adapter:
        raise ArtifactError("TT-A046", folder=str(place), method=facts.strategy.method)
    refuse_unmergeable(facts.strategy)
    with heavy_imports():
        from trimtab.evaluation.merging import merge_artifact

    with folder_atomically(target) as beside:
        found = merge_artifact(place, beside, trust_remote_code=trust_remote_code)
        if (place / _REPORT).is_file():  # of the training that it comes from
            write_atomically(beside / _REPORT, (place / _REPORT).read_text(encoding="utf-8"))
    return _made(target, found.rows, found.difference, found.allowed)


def import_adapter(
    folder: str,
    base: str,
    out: str,
    *,
    task: Task | None = None,
    labels: tuple[str, ...] = (),
    columns: tuple[str, ...] = ("text",),
    label_column: str = "label",
    max_length: int | None = None,
    precision: Precision | None = None,
) -> MadeArtifact:
    """Make an artifact of a LoRA adapter that plain PEFT has saved, for `base`. What PEFT does not keep is given:
    names of labels (else LABEL_0, LABEL_1, ...), columns, the length at which texts are cut. Held to what PEFT
    computes.

    Raises ArtifactError TT-A020 to TT-A048, UsageError TT-A049, TT-A052 with what does not fit, before the base is
    loaded; BadInput as `merge_adapter`.
    """
    target = free_folder(out)
    with heavy_imports():
        from trimtab import tuning
        from trimtab.evaluation.importing import import_adapter as import_it

    source = tuning.locate_unpacked(base)
    spec = read_spec(source)
    refuse_untrained(spec)
    found = read_peft_lora(Path(folder).expanduser(), spec)
    asked = _fitting_task(found, task or _task_of(found, columns))
    facts = ArtifactFacts(
        adapter=True,
        task=asked,
        labels=_labels(found, labels, asked),
        columns=columns[: _MOST_COLUMNS.get(asked)],
        label_column=label_column if found.outputs else "",
        outputs=found.outputs,
        base=base_of(source, spec.family),
        strategy=_strategy(found, spec, max_length, precision),
        trimtab_version=__version__,
        origin="imported",
    )
    with folder_atomically(target) as beside:
        same = import_it(found, facts, source, spec, beside)
    return _made(target, same.rows, same.difference, same.allowed)


def _place(folder: str | None) -> Path | None:
    return None if folder is None else Path(folder).expanduser()


def free_folder(out: str) -> Path:
    """`out` as an absolute path. Raises BadInput TT-A044, TT-A050, TT-T029 where it cannot be written to without
    harm: the working folder cannot be replaced by another."""
    target = Path(out).expanduser()
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise BadInput("TT-T029", path=out)
    target = target.resolve()
    if target == Path.cwd():
        raise BadInput("TT-A050", folder=str(target))
    if target.is_dir() and any(target.iterdir()):
        raise BadInput("TT-A044", folder=out)
    return target


def _made(folder: Path, rows: int, difference: float, allowed: float) -> MadeArtifact:
    return MadeArtifact(
        row=artifact_row(stored(folder)), compared_rows=rows, difference=difference, allowed=allowed
    )


def artifact_row(one: StoredArtifact) -> ArtifactRow:
    """As lists show it, with what the report beside it says."""
    facts = one.facts
    if facts is None:
        return ArtifactRow(name=one.name, folder=one.folder, size_bytes=one.size_bytes, damage=one.damage)
    report = _Report.beside(Path(one.folder))
    return ArtifactRow(
        name=one.name,
        folder=one.folder,
        size_bytes=one.size_bytes,
        adapter=facts.adapter,
        origin=facts.origin,
        method=facts.strategy.method,
        task=facts.task,
        labels=facts.labels,
        base=facts.base.hub_id or facts.base.name,
        base_weights_sha256=facts.base.weights_sha256,
        metric=report.metric,
        score=report.score,
        split=report.split,
        trained_at=report.trained_at,
    )


@dataclass(frozen=True, slots=True)
class _Report:
    """What a list takes from report.json."""

    metric: str = ""
    score: float | None = None
    split: str = ""
    trained_at: str = ""

    @classmethod
    def beside(cls, folder: Path) -> "_Report":
        """Empty where there is no report, or none that can be read: the artifact is whole without it."""
        try:
            plain: Any = json.loads((folder / _REPORT).read_text(encoding="utf-8"))
            score = plain["scores"]["test"] or plain["scores"]["dev"]
            metric = score["metrics"][0]
            value = float(metric["value"])
            found = cls(str(metric["name"]), value, str(score["split"]), str(plain["created_at"]))
        except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError):
            return cls()
        return found if math.isfinite(value) else cls()


def _unmergeable(facts: ArtifactFacts) -> Message | None:
    try:
        refuse_unmergeable(facts.strategy)
    except ModelError as error:
        return error.message
    return None


def _task_of(found: PeftLora, columns: tuple[str, ...]) -> Task:
    if not found.outputs:
        return "instruct"
    if found.outputs == 1:
        return "regress"
    return "pair" if len(columns) == 2 else "classify"


def _fitting_task(found: PeftLora, task: Task) -> Task:
    """Raises UsageError TT-A052 where the head, or that there is none, is of another task."""
    known = _TASKS_OF_HEADS[min(found.outputs, 2)]
    if task not in known:
        raise UsageError(
            "TT-A052", task=task, folder=str(found.folder), outputs=found.outputs, known=", ".join(known)
        )
    return task


def _labels(found: PeftLora, labels: tuple[str, ...], task: Task) -> tuple[str, ...]:
    if found.outputs <= 1 and not labels and task != "multilabel":
        return ()
    if labels and len(labels) != found.outputs:
        raise UsageError("TT-A049", labels=len(labels), folder=str(found.folder), outputs=found.outputs)
    return labels or tuple(f"LABEL_{number}" for number in range(found.outputs))


def _strategy(found: PeftLora, spec: ModelSpec, max_length: int | None, precision: Precision | None) -> Strategy:
    """As far as it decides what is computed; how it was trained is not known. Raises UsageError TT-P009, TT-P012,
    TT-P019 for a length that the model cannot take, or a format that there is none of."""
    if max_length is not None and max_length < _SHORTEST:
        raise UsageError("TT-P012", asked=max_length, least=_SHORTEST)
    if max_length is not None and spec.longest_text and max_length > spec.longest_text:
        raise UsageError("TT-P009", asked=max_length, model=spec.name, positions=spec.longest_text)
    if precision not in (None, *PRECISIONS):
        raise UsageError("TT-P019", precision=precision, known=", ".join(PRECISIONS))
    stored_in: Precision = next((name for name in PRECISIONS if name == spec.weights_dtype), "fp32")
    return Strategy(
        method="lora",
        parts=(found.part, Head() if found.outputs else LanguageHead()),
        precision=precision or stored_in,
        max_length=max_length or min(spec.longest_text or _LONGEST_IMPORTED, _LONGEST_IMPORTED),
    )
