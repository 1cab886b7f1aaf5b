"""What others have published of serving: requests a second of a model on a card, with date and address.

published.csv holds one figure a row; `rows` 0 = as many requests at once as the server held; `as_of` empty where
the source has no date. NVIDIA's figures are of graphs alone, without tokenising and copies; others are of
servers. The row of the A100 under vLLM is a tenth inexact: "about 75 tokens a second", "6.6 times" with eight at
once. The one of the RTX 4090 wrote 100 tokens a request, as its own two figures say. Few are known: of vLLM on
T4, A10 and L4 with a plain 7B model none was found."""

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import cast

from trimtab.estimation.serving.deployment import Deployment, Workload
from trimtab.estimation.serving.engines import EngineName, StoredAs, engine_named
from trimtab.estimation.serving.pace import pace
from trimtab.hardware import machine_named
from trimtab.models import shape_named
from trimtab.models.spec import ModelSpec

_LIKE_TIMES = 4.0  # a model of a quarter to four times the parameters is alike enough to be judged by another


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedServing:
    """Requests a second on one `device` (a name of the catalogue), and where that is written."""

    device: str
    engine: EngineName
    model: str
    weights: StoredAs
    workload: Workload
    rows: int
    per_second: float
    as_of: str
    version: str
    source: str

    @property
    def spec(self) -> ModelSpec:
        return shape_named(self.model)

    @property
    def predicted_per_second(self) -> float:
        """What the formula alone says of it."""
        deployment = Deployment(
            spec=self.spec,
            machine=machine_named(self.device),
            engine=engine_named(self.engine),
            weights=self.weights,
        )
        found, _ = pace(deployment, self.workload)
        return found.per_second(self.rows or deployment.most_rows(self.workload))

    @property
    def slowdown(self) -> float:
        """Predicted over published: above 1 where the formula promises too much."""
        return self.predicted_per_second / self.per_second


@cache
def published_servings() -> tuple[PublishedServing, ...]:
    """All rows, in the order of the file."""
    text = (resources.files("trimtab.estimation.serving") / "published.csv").read_text(encoding="utf-8")
    return tuple(_served(row) for row in csv.DictReader(text.splitlines()))


def nearest_published(deployment: Deployment, workload: Workload) -> PublishedServing | None:
    """The row of the same card and engine whose model is nearest in size, then whose requests are nearest in
    length; None where none has a model of like size."""
    size, device = deployment.spec.parameters, deployment.machine.name.removeprefix(f"{deployment.machine.count}x")
    alike = [
        row
        for row in published_servings()
        if (row.device, row.engine) == (device, deployment.engine.name)
        and abs(math.log(row.spec.parameters / size)) <= math.log(_LIKE_TIMES)
    ]
    return min(alike, key=lambda row: _distance(row, size, workload), default=None)


def _distance(row: PublishedServing, parameters: int, workload: Workload) -> tuple[float, float]:
    lengths = abs(math.log(row.workload.tokens / workload.tokens))
    return abs(math.log(row.spec.parameters / parameters)), lengths


def _served(row: Mapping[str, str]) -> PublishedServing:
    return PublishedServing(
        device=row["device"],
        engine=cast(EngineName, row["engine"]),
        model=row["model_key"],
        weights=cast(StoredAs, row["weights"]),
        workload=Workload(input_tokens=int(row["input_tokens"]), output_tokens=int(row["output_tokens"])),
        rows=int(row["rows"]),
        per_second=float(row["requests_per_second"]),
        as_of=row["as_of"],
        version=row["version"],
        source=row["source_url"],
    )
