"""Trials: who works on which trial of a bake-off, and what came of those that are over.

Several processes may share a bake-off: a trial belongs to whoever claimed it first. A claim that nobody has
renewed for a while was a killed process's, and may be taken over. Leaves out which trials there are
(planning.halving).
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields

from sqlalchemy import ColumnElement, Connection, Update, select
from sqlalchemy.exc import IntegrityError

from trimtab.store.records import TrialRecord
from trimtab.store.tables import trials as table

LEASE_SECONDS = 60.0
Opening = Callable[[], AbstractContextManager[Connection]]


@dataclass(frozen=True, slots=True)
class Trials:
    """Those of one bake-off, as `worker` sees them. Raises TrimtabError TT-S… like the store."""

    bakeoff: str
    worker: str
    writing: Opening
    reading: Opening
    now: Callable[[], str]
    clock: Callable[[], float] = time.time

    def __iter__(self) -> Iterator[TrialRecord]:
        """All that are claimed or over, the oldest first."""
        query = select(table).where(table.c.bakeoff == self.bakeoff).order_by(table.c.created_at, table.c.trial)
        names = [field.name for field in fields(TrialRecord)]
        with self.reading() as connection:
            rows = connection.execute(query).mappings().all()
        yield from (TrialRecord(**{name: row[name] for name in names}) for row in rows)

    def claim(self, trial: str) -> bool:
        """Whether `trial` is now this worker's: nobody had it, or who had it is gone."""
        with self.writing() as connection:
            try:
                with connection.begin_nested():
                    connection.execute(table.insert().values(self._row(trial)))
                return True
            except IntegrityError:
                return self._take_over(connection, trial)

    def renew(self, trial: str) -> None:
        """Still at it."""
        with self.writing() as connection:
            connection.execute(self._mine(trial).values(renewed_at=self.clock()))

    def release(self, trial: str) -> None:
        """Let others have it: it was not finished."""
        with self.writing() as connection:
            mine = (table.c.worker == self.worker) & (table.c.outcome == "")
            connection.execute(table.delete().where(*self._key(trial), mine))

    def finish(self, trial: str, outcome: str) -> bool:
        """Keep what came of it, a JSON text; False where another worker has taken it over meanwhile."""
        with self.writing() as connection:
            return connection.execute(self._mine(trial).values(outcome=outcome)).rowcount == 1

    def _take_over(self, connection: Connection, trial: str) -> bool:
        gone = (table.c.outcome == "") & (table.c.renewed_at < self.clock() - LEASE_SECONDS)
        taken = table.update().where(*self._key(trial), gone)
        return connection.execute(taken.values(worker=self.worker, renewed_at=self.clock())).rowcount == 1

    def _mine(self, trial: str) -> Update:
        return table.update().where(*self._key(trial), table.c.worker == self.worker, table.c.outcome == "")

    def _key(self, trial: str) -> tuple[ColumnElement[bool], ...]:
        return (table.c.bakeoff == self.bakeoff, table.c.trial == trial)

    def _row(self, trial: str) -> dict[str, object]:
        record = {"bakeoff": self.bakeoff, "trial": trial, "worker": self.worker, "outcome": ""}
        return record | {"renewed_at": self.clock(), "created_at": self.now()}
