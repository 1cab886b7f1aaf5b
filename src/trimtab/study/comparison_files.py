"""The files of a bake-off: comparison.html, .json, .csv, and its charts as SVG files of their own.

    OUT/comparison.html  .json  .csv   charts/frontier-memory.svg …   (.png beside, where a converter is installed)

Leaves out what they say (comparison_page.py, comparison_facts.py).
"""

import csv
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trimtab.home import write_atomically
from trimtab.planning.halving import RUNGS
from trimtab.study import comparison_facts as facts
from trimtab.study.bakeoff import Bakeoff, Measure, Standing
from trimtab.study.chart_png import write_png
from trimtab.study.comparison_page import comparison_html
from trimtab.study.frontier_chart import frontier_drawing, predicted_drawing
from trimtab.study.jsonable import jsonable
from trimtab.study.page_parts import Words, chart_style
from trimtab.study.panels import curve_drawings, rate_drawings
from trimtab.study.plane import sheet

FORMAT = 1
PAGE, CHARTS = "comparison.html", "charts"
_COSTS: tuple[facts.Cost, ...] = ("memory", "seconds")
_COLUMNS = 4  # small drawings beside each other in a file
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # what a spreadsheet would compute

Cell = str | int | float | bool | None


def write_comparison(bakeoff: Bakeoff, out: Path, language: str = "en") -> Path:
    """Write everything into the folder `out`, each file whole or not at all; the page last, so that where it lies
    the rest lies too. Gives the page's path. Raises OSError."""
    import json

    told = json.dumps(comparison_json(bakeoff, language), ensure_ascii=False, indent=2, allow_nan=False)
    write_atomically(out / "comparison.json", told + "\n")
    write_atomically(out / "comparison.csv", comparison_csv(bakeoff, language))
    for name, svg in chart_svgs(bakeoff, language):
        write_atomically(out / CHARTS / f"{name}.svg", svg)
        write_png(out / CHARTS / f"{name}.svg")
    write_atomically(out / PAGE, comparison_html(bakeoff, language))
    return out / PAGE


def comparison_json(bakeoff: Bakeoff, language: str = "en") -> dict[str, Any]:
    """The content of comparison.json: every field of `Bakeoff` under its own name, and what follows from
    them. Names carry units; every number is finite or null."""
    knee = bakeoff.knee()
    return {
        "format": FORMAT,
        **jsonable(bakeoff, language),
        "rungs": list(RUNGS),
        "chosen": bakeoff.chosen.entrant.name,
        "knee": None if knee is None else knee.entrant.name,
        "frontier": [one.entrant.name for one in bakeoff.frontier()],
        "better_baseline": jsonable(facts.better_baseline(bakeoff), language),
        "seconds_by_rung": facts.seconds_by_rung(bakeoff),
        "errors": {
            "memory_share": _finite(facts.middle_error(map(facts.memory_beside, bakeoff.measured))),
            "seconds_share": _finite(facts.middle_error(map(facts.seconds_beside, bakeoff.measured))),
            "trial_seconds_share": _finite(facts.trial_error(bakeoff)),
        },
    }


def comparison_csv(bakeoff: Bakeoff, language: str = "en") -> str:
    """A row a strategy, the chosen one first; units are in the columns' names, what is not known is empty. A text
    that a spreadsheet would compute has an apostrophe before it; numbers stay numbers."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(_CSV_COLUMNS)
    for standing in bakeoff.standings:
        writer.writerow([guarded(make(bakeoff, standing, language)) for make in _CSV_COLUMNS.values()])
    return file.getvalue()


def chart_svgs(bakeoff: Bakeoff, language: str = "en") -> tuple[tuple[str, str], ...]:
    """(name, content) of each chart as a file that needs nothing else, light or dark as its reader is."""
    words, style = Words(language), chart_style()
    drawings = [(f"frontier-{cost}", frontier_drawing(bakeoff, cost, words)) for cost in _COSTS]
    drawings += [(f"predicted-{cost}", predicted_drawing(bakeoff, cost, words)) for cost in _COSTS]
    for name, code, made in (
        ("learning-curves", "TT-B103", curve_drawings(bakeoff, words)),
        ("learning-rates", "TT-B104", rate_drawings(bakeoff, words)),
    ):
        if made:
            drawings.append((name, sheet(words.say(code), made, _COLUMNS)))
    return tuple((name, drawing.stand_alone(style)) for name, drawing in drawings)


def guarded(cell: Cell) -> str:
    """As a spreadsheet reads it without computing anything."""
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        return f"{cell:.6g}"
    if isinstance(cell, int):
        return str(cell)
    return f"'{cell}" if cell.lstrip(" ").startswith(_FORMULA) else cell


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


Column = Callable[[Bakeoff, Standing, str], Cell]


def _trial(name: str) -> Column:
    return lambda _, one, __: None if one.best is None else getattr(one.best.trial, name)


def _result(name: str) -> Column:
    return lambda _, one, __: None if one.best is None else getattr(one.best, name)


def _compared(name: str) -> Column:
    return lambda _, one, __: None if one.compared is None else getattr(one.compared, name)


def _measure(split: str, name: str) -> Column:
    def find(bakeoff: Bakeoff, one: Standing, language: str) -> Cell:
        measure: Measure | None = None if one.best is None else getattr(one.best, split)
        return None if measure is None else getattr(measure, name)

    return find


def _predicted(cost: facts.Cost) -> Column:
    """Of the training that was measured; of one that was not, what it would have taken."""

    def find(bakeoff: Bakeoff, one: Standing, language: str) -> Cell:
        beside = facts.cost_beside(one, cost)
        if beside is not None:
            return beside.predicted.value
        estimate = one.estimate
        return (estimate.memory.peak_bytes if cost == "memory" else estimate.time.total_seconds).value

    return find


_CSV_COLUMNS: dict[str, Column] = {
    "strategy": lambda _, one, __: one.entrant.name,
    "model": lambda _, one, __: one.entrant.model,
    "method": lambda _, one, __: one.entrant.method,
    "status": lambda _, one, __: one.status,
    "on_frontier": lambda bakeoff, one, __: any(one is other for other in bakeoff.frontier()),
    "knee": lambda bakeoff, one, __: one is bakeoff.knee(),
    "metric": lambda bakeoff, _, __: bakeoff.metric,
    "dev": _measure("dev", "value"),
    "dev_low": _measure("dev", "low"),
    "dev_high": _measure("dev", "high"),
    "dev_rows": _measure("dev", "rows"),
    "test": _measure("test", "value"),
    "test_low": _measure("test", "low"),
    "test_high": _measure("test", "high"),
    "test_rows": _measure("test", "rows"),
    "against_chosen": lambda bakeoff, one, _: facts.difference(bakeoff, one),
    "against_chosen_low": _compared("low"),
    "against_chosen_high": _compared("high"),
    "peak_memory_bytes": _result("peak_memory_bytes"),
    "predicted_memory_bytes": _predicted("memory"),
    "train_seconds": _result("train_seconds"),
    "predicted_train_seconds": _predicted("seconds"),
    "samples_per_second": _result("samples_per_second"),
    "money": lambda bakeoff, one, _: None if (money := bakeoff.money(one)) is None else money.amount,
    "currency": lambda bakeoff, one, _: None if (money := bakeoff.money(one)) is None else money.currency,
    "text_seconds": _compared("text_seconds"),
    "texts_per_second": _compared("texts_per_second"),
    "kept_bytes": lambda _, one, __: one.artifact_bytes or None,
    "trainable_parameters": lambda _, one, __: one.estimate.trainable_parameters,
    "total_parameters": lambda _, one, __: one.estimate.total_parameters,
    "switchable": lambda _, one, __: one.switchable,
    "mergeable": lambda _, one, __: one.mergeable,
    "rung": lambda _, one, __: None if one.best is None else RUNGS[one.best.trial.rung],
    "learning_rate": _trial("learning_rate"),
    "rows": _trial("rows"),
    "epochs": _trial("epochs"),
    "seed": _trial("seed"),
    "seeds": lambda _, one, __: len(facts.seeds_of(one)),
    "trials": lambda _, one, __: len(one.trials) + len(one.again),
    "folder": _result("folder"),
    "command": _result("command"),
    "reason": lambda _, one, language: one.reason.text(language),
}
