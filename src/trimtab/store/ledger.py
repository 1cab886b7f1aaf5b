"""The ledger's rows and the scoreboard over them: how far predictions were from what was measured.

Pure values and arithmetic. Leaves out: where the rows are kept (database.py).
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from trimtab.hardware.machine import Margin
from trimtab.units import Evidence

Quantity = Literal["memory", "time"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerEntry:
    """One prediction beside its measurement: peak memory in bytes, or total time in seconds, of one run.

    `predicted` lies in [low, high]; all four figures are positive and finite. `strategy` is the strategy as a
    JSON text. `id` and `created_at` (UTC, ISO 8601) are given by the store where empty; `run_id` names the
    run in the store, `source` a publication where the measurement is not ours.
    """

    quantity: Quantity
    method: str
    strategy: str
    model: str
    family: str
    device: str
    device_kind: str
    precision: str
    batch: int
    micro_batch: int
    max_length: int
    trainable_parameters: int
    total_parameters: int
    predicted: float
    low: float
    high: float
    evidence: Evidence
    measured: float
    versions: tuple[tuple[str, str], ...] = ()
    run_id: str = ""
    source: str = ""
    id: str = ""
    created_at: str = ""

    def __post_init__(self) -> None:
        figures = (self.predicted, self.low, self.high, self.measured)
        assert all(math.isfinite(figure) for figure in figures), figures
        assert self.low <= self.predicted <= self.high and self.predicted > 0 and self.measured > 0, figures

    @property
    def ratio(self) -> float:
        """Measured over predicted: 1.1 = it took a tenth more than predicted. Margins are quantiles of
        this."""
        return self.measured / self.predicted

    @property
    def error_share(self) -> float:
        """Prediction against measurement: -0.1 = predicted a tenth too little."""
        return self.predicted / self.measured - 1

    @property
    def inside(self) -> bool:
        """The measurement lies in the predicted interval."""
        return self.low <= self.measured <= self.high


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreboardRow:
    """Errors of `n` predictions of one quantity, for one kind of device, one source and one method. Shares of one.

    `source`: who measured; empty = the runs of this store.

    Errors are |predicted / measured - 1|. `under_share`: predicted less than was measured (the dangerous
    side).
    """

    device_kind: str
    source: str
    method: str
    quantity: Quantity
    n: int
    median_error: float
    p90_error: float
    under_share: float
    inside_share: float


_COVERAGE = 0.95
_LEAST_RUNS = 19  # of fewer, the largest says nothing about one in twenty


def margin(entries: Iterable[LedgerEntry]) -> Margin | None:
    """The conformal margin of predictions of one quantity: the k-th smallest and k-th largest ratio of measured
    to predicted, k = ceil(0.95 (n + 1)), so that the next run of the same kind stays within each with
    probability 0.95 (Vovk et al. 2005), as far as runs are alike: all methods of a kind of device are taken
    together, with what was predicted in their time. None where there are fewer than 19."""
    ratios = sorted(entry.ratio for entry in entries)
    runs = len(ratios)
    if runs < _LEAST_RUNS:
        return None
    place = min(runs, math.ceil(_COVERAGE * (runs + 1)))
    return Margin(low=ratios[runs - place], high=ratios[place - 1], runs=runs)


def scoreboard(entries: Iterable[LedgerEntry]) -> tuple[ScoreboardRow, ...]:
    """One row a kind of device, source, method and quantity, in that order; the store's own runs first."""
    groups: dict[tuple[str, str, str, Quantity], list[LedgerEntry]] = defaultdict(list)
    for entry in entries:
        groups[entry.device_kind, entry.source, entry.method, entry.quantity].append(entry)
    return tuple(_row(*key, group) for key, group in sorted(groups.items()))


def _row(
    device_kind: str, source: str, method: str, quantity: Quantity, entries: list[LedgerEntry]
) -> ScoreboardRow:
    errors = sorted(abs(entry.error_share) for entry in entries)
    n = len(errors)
    return ScoreboardRow(
        device_kind=device_kind,
        source=source,
        method=method,
        quantity=quantity,
        n=n,
        median_error=statistics.median(errors),
        p90_error=errors[math.ceil(0.9 * n) - 1],  # nearest rank: a value that really occurred
        under_share=sum(entry.predicted < entry.measured for entry in entries) / n,
        inside_share=sum(entry.inside for entry in entries) / n,
    )
