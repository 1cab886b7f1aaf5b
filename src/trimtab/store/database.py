"""Store: the database behind studies, runs and the ledger. Several processes may write at once.

SQLite runs in WAL mode with full synchronisation: an entry that `record` returned from survives a kill and a
power cut. Every write is one transaction taken with BEGIN IMMEDIATE, so that a second writer waits instead of
failing half-way. Leaves out: deleting; nothing here forgets.
"""

import json
import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, Engine, event, select
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError
from sqlalchemy.pool import NullPool

from trimtab.errors import TrimtabError, UsageError
from trimtab.home import cache_folder
from trimtab.metrics.score import Metric, Score
from trimtab.store import tables
from trimtab.store.ledger import LedgerEntry, Quantity
from trimtab.store.migrations import MIGRATIONS, applied, migrate
from trimtab.store.records import RunRecord, VariantRecord
from trimtab.store.trials import Trials
from trimtab.units import Evidence

_BUSY_SECONDS = 30.0


class Store:
    """An open store. Connections last one call, so a Store may be kept, forked and shared between threads."""

    def __init__(self, url: str | None = None) -> None:
        """See `trimtab.store.open_store`."""
        if url is None:
            path = cache_folder() / "ledger.db"
            self.place = str(path)
            _make_folder(path)
            url = f"sqlite:///{path}"
        else:
            self.place = _shown(url)
        self._engine = _engine(url)
        with self._writing() as connection:
            found = applied(connection)
            if found > len(MIGRATIONS):
                raise TrimtabError("TT-S003", path=self.place, found=found, known=len(MIGRATIONS))
            migrate(connection, _now())

    def record(self, entry: LedgerEntry) -> LedgerEntry:
        """Keep one entry; returns it as kept, with its id and time."""
        with self._writing() as connection:
            return _insert_entry(connection, entry)

    def record_run(self, record: RunRecord, entries: tuple[LedgerEntry, ...] = ()) -> RunRecord:
        """Keep a run with its plan, scores and ledger entries, all or nothing; returns it with id and
        time."""
        kept = replace(record, id=record.id or uuid.uuid4().hex, created_at=record.created_at or _now())
        with self._writing() as connection:
            _insert_run(connection, kept)
            for entry in entries:
                _insert_entry(connection, replace(entry, run_id=kept.id))
        return kept

    def record_variant(self, record: VariantRecord) -> VariantRecord:
        """Keep a smaller model, in the study of what it was made of; returns it as kept."""
        with self._writing() as connection:
            kept = replace(
                record,
                id=record.id or uuid.uuid4().hex,
                created_at=record.created_at or _now(),
                study_id=record.study_id or _study_of_folder(connection, record.parent),
            )
            values = asdict(kept) | {"steps": json.dumps(kept.steps, ensure_ascii=False)}
            connection.execute(tables.variants.insert().values(values))
        return kept

    def variants(self, *, study_id: str | None = None) -> tuple[VariantRecord, ...]:
        """Smaller models, oldest first, of one study where given."""
        query = select(tables.variants).order_by(tables.variants.c.created_at, tables.variants.c.id)
        if study_id is not None:
            query = query.where(tables.variants.c.study_id == study_id)
        with self._reading() as connection:
            rows = connection.execute(query).mappings()
            return tuple(VariantRecord(**(dict(row) | {"steps": tuple(json.loads(row["steps"]))})) for row in rows)

    def trials(self, bakeoff: str) -> Trials:
        """The trials of a bake-off, seen by a worker of its own."""
        return Trials(bakeoff, uuid.uuid4().hex, self._writing, self._reading, _now)

    def entries(
        self,
        *,
        quantity: Quantity | None = None,
        method: str | None = None,
        device_kind: str | None = None,
        family: str | None = None,
    ) -> tuple[LedgerEntry, ...]:
        """Ledger entries, oldest first, those that agree with every filter given."""
        wanted = {"quantity": quantity, "method": method, "device_kind": device_kind, "family": family}
        query = select(tables.ledger).order_by(tables.ledger.c.created_at, tables.ledger.c.id)
        for name, value in wanted.items():
            if value is not None:
                query = query.where(tables.ledger.c[name] == value)
        with self._reading() as connection:
            return tuple(_entry(row) for row in connection.execute(query).mappings())

    def runs(self, *, model: str | None = None, data: str | None = None) -> tuple[RunRecord, ...]:
        """Runs with their scores, oldest first, of one model or data set where given."""
        joined = tables.runs.join(tables.plans, tables.runs.c.plan_id == tables.plans.c.id).join(
            tables.studies, tables.plans.c.study_id == tables.studies.c.id
        )
        columns = {
            column.name: column for table in (tables.studies, tables.plans, tables.runs) for column in table.c
        }
        names = [field.name for field in fields(RunRecord) if field.name != "scores"]
        query = select(*(columns[name] for name in names)).select_from(joined)
        for column, value in ((tables.studies.c.model, model), (tables.studies.c.data, data)):
            if value is not None:
                query = query.where(column == value)
        with self._reading() as connection:
            rows = connection.execute(query.order_by(tables.runs.c.created_at, tables.runs.c.id)).mappings().all()
            return tuple(RunRecord(**row, scores=_scores(connection, row["id"])) for row in rows)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._errors_told(), self._engine.execution_options(writes=True).begin() as connection:
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._errors_told(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _errors_told(self) -> Iterator[None]:
        """What SQLite raises, as an error a user can act on."""
        try:
            yield
        except OperationalError as error:
            cause = str(error.orig)
            if "locked" in cause or "busy" in cause:
                raise TrimtabError("TT-S002", path=self.place, seconds=_BUSY_SECONDS) from error
            raise TrimtabError("TT-S004", path=self.place, cause=cause) from error
        except DatabaseError as error:
            raise TrimtabError("TT-S001", path=self.place, cause=str(error.orig)) from error


def _shown(url: str) -> str:
    """Without its password. Raises UsageError TT-S005 for what is no URL of a database."""
    try:
        return sqlalchemy.make_url(url).render_as_string(hide_password=True)
    except ArgumentError as error:
        raise UsageError("TT-S005", cause=str(error)) from error


def _engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        try:
            return sqlalchemy.create_engine(url)
        except (ArgumentError, ImportError) as error:  # no such kind, or its driver is not installed
            raise UsageError("TT-S005", cause=str(error)) from error
    engine = sqlalchemy.create_engine(url, poolclass=NullPool, connect_args={"timeout": _BUSY_SECONDS})
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: Any, _record: object) -> None:
    """Python's driver begins transactions by itself, and late; `None` leaves that to `_begin_sqlite`."""
    connection.isolation_level = None
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError as error:  # changing the mode does not wait for other openers by itself
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrimtabError("TT-S004", path=str(path), cause=error.strerror or str(error)) from error


def _insert_entry(connection: Connection, entry: LedgerEntry) -> LedgerEntry:
    kept = replace(entry, id=entry.id or uuid.uuid4().hex, created_at=entry.created_at or _now())
    values = asdict(kept) | {
        "evidence": str(kept.evidence),
        "ratio": kept.ratio,
        "versions": json.dumps(dict(kept.versions), ensure_ascii=False),
    }
    connection.execute(tables.ledger.insert().values(values))
    return kept


def _insert_run(connection: Connection, record: RunRecord) -> None:
    values = asdict(record)
    study = _study(connection, record)
    plan = {name: values[name] for name in ("goal", "method", "strategy", "plan", "created_at")}
    plan |= {"id": uuid.uuid4().hex, "study_id": study}
    connection.execute(tables.plans.insert().values(plan))
    names = ("id", "seed", "seconds", "peak_memory_bytes", "folder", "run", "created_at")
    run = {name: values[name] for name in names} | {"plan_id": plan["id"]}
    connection.execute(tables.runs.insert().values(run))
    for score in record.scores:
        for position, metric in enumerate(score.metrics):
            row = {
                "run_id": record.id,
                "split": score.split,
                "position": position,
                "n": score.n,
                "loss": score.loss,
            }
            row |= {"metric": metric.name, "value": metric.value, "low": metric.low, "high": metric.high}
            connection.execute(tables.scores.insert().values(row))


def _study(connection: Connection, record: RunRecord) -> str:
    """The id of the study this run belongs to, made where it is the first."""
    names = ("model", "model_fingerprint", "data", "data_fingerprint", "machine")
    facts = {name: getattr(record, name) for name in names}
    query = select(tables.studies.c.id).where(*(tables.studies.c[name] == facts[name] for name in names))
    found = connection.execute(query).scalar()
    if found is not None:
        return str(found)
    new = facts | {"id": uuid.uuid4().hex, "created_at": record.created_at}
    connection.execute(tables.studies.insert().values(new))
    return new["id"]


def _study_of_folder(connection: Connection, folder: str) -> str:
    """Of the run or variant that was last written to `folder`; "" where none was."""
    runs, plans, variants = tables.runs, tables.plans, tables.variants
    of_run = (
        select(plans.c.study_id, runs.c.created_at)
        .join(runs, runs.c.plan_id == plans.c.id)
        .where(runs.c.folder == folder)
    )
    of_variant = select(variants.c.study_id, variants.c.created_at).where(variants.c.folder == folder)
    found = connection.execute(of_run.union_all(of_variant)).all()
    return str(max(found, key=lambda row: row.created_at).study_id) if found else ""


def _scores(connection: Connection, run_id: str) -> tuple[Score, ...]:
    """Scores as recorded, without the tables per class, which are in the run's text."""
    query = select(tables.scores).where(tables.scores.c.run_id == run_id)
    rows = connection.execute(query.order_by(tables.scores.c.split, tables.scores.c.position)).mappings().all()
    return tuple(
        _score([row for row in rows if row["split"] == split])
        for split in dict.fromkeys(row["split"] for row in rows)
    )


def _score(rows: list[Any]) -> Score:
    metrics = tuple(
        Metric(name=row["metric"], value=row["value"], low=row["low"], high=row["high"]) for row in rows
    )
    return Score(split=rows[0]["split"], n=rows[0]["n"], loss=rows[0]["loss"], metrics=metrics)


def _entry(row: Mapping[Any, Any]) -> LedgerEntry:
    facts = {field.name: row[field.name] for field in fields(LedgerEntry)}
    versions = tuple(json.loads(row["versions"]).items())
    return LedgerEntry(**(facts | {"evidence": Evidence(row["evidence"]), "versions": versions}))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
