"""Plane: the field of a chart with an axis each way, linear or logarithmic, and a drawing that can stand alone.

Leaves out what is drawn on it (frontier_chart.py, panels.py).
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from trimtab.study.charts import nice_ticks, short
from trimtab.study.html import Html, element, join

_LOG_FROM = 6.0  # largest over smallest value from which an axis of sizes is logarithmic
_FEWEST_TICKS, _MOST_TICKS = 3, 6
_VARIABLE = re.compile(r"var\((--[a-z0-9]+)\)")
_BLOCK = re.compile(r":root \{([^}]*)\}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """From `low` to `high` in its own unit; `flipped`: the low end is at the top, or at the right."""

    low: float
    high: float
    logarithmic: bool = False
    flipped: bool = False

    @classmethod
    def of_sizes(cls, values: Iterable[float]) -> "Axis":
        """Round all `values` (above 0), with room at both ends; logarithmic where they are far apart."""
        known = [value for value in values if math.isfinite(value) and value > 0] or [1.0]
        low, high = min(known), max(known)
        if high / low >= _LOG_FROM:
            room = (high / low) ** 0.08
            return cls(low=low / room, high=high * room, logarithmic=True)
        room = 0.12 * ((high - low) or high)
        return cls(low=max(0.0, low - room), high=high + room)

    @classmethod
    def of_scores(cls, values: Iterable[float], *, lower_is_better: bool = False) -> "Axis":
        """Round all `values`, the better end up."""
        known = [value for value in values if math.isfinite(value)] or [0.0]
        low, high = min(known), max(known)
        room = 0.08 * ((high - low) or abs(high) or 1.0)
        return cls(low=low - room, high=high + room, flipped=lower_is_better)

    def share(self, value: float) -> float:
        """Where `value` lies: 0 at the beginning of the axis, 1 at its end."""
        change = math.log if self.logarithmic else float
        share = (change(value) - change(self.low)) / (change(self.high) - change(self.low))
        return 1 - share if self.flipped else share

    def ticks(self) -> list[float]:
        """Round values inside, six at most and three at least where it is linear."""
        found = _log_ticks(self.low, self.high) if self.logarithmic else nice_ticks(self.low, self.high)
        inside = [tick for tick in found if self.low <= tick <= self.high]
        if len(inside) < _FEWEST_TICKS and not self.logarithmic:
            step = (found[1] - found[0]) / 2
            halves = (found[0] + at * step for at in range(2 * len(found)))
            inside = [tick for tick in halves if self.low <= tick <= self.high]
        return inside[:: math.ceil(len(inside) / _MOST_TICKS)] if inside else []


@dataclass(frozen=True, kw_only=True, slots=True)
class Plane:
    """Data to drawing units. Margins: left, right, top, bottom."""

    width: int
    height: int
    x_axis: Axis
    y_axis: Axis
    margins: tuple[int, int, int, int] = (46, 14, 26, 38)

    def x(self, value: float) -> float:
        return self.left + self.x_axis.share(value) * (self.right - self.left)

    def y(self, value: float) -> float:
        return self.bottom - self.y_axis.share(value) * (self.bottom - self.top)

    @property
    def left(self) -> float:
        return self.margins[0]

    @property
    def right(self) -> float:
        return self.width - self.margins[1]

    @property
    def top(self) -> float:
        return self.margins[2]

    @property
    def bottom(self) -> float:
        return self.height - self.margins[3]

    def y_grid(self) -> list[Html]:
        """A line and a number for each tick of y."""
        shapes = []
        for tick in self.y_axis.ticks():
            y = self.y(tick)
            shapes.append(line((self.left, y), (self.right, y), "grid"))
            shapes.append(words(self.left - 6, y + 4, short(tick), "tick end"))
        return shapes

    def x_ticks(self, printed: Sequence[tuple[float, str]] = ()) -> list[Html]:
        """Numbers below; `printed`: of these values alone, as they are written there."""
        told = printed or [(tick, short(tick)) for tick in self.x_axis.ticks()]
        return [words(self.x(value), self.bottom + 16, text, "tick middle") for value, text in told]

    def titles(self, x: str, y: str) -> list[Html]:
        """What the axes are: y above its numbers, x below at the right."""
        return [words(0, 12, y, "axis"), words(self.right, self.height - 3, x, "axis end")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """Shapes in a box of `width` by `height` units, with the words that a screen reader says for it."""

    title: str
    width: int
    height: int
    shapes: tuple[Html, ...]

    def inline(self) -> Html:
        """As a part of a page, whose style sheet it uses."""
        return self._svg(class_="chart", role="img")

    def stand_alone(self, style: str) -> str:
        """A file of its own with its `style` inside, on paper, light or dark as the reader's system is."""
        paper = element("rect", x=-12, y=-12, width=self.width + 24, height=self.height + 24, class_="paper")
        sheet = element("style", Html(plain_style(style)))
        return self._svg(sheet, paper, margin=12, xmlns="http://www.w3.org/2000/svg", role="img", scaled=True)

    def _svg(self, *before: Html, margin: int = 1, scaled: bool = False, **attributes: object) -> Html:
        width, height = self.width + 2 * margin, self.height + 2 * margin
        size = {"width": 2 * width, "height": 2 * height} if scaled else {}
        box = f"{-margin} {-margin} {width} {height}"
        title = element("title", self.title)
        return element("svg", title, *before, *self.shapes, viewBox=box, **size, **attributes)


def sheet(title: str, drawings: Sequence[Drawing], columns: int) -> Drawing:
    """Several drawings of one size as one, row by row."""
    width, height, gap = drawings[0].width, drawings[0].height, 16
    rows = math.ceil(len(drawings) / columns)
    placed = [
        element(
            "g",
            *one.shapes,
            transform=f"translate({at % columns * (width + gap)} {at // columns * (height + gap)})",
        )
        for at, one in enumerate(drawings)
    ]
    across = min(columns, len(drawings))
    return Drawing(
        title=title,
        width=across * (width + gap) - gap,
        height=rows * (height + gap) - gap,
        shapes=tuple(placed),
    )


def plain_style(style: str) -> str:
    """A style sheet with its variables written out, as programs need that draw SVG and know none: the light
    colours, and the dark ones once more for readers of the dark. Sizes for narrow screens are left out."""
    light, dark = (dict(_pairs(block)) for block in _BLOCK.findall(style)[:2])
    rules = style[style.index("svg text") :].strip()
    in_light = _VARIABLE.sub(lambda found: light[found[1]], rules)
    in_dark = _VARIABLE.sub(lambda found: dark.get(found[1], light[found[1]]), rules)
    return f"{in_light}\n@media (prefers-color-scheme: dark) {{\n{in_dark}\n}}\n"


def _pairs(block: str) -> Iterable[tuple[str, str]]:
    for rule in block.split(";"):
        name, colon, value = rule.partition(":")
        if colon:
            yield name.strip(), value.strip()


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten; powers alone where those would be many."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = (1, 2, 5) if last - first <= 3 else (1,)
    return [factor * 10.0**power for power in range(first, last + 1) for factor in factors]


def line(start: tuple[float, float], end: tuple[float, float], style: str) -> Html:
    return element(
        "line", x1=rounded(start[0]), y1=rounded(start[1]), x2=rounded(end[0]), y2=rounded(end[1]), class_=style
    )


def words(x: float, y: float, text: str, style: str) -> Html:
    return element("text", text, x=rounded(x), y=rounded(y), class_=style)


def dot(x: float, y: float, radius: float, style: str, said: str = "") -> Html:
    """A circle; `said` is shown when it is pointed at."""
    inside = (element("title", said),) if said else ()
    return element("circle", *inside, cx=rounded(x), cy=rounded(y), r=radius, class_=style)


def path(points: Iterable[tuple[float, float]], style: str) -> Html:
    return element("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), class_=style)


def group(*shapes: Html) -> Html:
    return join(shapes)


def rounded(value: float) -> str:
    return f"{value:.1f}"
