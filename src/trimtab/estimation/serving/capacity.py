"""Capacity: what one device answers in a second, how that is known, and how far off it may be.

The best that is known decides: what was measured, else the formula held to a published figure of the same card and
engine, else by this machine's calibration, else the formula. The interval is a factor up and down.

    measured 1.25   as measured steps in estimation.time
    published 1.5   formula over published, of one card on others: within 1.3 (docs/serving_costs.md)
    calibrated 1.6  as probed steps, and as much again for a server around them
    formula 2       a rule: three of three published servers were within 1.3; T4 and CPUs have none
"""

from dataclasses import dataclass, replace
from typing import Literal

from trimtab.errors import Message, message
from trimtab.estimation.serving.deployment import Deployment, Workload
from trimtab.estimation.serving.pace import Pace, pace
from trimtab.estimation.serving.published import PublishedServing, nearest_published
from trimtab.units import Evidence, Figure

Basis = Literal["measured", "published", "calibrated", "formula"]
_FACTORS: dict[Basis, float] = {"measured": 1.25, "published": 1.5, "calibrated": 1.6, "formula": 2.0}
_EVIDENCE: dict[Basis, Evidence] = {
    "measured": Evidence.MEASURED,
    "published": Evidence.FORMULA,
    "calibrated": Evidence.PROBE,
    "formula": Evidence.FORMULA,
}
# What many adapters in one batch leave of the throughput of one: what Trimtab's service is held to with 32; 0.87
# was measured (MiniLM-L6, six methods, two cores, `benchmarks/serving_load.py`).
_MANY_ADAPTERS = 0.8


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What was measured on the device: requests a second, of as many at once as it takes; or seconds of one alone.
    `source` says where it comes from."""

    source: str
    per_second: float | None = None
    one_seconds: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Capacity:
    """One device. `most_rows`: requests at once; `basis`: how its speed is known, `source`: where it comes
    from."""

    deployment: Deployment
    workload: Workload
    pace: Pace
    most_rows: int
    basis: Basis
    source: str
    factor: float

    @property
    def evidence(self) -> Evidence:
        return _EVIDENCE[self.basis]

    def per_second(self, rows: int | None = None) -> Figure:
        """Requests a second with `rows` at once, None = as many as it takes."""
        value = self.pace.per_second(rows or self.most_rows)
        return Figure(value, value / self.factor, value * self.factor, self.evidence)

    def seconds(self, rows: int) -> Figure:
        """A request that shares the device with `rows` - 1 others, the time it waits for a place left out."""
        value = self.pace.seconds(rows)
        return Figure(value, value / self.factor, value * self.factor, self.evidence)


def capacity(deployment: Deployment, workload: Workload, measured: Measured | None = None) -> Capacity | Message:
    """Of one device; a message with the numbers where not even one request fits into its memory."""
    rows = deployment.most_rows(workload)
    if rows < 1:
        need = deployment.fixed_bytes(workload) + deployment.row_bytes(workload)
        return message(
            "TT-P509",
            need=need,
            have=deployment.usable_bytes,
            weights=deployment.weight_bytes,
            stored=deployment.weights,
            row=deployment.row_bytes(workload),
        )
    found, evidence = pace(deployment, workload)
    if deployment.adapters > 1:
        found = found.slowed(1 / _MANY_ADAPTERS)
    known = Capacity(
        deployment=deployment,
        workload=workload,
        pace=found,
        most_rows=rows,
        basis="calibrated" if evidence is Evidence.PROBE else "formula",
        source="",
        factor=0.0,
    )
    return _with_factor(_held_to(known, measured))


def _held_to(known: Capacity, measured: Measured | None) -> Capacity:
    """By what was measured or published, where something was."""
    if measured is not None:
        return replace(
            known,
            pace=known.pace.slowed(_measured_times(known, measured)),
            basis="measured",
            source=measured.source,
        )
    published = nearest_published(known.deployment, known.workload)
    if published is None:
        return known
    source = published_words(published)
    return replace(known, pace=known.pace.slowed(published.slowdown), basis="published", source=source)


def _measured_times(known: Capacity, measured: Measured) -> float:
    if measured.per_second is not None:
        return known.pace.per_second(known.most_rows) / measured.per_second
    assert measured.one_seconds is not None, "one of the two was measured"
    return measured.one_seconds / known.pace.seconds(1)


def _with_factor(known: Capacity) -> Capacity:
    return replace(known, factor=_FACTORS[known.basis])


def published_words(row: PublishedServing) -> str:
    """ "llama-2-7b 256+128, 3.84/s, nm-vllm 0.2.0, 2024-05-08: https://..." """
    dated = f", {row.as_of}" if row.as_of else ""
    lengths = f"{row.workload.input_tokens}+{row.workload.output_tokens}"
    return f"{row.model} {lengths}, {row.per_second:g}/s, {row.version}{dated}: {row.source}"
