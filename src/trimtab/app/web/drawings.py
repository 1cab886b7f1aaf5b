"""The charts of the page, as inline SVG: the frontier of a plan, a training as it runs, and the ledger.

Made of the same elements as the report's (`trimtab.study.charts`). Each is drawn for a width, so that letters keep
their size: the page shows the wide or the narrow one. No style but classes, no script.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trimtab.estimation.estimate import Estimate
from trimtab.study.charts import nice_ticks, short, thin
from trimtab.study.html import Html, element
from trimtab.units import Figure

WIDE, HALF, NARROW = 880, 600, 340  # of a page, of half of one, of a phone
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 16, 14, 40
_LETTER, _LINE = 6.6, 14  # of a label, in units
_LEAST_DECADES = 0.3  # of an axis: what lies closer together than a factor of two is drawn as close
_CLEAR = 5

Cost = Callable[[Estimate], Figure]
Ranged = Callable[[Figure], str]
Format = Callable[[float], str]
Ticks = Callable[[float, float, int], list[float]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One strategy: what it costs (`x`), what it is worth (`y`), and its name. `style`: chosen, best (on the
    frontier), fits or misfit."""

    x: Figure
    y: Figure
    label: str
    style: str
    told: str = ""


@dataclass(frozen=True, slots=True)
class Axis:
    """What runs along it, and how a value of it is written. `ticks`: its round values between two, at most so
    many; `limit`: where what is allowed ends."""

    word: str
    format: Format
    ticks: "Ticks"
    limit: float | None = None


def frontier(title: str, points: Sequence[Point], across: Axis, up: str, width: int) -> Html:
    """Cost to the right on a logarithmic scale, worth upwards; whiskers are the intervals, the line joins those
    that no other one beats in both."""
    height = 330 if width == NARROW else 400
    area = _Area.around(points, width, height)
    shapes = [*_rows(area), *_columns(area, across), _words(area, across, up)]
    if across.limit is not None and area.has(across.limit):
        shapes.append(_limit(area, across))
    shapes += [_whiskers(area, point) for point in points]
    shapes.append(_front_line(area, points))
    shapes += [_dot(area, point) for point in points]
    shapes += _labels(area, points)
    return _svg(title, width, height, shapes)


def best_of(pairs: Sequence[tuple[float, float]]) -> tuple[int, ...]:
    """Those that none other beats: nowhere dearer and nowhere worse, and in one of both better. By rising cost."""
    order = sorted(range(len(pairs)), key=lambda at: (pairs[at][0], -pairs[at][1]))
    kept: list[int] = []
    for at in order:
        if not kept or pairs[at][1] > pairs[kept[-1]][1]:
            kept.append(at)
    return tuple(kept)


@dataclass(frozen=True, slots=True)
class Series:
    """Values over steps; `style` is the class of its line."""

    points: tuple[tuple[float, float], ...]
    style: str
    word: str


def curves(title: str, series: Sequence[Series], steps: int, word: str, width: int) -> Html:
    """Lines over the steps of a whole training, those to come left free; the last value stands at its end."""
    height = 220 if width == NARROW else 260
    drawn = [Series(tuple(thin(one.points)), one.style, one.word) for one in series]
    values = [y for one in drawn for _, y in one.points]
    if not values:
        return Html()
    ticks = nice_ticks(min(*values, 0.0), max(values))
    area = _Area(width, height, (0.0, float(max(steps, 1))), (ticks[0], ticks[-1]), logarithmic=False)
    shapes = [*_rows(area, ticks), *_steps(area, word)]
    for one in drawn:
        path = " ".join(f"{area.x(x):.1f},{area.y(y):.1f}" for x, y in one.points)
        shapes.append(element("polyline", points=path, class_=f"line {one.style}"))
        if one.points:
            shapes.append(_end(area, one))
    return _svg(title, width, height, shapes)


def gauge(title: str, measured: float, predicted: Figure, written: Format, width: int) -> Html:
    """What is measured as a bar, on the scale of what was predicted: a band with a mark in it."""
    top = max(predicted.high, measured) * 1.05 or 1.0
    scale, y = (width - 2) / top, 10
    band = element(
        "rect",
        x=_at(predicted.low * scale),
        y=y - 6,
        width=_at(max(2.0, (predicted.high - predicted.low) * scale)),
        height=26,
        rx=4,
        class_="band",
    )
    track = element("rect", x=0, y=y, width=width - 2, height=14, rx=7, class_="track")
    long = max(3.0, measured * scale) if measured else 0.0
    bar = element("rect", x=0, y=y, width=_at(long), height=14, rx=_at(min(7.0, long / 2)), class_="bar")
    x = predicted.value * scale
    mark = element("line", x1=_at(x), x2=_at(x), y1=y - 6, y2=y + 20, class_="predicted-mark")
    told = f"{written(measured)} / {written(predicted.value)}"
    return _svg(f"{title}: {told}", width, 34, [track, band, bar, mark])


def span(figure: Figure, bounds: tuple[float, float], style: str) -> Html:
    """An interval as a short line with a dot, on a logarithmic scale between `bounds`: beside its number in a
    table, where the eye compares it with those above and below."""
    width, (low, high) = 92, _decades(*bounds)
    left, at, right = (
        3 + _share(value, (low, high), True) * (width - 6) for value in (figure.low, figure.value, figure.high)
    )
    line = element("line", x1=3, x2=width - 3, y1=5, y2=5, class_="rail")
    band = element("line", x1=_at(left), x2=_at(max(right, left + 1)), y1=5, y2=5, class_=f"reach {style}")
    dot = element("circle", cx=_at(at), cy=5, r=3, class_=f"dot {style}")
    return element("svg", line, band, dot, viewBox=f"0 0 {width} 10", class_="span", aria_hidden="true")


@dataclass(frozen=True, slots=True)
class Pair:
    """A prediction and what was measured, both above 0."""

    predicted: float
    measured: float
    inside: bool
    told: str


def agreement(title: str, pairs: Sequence[Pair], measure: Axis, across: str, up: str, width: int) -> Html:
    """Predicted to the right, measured upwards, both logarithmic: on the line a prediction was right."""
    height = width if width == NARROW else 360
    values = [value for pair in pairs for value in (pair.predicted, pair.measured)]
    low, high = _decades(min(values), max(values))
    area = _Area(width, height, (low, high), (low, high), logarithmic=True, both=True)
    ticks, written = measure.ticks(low, high, 3 if width == NARROW else 5), measure.format
    shapes: list[Html] = []
    for tick in ticks:
        x, y = _at(area.x(tick)), _at(area.y(tick))
        shapes.append(element("line", x1=_LEFT, x2=width - _RIGHT, y1=y, y2=y, class_="grid"))
        shapes.append(element("line", x1=x, x2=x, y1=_TOP, y2=height - _BOTTOM, class_="grid"))
        shapes.append(element("text", written(tick), x=x, y=height - _BOTTOM + 16, class_="tick middle"))
        shapes.append(element("text", written(tick), x=_LEFT + 4, y=_at(area.y(tick) - 4), class_="tick"))
    ends = {"x1": _at(area.x(low)), "y1": _at(area.y(low)), "x2": _at(area.x(high)), "y2": _at(area.y(high))}
    shapes.append(element("line", **ends, class_="even"))
    shapes.append(element("text", across, x=width - _RIGHT, y=height - 4, class_="tick end"))
    shapes.append(element("text", up, x=0, y=_TOP - 3, class_="tick"))
    shapes += [
        element(
            "circle",
            element("title", pair.told),
            cx=_at(area.x(pair.predicted)),
            cy=_at(area.y(pair.measured)),
            r=4,
            class_="pair in" if pair.inside else "pair out",
        )
        for pair in pairs
    ]
    return _svg(title, width, height, shapes)


@dataclass(frozen=True, slots=True)
class _Area:
    """The plane of a chart: data to drawing units."""

    width: int
    height: int
    across: tuple[float, float]
    up: tuple[float, float]
    logarithmic: bool
    both: bool = False

    @classmethod
    def around(cls, points: Sequence[Point], width: int, height: int) -> "_Area":
        """Wide enough for every point and, to the right and left, for its interval; upwards the points count,
        since the intervals of worth reach far down."""
        low, high = _decades(min(point.x.low for point in points), max(point.x.high for point in points))
        ys = [point.y.value for point in points]
        reach = max(1.0, 0.25 * (max(ys) - min(ys)))
        top = min(max(point.y.high for point in points), max(ys) + reach)
        ticks = nice_ticks(min(ys) - reach, max(*ys, top))
        return cls(width, height, (low, high), (ticks[0], ticks[-1]), logarithmic=True)

    def x(self, value: float) -> float:
        return _LEFT + _share(value, self.across, self.logarithmic) * (self.width - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        share = _share(value, self.up, self.both)
        return self.height - _BOTTOM - share * (self.height - _TOP - _BOTTOM)

    def has(self, x: float) -> bool:
        return self.across[0] <= x <= self.across[1]


def _share(value: float, span: tuple[float, float], logarithmic: bool) -> float:
    low, high = span
    if logarithmic:
        value, low, high = math.log10(max(value, low)), math.log10(low), math.log10(high)
    return min(1.0, max(0.0, (value - low) / (high - low)))


def _decades(low: float, high: float) -> tuple[float, float]:
    """With some air, and never too close together."""
    bottom, top = math.log10(max(low, 1e-9)), math.log10(max(high, 1e-9))
    air = max(0.05 * (top - bottom), (_LEAST_DECADES - (top - bottom)) / 2, 0.02)
    return 10 ** (bottom - air), 10 ** (top + air)


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    """Round values, at most `most`: powers of ten, with 2 and 5 times them where there is room."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        found = [factor * 10.0**power for power in powers for factor in factors]
        found = [tick for tick in found if low <= tick <= high]
        if len(found) <= most:
            return found or [math.sqrt(low * high)]
    return found[:: math.ceil(len(found) / most)]


def time_ticks(low: float, high: float, most: int) -> list[float]:
    """Spans as people say them."""
    round_spans = [0.1, 0.3, 1, 3, 10, 30, 60, 180, 600, 1800, 3600, 3 * 3600, 10 * 3600, 86400, 3 * 86400, 864000]
    found = [span for span in round_spans if low <= span <= high]
    return found[:: math.ceil(len(found) / most)] if found else _log_ticks(low, high, most)


def byte_ticks(low: float, high: float, most: int) -> list[float]:
    """Powers of two."""
    powers = range(math.ceil(math.log2(low)), math.floor(math.log2(high)) + 1)
    found = [2.0**power for power in powers]
    return found[:: math.ceil(len(found) / most)] if found else [math.sqrt(low * high)]


def _rows(area: _Area, ticks: Sequence[float] | None = None) -> list[Html]:
    shapes: list[Html] = []
    for tick in nice_ticks(*area.up) if ticks is None else ticks:
        y = _at(area.y(tick))
        shapes.append(element("line", x1=_LEFT, x2=area.width - _RIGHT, y1=y, y2=y, class_="grid"))
        shapes.append(element("text", short(tick), x=_LEFT - 6, y=_at(area.y(tick) + 4), class_="tick end"))
    return shapes


def _columns(area: _Area, axis: Axis) -> list[Html]:
    most = 3 if area.width == NARROW else 7
    shapes: list[Html] = []
    for tick in axis.ticks(*area.across, most):
        x = _at(area.x(tick))
        shapes.append(element("line", x1=x, x2=x, y1=_TOP, y2=area.height - _BOTTOM, class_="grid"))
        shapes.append(element("text", axis.format(tick), x=x, y=area.height - _BOTTOM + 16, class_="tick middle"))
    return shapes


def _words(area: _Area, across: Axis, up: str) -> Html:
    right = element("text", across.word, x=area.width - _RIGHT, y=area.height - 6, class_="axis end")
    top = element("text", up, x=0, y=area.height - 6, class_="axis")
    return Html(right + top)


def _limit(area: _Area, axis: Axis) -> Html:
    assert axis.limit is not None, "asked before"
    x = area.x(axis.limit)
    beyond = element(
        "rect", x=_at(x), y=_TOP, width=_at(area.width - _RIGHT - x), height=area.height - _BOTTOM - _TOP,
        class_="beyond",
    )  # fmt: skip
    line = element("line", x1=_at(x), x2=_at(x), y1=_TOP, y2=area.height - _BOTTOM, class_="limit")
    return Html(beyond + line)


def _whiskers(area: _Area, point: Point) -> Html:
    x, y = _at(area.x(point.x.value)), _at(area.y(point.y.value))
    left, right = _at(area.x(point.x.low)), _at(area.x(point.x.high))
    low, high = _at(area.y(point.y.low)), _at(area.y(point.y.high))
    style = f"whisker {point.style}"
    return Html(
        element("line", x1=left, x2=right, y1=y, y2=y, class_=style)
        + element("line", x1=x, x2=x, y1=low, y2=high, class_=style)
    )


def _front_line(area: _Area, points: Sequence[Point]) -> Html:
    """In steps: between two points nothing is known that is better."""
    on = sorted((point for point in points if point.style in ("chosen", "best")), key=lambda point: point.x.value)
    best = [on[at] for at in best_of([(point.x.value, point.y.value) for point in on])]
    corners: list[str] = []
    for before, point in zip([None, *best], best, strict=False):
        if before is not None:
            corners.append(f"{area.x(point.x.value):.1f},{area.y(before.y.value):.1f}")
        corners.append(f"{area.x(point.x.value):.1f},{area.y(point.y.value):.1f}")
    return element("polyline", points=" ".join(corners), class_="front") if len(best) > 1 else Html()


def _dot(area: _Area, point: Point) -> Html:
    radius = {"chosen": 7, "best": 5}.get(point.style, 4)
    return element(
        "circle",
        element("title", point.told or point.label),
        cx=_at(area.x(point.x.value)),
        cy=_at(area.y(point.y.value)),
        r=radius,
        class_=f"dot {point.style}",
    )


Box = tuple[float, float, float, float]


def _labels(area: _Area, points: Sequence[Point]) -> list[Html]:
    """Beside their points, where there is room; the important ones choose first, and what finds none has its words
    in the table."""
    rank = {"chosen": 0, "best": 1, "fits": 2, "misfit": 3}
    taken: list[Box] = []
    for point in points:
        x, y = area.x(point.x.value), area.y(point.y.value)
        taken.append((x - _CLEAR, y - _CLEAR, x + _CLEAR, y + _CLEAR))
    shapes = []
    for point in sorted(points, key=lambda point: rank[point.style]):
        found = _place(area, point, taken)
        if found is not None:
            box, x, y, anchor = found
            taken.append(box)
            shapes.append(element("text", point.label, x=_at(x), y=_at(y), class_=f"label {point.style} {anchor}"))
    return shapes


def _place(area: _Area, point: Point, taken: Sequence[Box]) -> tuple[Box, float, float, str] | None:
    x, y, long = area.x(point.x.value), area.y(point.y.value), len(point.label) * _LETTER
    tries = (
        ((x + 9, y - 16, x + 9 + long, y - 16 + _LINE), x + 9, y - 5, ""),
        ((x - 9 - long, y - 16, x - 9, y - 16 + _LINE), x - 9, y - 5, "end"),
        ((x + 9, y + 3, x + 9 + long, y + 3 + _LINE), x + 9, y + 14, ""),
        ((x - 9 - long, y + 3, x - 9, y + 3 + _LINE), x - 9, y + 14, "end"),
        ((x - long / 2, y - 24, x + long / 2, y - 24 + _LINE), x, y - 12, "middle"),
        ((x - long / 2, y + 10, x + long / 2, y + 10 + _LINE), x, y + 21, "middle"),
    )
    return next((one for one in tries if _free(area, one[0], taken)), None)


def _free(area: _Area, box: Box, taken: Sequence[Box]) -> bool:
    left, top, right, bottom = box
    if left < _LEFT or right > area.width or top < 0 or bottom > area.height - _BOTTOM:
        return False
    return not any(
        left < other[2] and other[0] < right and top < other[3] and other[1] < bottom for other in taken
    )


def _steps(area: _Area, word: str) -> list[Html]:
    most = area.across[1]
    shapes = [
        element("text", short(tick), x=_at(area.x(tick)), y=area.height - _BOTTOM + 16, class_="tick middle")
        for tick in nice_ticks(0, most)
        if tick <= most
    ]
    return [*shapes, element("text", word, x=area.width - _RIGHT, y=area.height - 6, class_="axis end")]


def _end(area: _Area, one: Series) -> Html:
    """A dot at the end of a line, and its value."""
    x, y = one.points[-1]
    right = area.x(x) > area.width - 110
    return Html(
        element("circle", cx=_at(area.x(x)), cy=_at(area.y(y)), r=3.5, class_=f"tip {one.style}")
        + element(
            "text",
            f"{one.word} {y:.3f}",
            x=_at(area.x(x) + (-7 if right else 7)),
            y=_at(max(_TOP + 8, area.y(y) - 7)),
            class_=f"label {one.style}{' end' if right else ''}",
        )
    )


def _svg(title: str, width: int, height: int, shapes: Sequence[Html]) -> Html:
    size = "narrow" if width == NARROW else "wide" if width > NARROW else "small"
    box = f"0 0 {width} {height}"
    return element("svg", element("title", title), *shapes, viewBox=box, role="img", class_=f"chart {size}")


def _at(value: float) -> str:
    return f"{value:.1f}"
