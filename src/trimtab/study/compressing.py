"""The verbs `compress` and `bench`: make a smaller model of an artifact, and time models side by side.

The folder that `compress` leaves is an artifact: it answers to `predict`, `evaluate` and to `compress` again. Its
report.json says what was compared with what.
"""

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from trimtab.artifacts import Change, Compared, artifact_named, read_facts, stored, weight_bytes
from trimtab.compression.wanted import Floor, Wanted, is_published
from trimtab.errors import Message, UsageError
from trimtab.hardware import Machine, calibration_key, this_machine
from trimtab.heavy import heavy_imports
from trimtab.home import write_atomically
from trimtab.study import gather
from trimtab.study.adapters import ArtifactRow, artifact_row, free_folder
from trimtab.study.margins import with_margins
from trimtab.study.report import Comparison
from trimtab.study.request import Planned, Reading

if TYPE_CHECKING:
    from trimtab.artifacts import ArtifactFacts
    from trimtab.data import Corpus
    from trimtab.evaluation.timing import Speed
    from trimtab.training.events import Event

    Happening: TypeAlias = "Event | Message | Planned | Compressed"

_REPORT = "report.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class CompressRequest:
    """What is to be made of the artifact in `folder`, and where it goes. `data` as the artifact was trained on;
    None where the step needs none. `floor` None = the step's own; `force`: keep also what is beyond it."""

    folder: str
    out: str
    wanted: Wanted
    data: str | None = None
    reading: Reading = Reading()
    floor: Floor | None = None
    force: bool = False
    trust_remote_code: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Compressed:
    """A step is done and its artifact stands. `rows`: of the trainings inside it, predicted beside measured."""

    row: ArtifactRow
    change: Change
    command: str
    rows: tuple[Comparison, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Timed:
    """How fast an artifact answers on this machine, and how much its weights take on disk, with those of a
    base."""

    weight_bytes: int
    speed: "Speed"


def bench(
    folders: Sequence[str],
    *,
    length: int = 32,
    batch: int = 32,
    rounds: int = 100,
    trust_remote_code: bool = False,
) -> tuple[Timed, ...]:
    """Time the models of artifacts side by side, on made-up rows of `length` tokens: `rounds` times one row, and
    `batch` rows at a time. Run nothing else beside it.

    Raises UsageError TT-C031 for numbers below 1, TT-C032 for rows longer than a model reads; ArtifactError.
    """
    for option, typed in {"length": length, "batch": batch, "rounds": rounds}.items():
        if typed < 1:
            raise UsageError("TT-C031", option=option, typed=typed)
    places = [artifact_named(folder) for folder in folders]
    with heavy_imports():
        from trimtab.evaluation import open_artifact
        from trimtab.evaluation.timing import time_models

    opened = [open_artifact(place, trust_remote_code=trust_remote_code) for place in places]
    for artifact in opened:
        most = artifact.spec.longest_text
        most = most and most - artifact.facts.strategy.virtual_tokens
        if most and length > most:
            raise UsageError("TT-C032", folder=str(artifact.folder), most=most, length=length)
    speeds = time_models(opened, length=length, batch=batch, rounds=rounds)
    return tuple(
        Timed(weight_bytes=weight_bytes(artifact.folder, artifact.base_folder), speed=speed)
        for artifact, speed in zip(opened, speeds, strict=True)
    )


def compress(request: CompressRequest) -> "Iterator[Happening]":
    """Carry out one step while it is iterated over: what happens first, last the Compressed.

    Raises at once ArtifactError for what is no artifact, BadInput for an `out` that is not empty, DataError,
    UsageError TT-C011 without the data that the step needs; while it runs TrimtabError TT-C012, TT-C013 (exit 1)
    where too much is lost, after which nothing is left of it; OSError.
    """
    place, target = artifact_named(request.folder), free_folder(request.out)
    facts = read_facts(place)
    if request.data is None and request.wanted.needs_data:
        raise UsageError("TT-C011", step=request.wanted.step)
    if request.data is None and request.floor is not None:
        raise UsageError("TT-C046")
    corpus = None if request.data is None else corpus_of(request.data, request.reading, facts)
    return _recorded(replace(request, folder=str(place), out=str(target)), corpus)


def _recorded(request: CompressRequest, corpus: "Corpus | None") -> "Iterator[Happening]":
    from trimtab.study.record import record_variant, variant_of

    for event in carried_out(request, corpus):
        if isinstance(event, Compressed):
            record_variant(variant_of(Path(request.out), (event.change,), this_machine()))
        yield event


def carried_out(request: CompressRequest, corpus: "Corpus | None") -> "Iterator[Happening]":
    """As `compress`, of a request whose folders have been looked at; the store is told of the trainings inside,
    and not of what is made."""
    with heavy_imports():
        from trimtab.compression.carrying import Carried, Order, carry_out
        from trimtab.compression.recipe import PlannedLesson
        from trimtab.compression.steps import recipe_of
        from trimtab.study.record import Lesson, record_lesson
        from trimtab.training import Finished

    order = Order(
        folder=Path(request.folder),
        out=Path(request.out),
        corpus=corpus,
        machine=_machine(request.wanted),
        floor=request.floor,
        force=request.force,
        trust_remote_code=request.trust_remote_code,
    )
    done, planned, lessons = None, None, list[Lesson]()
    for event in carry_out(recipe_of(request.wanted), order):
        if isinstance(event, Carried):
            done = event.change
            _write_report(event.folder, done, request)
        elif isinstance(event, PlannedLesson):
            planned = Planned(plan=event.plan, model=event.model, data=event.data, machine=event.machine)
            yield planned
        else:
            if isinstance(event, Finished) and planned is not None:
                lessons.append(Lesson(planned=planned, run=event.run))
            yield event
    assert done is not None, "a step that ends is done"
    for lesson in lessons:  # what was made stands by now: a store that cannot be written costs a line, no model
        record_lesson(lesson, request.wanted.step)
    yield Compressed(
        row=artifact_row(stored(Path(request.out))),
        change=done,
        command=command_of(request),
        rows=tuple(row for lesson in lessons for row in lesson.comparisons),
    )


def _machine(wanted: Wanted) -> Machine:
    """This one; measured first where something is trained on it."""
    machine = with_margins(this_machine())
    if not wanted.trains or machine.device.kind != "cpu":
        return machine
    from trimtab.training.calibrate import calibrated

    return replace(machine, calibration=calibrated(calibration_key(machine), machine.cores))


def command_of(request: CompressRequest) -> str:
    """The command line that makes the same again."""
    words = ["trimtab", "compress", request.folder, request.wanted.step, *request.wanted.words]
    options = {"--data": request.data, "--out": request.out, "--floor": request.floor}
    words += [word for flag, value in options.items() if value is not None for word in (flag, str(value))]
    words += ["--force"] if request.force else []
    return shlex.join(words + (["--trust-remote-code"] if request.trust_remote_code else []))


def corpus_of(data: str, reading: Reading, facts: "ArtifactFacts") -> "Corpus":
    """Cut as it was cut for the training: another seed would score rows the model has learned from. Raises
    DataError, UsageError."""
    as_trained = replace(
        reading,
        task=facts.task,
        text=reading.text or facts.columns or None,
        label=reading.label or facts.label_column or None,
        seed=facts.split_seed,
        prefixes=facts.prefixes,
    )
    return gather.open_corpus(data, as_trained, facts.labels)


def _write_report(folder: Path, change: Change, request: CompressRequest) -> None:
    """What was compared with what; of a folder that others will see, neither the command nor where it began."""
    from trimtab.study.jsonable import jsonable

    published = is_published(request.wanted)
    report: dict[str, Any] = {
        "command": None if published else command_of(request),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "change": jsonable(change.without_places() if published else change),
        "scores": {"dev": None, "test": None} | {one.split: _score(one) for one in change.compared if one.metric},
    }
    write_atomically(folder / _REPORT, json.dumps(report, ensure_ascii=False, indent=1, allow_nan=False))


def _score(found: Compared) -> dict[str, Any]:
    return {"split": found.split, "n": found.rows, "metrics": [{"name": found.metric, "value": found.after}]}
