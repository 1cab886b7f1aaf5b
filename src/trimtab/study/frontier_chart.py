"""The frontier drawn: a score against a cost, what was measured beside what had been predicted.

Filled: measured, with the interval of the score; hollow: where the cost had been predicted. The step line joins
those that none beats in this plane. `predicted_drawing` is the same view before anything ran. Leaves out where
labels go (labels.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from trimtab.planning.frontier import frontier
from trimtab.study.bakeoff import Bakeoff, Baseline, Measure, Standing
from trimtab.study.comparison_facts import Cost, baseline_word, cost_beside, score_words, stands_in_plane
from trimtab.study.html import Html, element
from trimtab.study.labels import Box, Label, place, text_width
from trimtab.study.page_parts import Words, metric_words
from trimtab.study.plane import Axis, Drawing, Plane, dot, line, path, words
from trimtab.units import GIB, MIB, Figure, format_bytes, format_seconds

WIDTH, HEIGHT = 440, 330
LONGEST_NAME = 22  # letters of a label
_NEAR = 0.6  # of the points' own range: so far below or above them a baseline is still drawn
_MARGINS = (46, 12, 30, 62)
_AXIS_WORDS: dict[Cost, str] = {"memory": "TT-B130", "seconds": "TT-B131"}
_LEGEND = (("front", "TT-B137"), ("behind", "TT-B138"), ("ghost", "TT-B139"))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Point:
    """`cost` and `predicted` in the unit of the axis; `said` when it is pointed at."""

    label: str
    value: float
    low: float
    high: float
    cost: float
    predicted: float | None = None
    on_frontier: bool = False
    chosen: bool = False
    knee: bool = False
    said: str = ""


def frontier_drawing(bakeoff: Bakeoff, cost: Cost, told: Words) -> Drawing:
    """The metric on dev, by which was chosen, against `cost`, of all that were trained in earnest."""
    unit, unit_word = axis_unit(bakeoff, cost)
    points = _measured(bakeoff, cost, unit, told)
    inside, outside = _baselines(bakeoff, points)
    known = [edge for point in points for edge in (point.low, point.high)]
    lower = any(one.best.dev.lower_is_better for one in bakeoff.measured if one.best and one.best.dev)
    y_axis = Axis.of_scores([*known, *(measure.value for _, measure in inside)], lower_is_better=lower)
    plane = _plane(points, y_axis)
    metric = told.say("TT-B132", metric=metric_words(bakeoff.metric), split="dev")
    axis = told.say(_AXIS_WORDS[cost], unit=unit_word)
    shapes = [
        *_frame(plane, axis, metric),
        *_baseline_shapes(plane, inside, outside, told),
        *_of_points(plane, points),
        *_legend(told),
    ]
    title = told.say("TT-B133", metric=metric_words(bakeoff.metric), cost=axis)
    return Drawing(title=title, width=WIDTH, height=HEIGHT, shapes=tuple(shapes))


def predicted_drawing(bakeoff: Bakeoff, cost: Cost, told: Words) -> Drawing:
    """What was known before anything ran: points of quality against full tuning, a rule, and `cost`, of all
    strategies."""
    figures = [_cost_figure(one, cost).value for one in bakeoff.standings]
    unit, unit_word = _unit(max(figures), cost)
    qualities = [one.estimate.quality.relative for one in bakeoff.standings]
    front = frontier([(-quality.value, figure) for quality, figure in zip(qualities, figures, strict=True)])
    points = [
        _Point(
            label=short_name(one.entrant.name),
            value=quality.value,
            low=quality.low,
            high=quality.high,
            cost=figure / unit,
            on_frontier=at in front,
            chosen=one is bakeoff.chosen,
            said=one.entrant.name,
        )
        for at, (one, quality, figure) in enumerate(zip(bakeoff.standings, qualities, figures, strict=True))
    ]
    plane = _plane(points, Axis.of_scores([edge for point in points for edge in (point.low, point.high)]))
    axis = told.say(_AXIS_WORDS[cost], unit=unit_word)
    title = told.say("TT-B199")
    shapes = [*_frame(plane, axis, title), *_of_points(plane, _front_first(points), hollow=True)]
    said = told.say("TT-B133", metric=title, cost=axis)
    return Drawing(title=said, width=WIDTH, height=HEIGHT - 24, shapes=tuple(shapes))


def short_name(name: str, longest: int = LONGEST_NAME) -> str:
    """Cut in the middle where it is long: of "all-MiniLM-L6-v2: lora (top 2)" the end tells more."""
    if len(name) <= longest:
        return name
    first = longest // 3
    return f"{name[:first]}…{name[first + 1 - longest :]}"


def axis_unit(bakeoff: Bakeoff, cost: Cost) -> tuple[float, str]:
    """The unit in which the largest measured figure is easily read, and its name."""
    besides = [cost_beside(one, cost) for one in bakeoff.measured]
    return _unit(max((one.measured for one in besides if one is not None), default=1.0), cost)


def _unit(most: float, cost: Cost) -> tuple[float, str]:
    if cost == "memory":
        return (float(GIB), "GiB") if most >= GIB else (float(MIB), "MiB")
    return (1.0, "s") if most < 180 else (60.0, "min") if most < 10_800 else (3600.0, "h")


# ---- the points ----


def _measured(bakeoff: Bakeoff, cost: Cost, unit: float, told: Words) -> list[_Point]:
    """The chosen one and those on the frontier first, as their labels shall."""
    front, found = {id(one) for one in stands_in_plane(bakeoff, cost)}, []
    for standing in bakeoff.measured:
        beside, best = cost_beside(standing, cost), standing.best
        if beside is None or best is None or best.dev is None:
            continue
        point = _Point(
            label=_label_text(bakeoff, standing, told),
            value=best.dev.value,
            low=best.dev.low,
            high=best.dev.high,
            cost=beside.measured / unit,
            predicted=beside.predicted.value / unit,
            on_frontier=id(standing) in front,
            chosen=standing is bakeoff.chosen,
            knee=standing is bakeoff.knee(),
        )
        printed = format_bytes if cost == "memory" else format_seconds
        found.append(replace(point, said=_said(standing, best.dev, printed(beside.measured), told)))
    return _front_first(found)


def _front_first(points: Sequence[_Point]) -> list[_Point]:
    return sorted(points, key=lambda point: (not point.chosen, not point.on_frontier))


def _label_text(bakeoff: Bakeoff, standing: Standing, told: Words) -> str:
    marks = [
        told.say(code)
        for code, one in (("TT-B110", bakeoff.chosen), ("TT-B136", bakeoff.knee()))
        if one is standing
    ]
    return " · ".join([short_name(standing.entrant.name), *marks])


def _said(standing: Standing, measure: Measure, measured: str, told: Words) -> str:
    return told.say(
        "TT-B135",
        name=standing.entrant.name,
        value=score_words(measure.value),
        low=score_words(measure.low),
        high=score_words(measure.high),
        measured=measured,
    )


def _cost_figure(standing: Standing, cost: Cost) -> Figure:
    estimate = standing.estimate
    return estimate.memory.peak_bytes if cost == "memory" else estimate.time.total_seconds


def _plane(points: Sequence[_Point], y_axis: Axis) -> Plane:
    costs = [cost for point in points for cost in (point.cost, point.predicted) if cost is not None]
    return Plane(width=WIDTH, height=HEIGHT, x_axis=Axis.of_sizes(costs), y_axis=y_axis, margins=_MARGINS)


def _at(plane: Plane, point: _Point) -> tuple[float, float]:
    return plane.x(point.cost), plane.y(point.value)


# ---- what is drawn ----


def _frame(plane: Plane, x_title: str, y_title: str) -> list[Html]:
    titles = [words(0, 12, y_title, "axis"), words(plane.right, plane.bottom + 32, x_title, "axis end")]
    return [*plane.y_grid(), *plane.x_ticks(), *titles]


def _of_points(plane: Plane, points: Sequence[_Point], *, hollow: bool = False) -> list[Html]:
    """Line, intervals, marks, labels, each above the ones before."""
    corners = _corners(plane, points)
    return [
        *([path(corners, "step")] if corners else []),
        *(shape for point in points for shape in _interval(plane, point)),
        *(shape for point in points for shape in _mark(plane, point, hollow)),
        *(shape for label in _labels(plane, points, corners) for shape in _label(label)),
    ]


def _corners(plane: Plane, points: Sequence[_Point]) -> list[tuple[float, float]]:
    """Of the line along what can be had: to the right at the same score, then up to the next point."""
    front = sorted((point for point in points if point.on_frontier), key=lambda point: point.cost)
    if len(front) < 2:
        return []
    corners: list[tuple[float, float]] = []
    for point in front:
        x, y = _at(plane, point)
        if corners:
            corners.append((x, corners[-1][1]))
        corners.append((x, y))
    return [*corners, (plane.right, corners[-1][1])]


def _interval(plane: Plane, point: _Point) -> list[Html]:
    """Of the score; and the way from the predicted cost to the measured one."""
    x, y = _at(plane, point)
    low, high = plane.y(point.low), plane.y(point.high)
    drawn = [
        line((x, low), (x, high), "interval"),
        line((x - 3, low), (x + 3, low), "interval"),
        line((x - 3, high), (x + 3, high), "interval"),
    ]
    if point.predicted is None:
        return drawn
    ghost = plane.x(point.predicted)
    return [*drawn, line((ghost, y), (x, y), "link"), dot(ghost, y, 4, "ghost")]


def _mark(plane: Plane, point: _Point, hollow: bool) -> list[Html]:
    x, y = _at(plane, point)
    filled = "front" if point.on_frontier else "behind"
    style = "ghost" if hollow else filled
    ring = [dot(x, y, 9, "ring")] if point.chosen else []
    if point.knee:
        corners = f"{x:.1f},{y - 7:.1f} {x + 7:.1f},{y:.1f} {x:.1f},{y + 7:.1f} {x - 7:.1f},{y:.1f}"
        return [*ring, element("polygon", element("title", point.said), points=corners, class_=style)]
    return [*ring, dot(x, y, 5, style, point.said)]


def _labels(plane: Plane, points: Sequence[_Point], corners: Sequence[tuple[float, float]]) -> tuple[Label, ...]:
    field = Box(plane.left + 2, plane.top - 8, plane.right + 8, plane.bottom - 2)
    steps = [
        Box(min(x1, x2) - 1, min(y1, y2) - 1, max(x1, x2) + 1, max(y1, y2) + 1)
        for (x1, y1), (x2, y2) in pairwise(corners)
    ]
    return place(
        [(point.label, _at(plane, point)) for point in points],
        field,
        lines=[*steps, *(_interval_box(plane, point) for point in points)],
        dots=[box for point in points for box in _ghost_box(plane, point)],
    )


def _interval_box(plane: Plane, point: _Point) -> Box:
    x, low, high = plane.x(point.cost), plane.y(point.low), plane.y(point.high)
    return Box(x - 2, min(low, high), x + 2, max(low, high))


def _ghost_box(plane: Plane, point: _Point) -> list[Box]:
    if point.predicted is None:
        return []
    x, y = plane.x(point.predicted), plane.y(point.value)
    return [Box(x - 5, y - 5, x + 5, y + 5)]


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
    for style, code in _LEGEND:
        text = told.say(code)
        shapes += [dot(x, y - 4, 4.5, style), words(x + 10, y, text, "tick")]
        x += 24 + text_width(text) * 0.86
    return shapes


# ---- baselines ----


def _baselines(
    bakeoff: Bakeoff, points: Sequence[_Point]
) -> tuple[list[tuple[Baseline, Measure]], list[tuple[Baseline, Measure]]]:
    """Those near enough to the points to be drawn, and those that would flatten everything else."""
    known = [(one, one.dev) for one in bakeoff.baselines if one.dev is not None]
    low, high = min((point.low for point in points), default=0.0), max((p.high for p in points), default=1.0)
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
