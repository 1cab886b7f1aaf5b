"""The frontier drawn: a score against a cost, what was measured beside what had been predicted.

Filled: measured, with the interval of the score; hollow: where the cost had been predicted. The step line joins
those that none beats in this plane. Leaves out the choice of labels' places (labels.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from trimtab.study.bakeoff import Bakeoff, Baseline, Measure, Standing
from trimtab.study.comparison_facts import (
    Cost,
    baseline_word,
    cost_beside,
    score_words,
    stands_in_plane,
)
from trimtab.study.html import Html, element
from trimtab.study.labels import Box, Label, place, text_width
from trimtab.study.page_parts import Words, metric_words
from trimtab.study.plane import Axis, Drawing, Plane, dot, line, path, words
from trimtab.units import GIB, MIB, format_bytes, format_seconds

WIDTH, HEIGHT = 440, 330
LONGEST_NAME = 22  # letters of a label
_NEAR = 0.6  # of the points' own range: so far below or above them a baseline is still drawn
_MARGINS = (46, 12, 30, 62)
_AXIS_WORDS: dict[Cost, str] = {"memory": "TT-B130", "seconds": "TT-B131"}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Point:
    standing: Standing
    measure: Measure
    cost: float
    predicted: float
    on_frontier: bool


def frontier_drawing(bakeoff: Bakeoff, cost: Cost, told: Words) -> Drawing:
    """The metric on dev, by which was chosen, against `cost`."""
    points, (unit, unit_word) = _points(bakeoff, cost), axis_unit(bakeoff, cost)
    lower = any(point.measure.lower_is_better for point in points)
    inside, outside = _baselines(bakeoff, points)
    edges = [edge for point in points for edge in (point.measure.low, point.measure.high)]
    y_axis = Axis.of_scores([*edges, *(one.value for _, one in inside)], lower_is_better=lower)
    x_axis = Axis.of_sizes([value / unit for point in points for value in (point.cost, point.predicted)])
    plane = Plane(width=WIDTH, height=HEIGHT, x_axis=x_axis, y_axis=y_axis, margins=_MARGINS)
    metric = told.say("TT-B132", metric=metric_words(bakeoff.metric), split="dev")
    axis = told.say(_AXIS_WORDS[cost], unit=unit_word)
    drawn = [
        *plane.y_grid(),
        *plane.x_ticks(),
        words(0, 12, metric, "axis"),
        words(plane.right, plane.bottom + 32, axis, "axis end"),
        *_baseline_shapes(plane, inside, outside, told),
        *_frontier_line(plane, points, unit),
        *(shape for point in points for shape in _shapes(plane, point, unit)),
        *(shape for point in points for shape in _markers(plane, bakeoff, point, unit, told)),
        *(shape for label in _labels(plane, bakeoff, points, unit, told) for shape in _label(label)),
        *_legend(told),
    ]
    title = told.say("TT-B133", metric=metric_words(bakeoff.metric), cost=axis)
    return Drawing(title=title, width=WIDTH, height=HEIGHT, shapes=tuple(drawn))


def short_name(name: str, longest: int = LONGEST_NAME) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def _points(bakeoff: Bakeoff, cost: Cost) -> list[_Point]:
    """The chosen one first, as their labels shall."""
    front, found = {id(one) for one in stands_in_plane(bakeoff, cost)}, []
    for standing in bakeoff.measured:
        beside, best = cost_beside(standing, cost), standing.best
        if beside is not None and best is not None and best.dev is not None:
            found.append(
                _Point(
                    standing=standing,
                    measure=best.dev,
                    cost=beside.measured,
                    predicted=beside.predicted.value,
                    on_frontier=id(standing) in front,
                )
            )
    return sorted(found, key=lambda point: not point.on_frontier and point.standing is not bakeoff.chosen)


def axis_unit(bakeoff: Bakeoff, cost: Cost) -> tuple[float, str]:
    """The unit in which the largest figure is easily read, and its name."""
    besides = [cost_beside(one, cost) for one in bakeoff.measured]
    most = max((one.measured for one in besides if one is not None), default=1.0)
    if cost == "memory":
        return (float(GIB), "GiB") if most >= GIB else (float(MIB), "MiB")
    return (1.0, "s") if most < 180 else (60.0, "min") if most < 10_800 else (3600.0, "h")


def _baselines(
    bakeoff: Bakeoff, points: Sequence[_Point]
) -> tuple[list[tuple[Baseline, Measure]], list[tuple[Baseline, Measure]]]:
    """Those near enough to the points to be drawn, and those that would flatten everything else."""
    known = [(one, one.dev) for one in bakeoff.baselines if one.dev is not None]
    low = min((point.measure.low for point in points), default=0.0)
    high = max((point.measure.high for point in points), default=1.0)
    room = _NEAR * (high - low)
    inside = [pair for pair in known if low - room <= pair[1].value <= high + room]
    return inside, [pair for pair in known if pair not in inside]


def _baseline_shapes(
    plane: Plane,
    inside: Sequence[tuple[Baseline, Measure]],
    outside: Sequence[tuple[Baseline, Measure]],
    told: Words,
) -> list[Html]:
    shapes = []
    for one, measure in inside:
        y = plane.y(measure.value)
        shapes.append(line((plane.left, y), (plane.right, y), "base"))
        shapes.append(words(plane.left + 4, y - 4, _baseline_text(one, measure, told), "based"))
    for at, (one, measure) in enumerate(outside):
        text = told.say("TT-B134", name=_baseline_text(one, measure, told))
        shapes.append(words(plane.left + 4, plane.bottom - 5 - 14 * at, text, "based"))
    return shapes


def _baseline_text(one: Baseline, measure: Measure, told: Words) -> str:
    name = baseline_word(one.name)
    word = short_name(name) if isinstance(name, str) else told.tell(name)
    return f"{word} {score_words(measure.value)}"


def _frontier_line(plane: Plane, points: Sequence[_Point], unit: float) -> list[Html]:
    """Along what can be had: to the right at the same score, then up to the next point."""
    corners = _corners(plane, points, unit)
    return [path(corners, "step")] if corners else []


def _corners(plane: Plane, points: Sequence[_Point], unit: float) -> list[tuple[float, float]]:
    front = sorted((point for point in points if point.on_frontier), key=lambda point: point.cost)
    if len(front) < 2:
        return []
    corners: list[tuple[float, float]] = []
    for point in front:
        x, y = plane.x(point.cost / unit), plane.y(point.measure.value)
        if corners:
            corners.append((x, corners[-1][1]))
        corners.append((x, y))
    return [*corners, (plane.right, corners[-1][1])]


def _steps(plane: Plane, points: Sequence[_Point], unit: float) -> list[Box]:
    """Each stretch of the frontier's line, as a label sees it."""
    corners = _corners(plane, points, unit)
    return [
        Box(min(x1, x2) - 1, min(y1, y2) - 1, max(x1, x2) + 1, max(y1, y2) + 1)
        for (x1, y1), (x2, y2) in pairwise(corners)
    ]


def _shapes(plane: Plane, point: _Point, unit: float) -> list[Html]:
    """The interval of the score, and the way from the predicted cost to the measured one."""
    x, y = plane.x(point.cost / unit), plane.y(point.measure.value)
    ghost = plane.x(point.predicted / unit)
    low, high = plane.y(point.measure.low), plane.y(point.measure.high)
    return [
        line((x, low), (x, high), "interval"),
        line((x - 3, low), (x + 3, low), "interval"),
        line((x - 3, high), (x + 3, high), "interval"),
        line((ghost, y), (x, y), "link"),
        dot(ghost, y, 4, "ghost"),
    ]


def _markers(plane: Plane, bakeoff: Bakeoff, point: _Point, unit: float, told: Words) -> list[Html]:
    x, y = plane.x(point.cost / unit), plane.y(point.measure.value)
    style = "front" if point.on_frontier else "behind"
    said = _said(point, unit, told)
    ring = [dot(x, y, 9, "ring")] if point.standing is bakeoff.chosen else []
    if point.standing is bakeoff.knee():
        corners = f"{x:.1f},{y - 7:.1f} {x + 7:.1f},{y:.1f} {x:.1f},{y + 7:.1f} {x - 7:.1f},{y:.1f}"
        return [*ring, element("polygon", element("title", said), points=corners, class_=style)]
    return [*ring, dot(x, y, 5, style, said)]


def _said(point: _Point, unit: float, told: Words) -> str:
    printed = format_bytes if unit >= MIB else format_seconds
    return told.say(
        "TT-B135",
        name=point.standing.entrant.name,
        value=score_words(point.measure.value),
        low=score_words(point.measure.low),
        high=score_words(point.measure.high),
        measured=printed(point.cost),
        predicted=printed(point.predicted),
    )


def _labels(
    plane: Plane, bakeoff: Bakeoff, points: Sequence[_Point], unit: float, told: Words
) -> tuple[Label, ...]:
    wanted = [
        (_label_text(bakeoff, point.standing, told), (plane.x(point.cost / unit), plane.y(point.measure.value)))
        for point in points
    ]
    field = Box(plane.left + 2, plane.top - 8, plane.right + 8, plane.bottom - 2)
    lines = [_interval_box(plane, point, unit) for point in points] + _steps(plane, points, unit)
    return place(wanted, field, lines=lines, dots=[_ghost_box(plane, point, unit) for point in points])


def _label_text(bakeoff: Bakeoff, standing: Standing, told: Words) -> str:
    marks = [
        told.say(code)
        for code, one in (("TT-B110", bakeoff.chosen), ("TT-B136", bakeoff.knee()))
        if one is standing
    ]
    return " · ".join([short_name(standing.entrant.name), *marks])


def _interval_box(plane: Plane, point: _Point, unit: float) -> Box:
    x, low, high = plane.x(point.cost / unit), plane.y(point.measure.low), plane.y(point.measure.high)
    return Box(x - 2, min(low, high), x + 2, max(low, high))


def _ghost_box(plane: Plane, point: _Point, unit: float) -> Box:
    x, y = plane.x(point.predicted / unit), plane.y(point.measure.value)
    return Box(x - 5, y - 5, x + 5, y + 5)


def _label(label: Label) -> list[Html]:
    """The text, in the middle of the room it was given, and a line to its point where that is far."""
    box, (x, y) = label.box, label.point
    near = (min(max(x, box.left), box.right), min(max(y, box.top), box.bottom))
    middle = box.left <= x <= box.right
    style = "name middle" if middle else "name end" if box.right < x else "name"
    at = (box.left + box.right) / 2 if middle else box.right if box.right < x else box.left
    lead = [line((x, y), near, "lead")] if label.far else []
    return [*lead, words(at, box.bottom - 3.5, label.text, style)]


def _legend(told: Words) -> list[Html]:
    """What is filled, grey and hollow."""
    x, y, shapes = 6.0, HEIGHT - 8.0, []
    for style, code in (("front", "TT-B137"), ("behind", "TT-B138"), ("ghost", "TT-B139")):
        text = told.say(code)
        shapes += [dot(x, y - 4, 4.5, style), words(x + 10, y, text, "tick")]
        x += 24 + text_width(text) * 0.86
    return shapes
