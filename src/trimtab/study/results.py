"""The verbs that look at what is there: check, predict, evaluate, doctor, ledger."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trimtab import data as data_room
from trimtab.data import DataSpec, Example
from trimtab.errors import ArtifactError
from trimtab.hardware.doctor import Diagnosis, examine
from trimtab.metrics import Score
from trimtab.metrics.scoring import score
from trimtab.store import LedgerEntry, ScoreboardRow, open_store, scoreboard
from trimtab.study import gather
from trimtab.study.request import Reading

if TYPE_CHECKING:
    from trimtab.evaluation import Artifact, Prediction


@dataclass(frozen=True, kw_only=True, slots=True)
class Ledger:
    """Every prediction beside its measurement, and how good they were by kind of device, method and quantity."""

    scoreboard: tuple[ScoreboardRow, ...]
    entries: tuple[LedgerEntry, ...]


def check(data: str, reading: Reading = Reading()) -> DataSpec:
    """What a data set is and what is wrong with it; lengths by rule, since no model is named."""
    return gather.describe(gather.open_corpus(data, reading), None)


def predict(folder: str, *, text: tuple[str, ...] = (), file: str | None = None) -> "Iterator[Prediction]":
    """Predictions of an artifact, in order, streaming: for each of `text`, or for each row of `file` ("-" = lines
    of standard input). For an artifact of pairs, `text` holds the two texts of one pair, and the next two."""
    from trimtab.evaluation import open_artifact

    artifact = open_artifact(Path(folder))
    columns = artifact.facts.columns
    inputs: Iterable[tuple[str, ...]]
    if file is None:
        inputs = _grouped(text, columns)
    else:
        inputs = data_room.read_texts(file, columns)
    yield from artifact.predict(inputs)


def evaluate(folder: str, data: str, reading: Reading = Reading()) -> Score:
    """Score an artifact on a data set: on its test split where it has one, else on all its rows.

    Raises ArtifactError TT-A009 for labels the artifact does not know.
    """
    from trimtab.evaluation import open_artifact

    artifact = open_artifact(Path(folder))
    facts = artifact.facts
    reading = replace(reading, task=reading.task or facts.task)
    rows = data_room.read_labelled(
        data, text=reading.text or facts.columns, label=reading.label, task=facts.task
    )
    return _score(artifact, rows.examples, rows.labels, rows.name)


def doctor() -> Diagnosis:
    """This machine, what it can do, what is missing."""
    return examine()


def ledger() -> Ledger:
    """All entries of the store and the scoreboard over them."""
    entries = open_store().entries()
    return Ledger(scoreboard=scoreboard(entries), entries=entries)


def _grouped(text: tuple[str, ...], columns: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if len(text) % len(columns):
        raise ArtifactError("TT-A008", wanted=len(columns), given=len(text), columns=", ".join(columns))
    for start in range(0, len(text), len(columns)):
        yield text[start : start + len(columns)]


def _score(
    artifact: "Artifact", examples: Iterable[Example], labels: tuple[str, ...], name: str
) -> Score:
    from trimtab.evaluation import losses, predictions

    facts = artifact.facts
    unknown = [label for label in labels if label not in facts.labels]
    if unknown:
        known = ", ".join(facts.labels)
        raise ArtifactError("TT-A009", labels=", ".join(unknown[:10]), known=known)
    encoded = artifact.encode(examples)
    index = np.array([facts.labels.index(label) for label in labels], dtype=np.int64)
    targets = index[encoded.labels] if labels else encoded.labels
    outputs = artifact.logits(encoded)
    return score(
        facts.task,
        split=name,
        predictions=predictions(outputs, facts.task),
        targets=targets,
        labels=facts.labels,
        loss=float(losses(outputs, targets, facts.task).mean()),
    )
