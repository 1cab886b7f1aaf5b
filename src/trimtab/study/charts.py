"""Small charts as inline SVG: bars with an interval, a curve, a histogram, a stacked bar.

Every chart is 440 units wide, so that its letters stay readable when a phone scales it to its own width.
Colours are classes of the page's style sheet. Leaves out: interaction; a number worth reading stands beside
its mark.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trimtab.study.html import Html, element, join

WIDTH = 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 16, 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """One horizontal bar: what it is, how long, what is written at its end. `interval` draws a whisker."""

    label: str
    value: float
    text: str
    style: str
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """A vertical line across a chart at `x`, with a word."""

    x: float
    text: str


def bars(title: str, rows: Sequence[Bar]) -> Html:
    """Horizontal bars on one scale from zero."""
    top = max(max(row.value, row.interval[1] if row.interval else 0.0) for row in rows) or 1.0
    scale = (WIDTH - 8) / top
    shapes: list[Html] = []
    for index, row in enumerate(rows):
        y = 8 + index * 46
        shapes.append(_text(0, y + 8, row.label, "label"))
        shapes.append(_text(WIDTH, y + 8, row.text, "figure end"))
        width = max(1.0, row.value * scale)
        shapes.append(_rectangle((0, y + 15), (width, 14), row.style, radius=3))
        if row.interval:
            shapes.append(_whisker(row.interval[0] * scale, row.interval[1] * scale, y + 22))
    return _svg(title, 8 + len(rows) * 46 - 8, shapes)


def curve(title: str, points: Sequence[tuple[float, float]], best: Mark | None, x_word: str) -> Html:
    """A line through `points` (x rising), its lowest and highest value on the axis, and the best step
    marked."""
    points = thin(points)
    height = 220
    xs, ys = [x for x, _ in points], [y for _, y in points]
    ticks = nice_ticks(min(ys), max(ys))
    area = _Area(height, (min(0.0, xs[0]), max(xs[-1], xs[0] + 1)), (ticks[0], ticks[-1]))
    shapes = [*_y_axis(area, ticks), *_x_axis(area, x_word)]
    if best is not None and best.x <= area.x_range[1]:
        shapes.append(_mark(area, best))
    path = " ".join(f"{area.x(x):.1f},{area.y(y):.1f}" for x, y in points)
    shapes.append(element("polyline", points=path, class_="curve"))
    if len(points) <= 24:
        shapes += [
            element("circle", cx=_round(area.x(x)), cy=_round(area.y(y)), r=3, class_="dot") for x, y in points
        ]
    return _svg(title, height, shapes)


def histogram(title: str, counts: Sequence[int], mark: Mark | None, x_word: str) -> Html:
    """How many have how much: `counts[n]` have exactly n. Drawn in at most 44 bins of equal width; what lies
    right of `mark` is drawn as cut."""
    width = max(1, math.ceil(len(counts) / 44))
    bins = [sum(counts[start : start + width]) for start in range(0, len(counts), width)]
    height = 220
    ticks = nice_ticks(0, max(bins))
    area = _Area(height, (0.0, float(len(bins) * width)), (0.0, ticks[-1]))
    shapes = [*_y_axis(area, ticks), *_x_axis(area, x_word)]
    for index, count in enumerate(bins):
        if count:
            left, right = area.x(index * width), area.x((index + 1) * width)
            style = "cut" if mark is not None and index * width > mark.x else "measured"
            y = area.y(count)
            shapes.append(_rectangle((left, y), (max(0.5, right - left - 1), area.y(0) - y), style))
    if mark is not None and mark.x <= area.x_range[1]:
        shapes.append(_mark(area, mark))
    return _svg(title, height, shapes)


def stack(title: str, sizes: Sequence[float]) -> Html:
    """One bar cut into parts, in order, coloured part-0, part-1, …"""
    total = sum(sizes) or 1.0
    shapes, x = [], 0.0
    for index, size in enumerate(sizes):
        width = size / total * WIDTH
        if width >= 0.5:
            shapes.append(_rectangle((x, 2), (max(0.5, width - 1), 22), f"part-{index}"))
        x += width
    return _svg(title, 26, shapes)


def thin(points: Sequence[tuple[float, float]], most: int = 240) -> list[tuple[float, float]]:
    """At most `most` points: means of equal groups where there are more. Values that are not finite are left
    out."""
    finite = [(x, y) for x, y in points if math.isfinite(y)]
    group = math.ceil(len(finite) / most)
    if group <= 1:
        return finite
    chunks = [finite[start : start + group] for start in range(0, len(finite), group)]
    return [(sum(x for x, _ in chunk) / len(chunk), sum(y for _, y in chunk) / len(chunk)) for chunk in chunks]


def nice_ticks(low: float, high: float) -> list[float]:
    """Four to seven round values (steps of 1, 2 or 5 times a power of ten) that enclose [low, high]."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(factor * power for factor in (1, 2, 5, 10) if span / (factor * power) <= 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, max(last, first + 1) + 1)]


@dataclass(frozen=True, slots=True)
class _Area:
    """The plane of a chart: data to drawing units."""

    height: int
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def x(self, value: float) -> float:
        low, high = self.x_range
        return _LEFT + (value - low) / (high - low) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return self.height - _BOTTOM - (value - low) / (high - low) * (self.height - _TOP - _BOTTOM)


def _y_axis(area: _Area, ticks: Sequence[float]) -> list[Html]:
    shapes = []
    for tick in ticks:
        y = area.y(tick)
        shapes.append(element("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=_round(y), y2=_round(y), class_="grid"))
        shapes.append(_text(_LEFT - 6, y + 4, short(tick), "tick end"))
    return shapes


def _x_axis(area: _Area, word: str) -> list[Html]:
    low, high = area.x_range
    inside = [tick for tick in nice_ticks(low, high) if low <= tick <= high]
    shapes = [_text(area.x(tick), area.height - _BOTTOM + 16, short(tick), "tick middle") for tick in inside]
    return [*shapes, _text(WIDTH - _RIGHT, area.height - 2, word, "tick end")]


def _mark(area: _Area, mark: Mark) -> Html:
    x = area.x(mark.x)
    right = x > WIDTH * 0.6
    line = element("line", x1=_round(x), x2=_round(x), y1=_TOP - 4, y2=area.height - _BOTTOM, class_="mark")
    return join((line, _text(x - 5 if right else x + 5, _TOP + 4, mark.text, "marked end" if right else "marked")))


def _whisker(left: float, right: float, y: float) -> Html:
    lines = ((left, right, y, y), (left, left, y - 6, y + 6), (right, right, y - 6, y + 6))
    return join(
        element("line", x1=_round(x1), x2=_round(x2), y1=y1, y2=y2, class_="whisker") for x1, x2, y1, y2 in lines
    )


def _rectangle(corner: tuple[float, float], size: tuple[float, float], style: str, radius: int = 0) -> Html:
    place = {
        "x": _round(corner[0]),
        "y": _round(corner[1]),
        "width": _round(size[0]),
        "height": _round(size[1]),
    }
    return element("rect", **place, rx=radius or None, class_=style)


def _text(x: float, y: float, words: str, style: str) -> Html:
    return element("text", words, x=_round(x), y=_round(y), class_=style)


def _svg(title: str, height: int, shapes: Sequence[Html]) -> Html:
    box = f"-1 -2 {WIDTH + 2} {height + 4}"
    return element("svg", element("title", title), *shapes, viewBox=box, role="img", class_="chart")


def short(value: float) -> str:
    """A tick's number, short: 12000 -> "12k", 0.25 -> "0.25"."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    if abs(value) >= 1e4:
        return f"{value / 1e3:g}k"
    return f"{value:.6g}"


def _round(value: float) -> str:
    return f"{value:.1f}"
