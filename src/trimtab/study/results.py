"""The verbs that look at what is there: check, predict, evaluate, doctor, ledger."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab import data as data_room
from trimtab.data import DataSpec, Split
from trimtab.errors import UsageError
from trimtab.hardware.doctor import Diagnosis, examine
from trimtab.heavy import heavy_imports
from trimtab.metrics import Score
from trimtab.models import TokenizerFile, outline_of
from trimtab.store import LedgerEntry, ScoreboardRow, VariantRecord, open_store, scoreboard
from trimtab.study import gather
from trimtab.study.published import published_entries
from trimtab.study.request import Reading

if TYPE_CHECKING:
    from trimtab.evaluation import ArtifactFacts, Prediction


@dataclass(frozen=True, kw_only=True, slots=True)
class Ledger:
    """Every prediction of this store beside its measurement; and how good predictions were by kind of device,
    source, method and quantity, published runs included. `variants`: smaller models that were made."""

    scoreboard: tuple[ScoreboardRow, ...]
    entries: tuple[LedgerEntry, ...]
    variants: tuple[VariantRecord, ...] = ()


def check(data: str, reading: Reading = Reading(), *, model: str | None = None) -> DataSpec:
    """What a data set is and what is wrong with it; lengths counted by the tokenizer of `model`, else by rule."""
    corpus = gather.open_corpus(data, reading)
    # The spec is asked for too: a word that names no model is a mistake, not a model without a tokenizer.
    tokenizer = TokenizerFile(None) if model is None else outline_of(model).tokenizer
    return gather.describe(corpus, tokenizer)


def predict(
    folder: str,
    *,
    text: tuple[str, ...] = (),
    file: str | None = None,
    passages: bool = False,
    trust_remote_code: bool = False,
) -> "Iterator[Prediction]":
    """Predictions of an artifact, in order, streaming: for each of `text`, or for each row of `file` ("-" = lines
    of standard input). For an artifact of pairs, `text` holds the two texts of one pair, and the next two; a chat
    model answers each text, or the last question of each conversation; of embeddings each text is a query or, with
    `passages`, what queries are to find, behind the prefix for that.
    `trust_remote_code` runs the code of a model that brings its own; without it such an artifact is refused.
    """
    with heavy_imports():
        from trimtab.evaluation import open_artifact

    artifact = open_artifact(Path(folder), trust_remote_code=trust_remote_code)
    if passages:
        if artifact.facts.task != "embed":
            raise UsageError("TT-D147", option="--passages", task=artifact.facts.task)
        artifact = artifact.of_passages()
    asked = artifact.objective.asked(text, file, artifact.facts.columns)
    if file == "-":  # whoever types or pipes lines waits for each answer
        yield from artifact.predict(asked, ahead=1)
    else:
        yield from artifact.predict(asked)


def evaluate(folder: str, data: str, reading: Reading = Reading(), *, trust_remote_code: bool = False) -> Score:
    """Score an artifact: on all rows of a file, or on the test split (else dev) of a folder or of "demo".

    Columns and labels are those it was trained with unless `reading` names columns. `trust_remote_code` as in
    `predict`. Raises ArtifactError, DataError.
    """
    with heavy_imports():
        from trimtab.evaluation import open_artifact

    artifact = open_artifact(Path(folder), trust_remote_code=trust_remote_code)
    return artifact.score(_rows_to_score(data, artifact.facts, reading))


def doctor() -> Diagnosis:
    """This machine, what it can do, what is missing."""
    return examine()


def ledger() -> Ledger:
    """All entries of the store, and the scoreboard over them and over the runs that others have published."""
    store = open_store()
    entries = store.entries()
    return Ledger(
        scoreboard=scoreboard((*entries, *published_entries())), entries=entries, variants=store.variants()
    )


def _rows_to_score(data: str, facts: "ArtifactFacts", reading: Reading) -> Split:
    columns = reading.text or facts.columns
    label = reading.label or facts.label_column
    if data != "demo":
        is_folder = Path(data).expanduser().is_dir()
        open_rows = data_room.open_held_out if is_folder else data_room.open_labelled
        found = open_rows(
            data,
            task=facts.task,
            columns=columns,
            label_column=label,
            labels=facts.labels,
            prefixes=facts.prefixes,
        )
        if found is not None:
            return found
    # Cut as it was cut for the training: another seed would score rows the model has learned from.
    as_trained = replace(
        reading,
        task=facts.task,
        text=columns,
        label=label or None,
        seed=facts.split_seed,
        prefixes=facts.prefixes,
    )
    corpus = gather.open_corpus(data, as_trained, facts.labels)
    return corpus.test or corpus.dev
