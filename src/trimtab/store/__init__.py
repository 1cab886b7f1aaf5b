"""store: what outlives a process. Studies, plans, runs and scores, smaller models made of
them, and the ledger of predictions beside measurements.

SQLite at $TRIMTAB_HOME/ledger.db; any SQLAlchemy URL may stand in its place. Leaves out: the files of a run,
which lie in its own folder. Imported by `trimtab.study` alone.
"""

from typing import TYPE_CHECKING

from trimtab.store.ledger import LedgerEntry, ScoreboardRow, margin, scoreboard
from trimtab.store.records import RunRecord, TrialRecord, VariantRecord

if TYPE_CHECKING:
    from trimtab.store.database import Store
    from trimtab.store.trials import Trials

__all__ = [
    "LedgerEntry",
    "RunRecord",
    "ScoreboardRow",
    "TrialRecord",
    "Trials",
    "VariantRecord",
    "margin",
    "open_store",
    "scoreboard",
]


def open_store(url: str | None = None) -> "Store":
    """Open the store at a SQLAlchemy URL, None = SQLite at $TRIMTAB_HOME/ledger.db; made and migrated where
    needed.

    Raises UsageError TT-S005 (no such database), TrimtabError TT-S001 (damaged), TT-S002 (locked), TT-S003 (newer
    format), TT-S004 (not writable).
    """
    from trimtab.store.database import Store  # SQLAlchemy takes a quarter of a second to import

    return Store(url)
