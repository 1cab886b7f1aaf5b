"""RowSwitch: how one pass of a model is told which adapter each row of its batch has."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

BASE = ""
"""In place of an adapter's name: none, the base as it is."""


class RowSwitch(Protocol):
    """Adapters by name on the modules of one model."""

    def use(self, rows: Sequence[str]) -> AbstractContextManager[None]:
        """Within, row i of whatever goes through the model is computed with the adapter `rows[i]`; rows are in any
        order. Asked with the same rows again it costs nothing."""
        ...
