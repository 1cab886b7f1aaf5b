"""What the store has kept of trainings that were finished. Nothing here imports torch."""

from trimtab.store import RunRecord, open_store


def runs() -> tuple[RunRecord, ...]:
    """All of them with their scores, the oldest first. Raises TrimtabError TT-S…."""
    return open_store().runs()
