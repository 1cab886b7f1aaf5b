"""Where the labels of a chart go, so that none lies on another or on a point.

Greedy: the label that counts most chooses first, the nearest free place around its point. Leaves out drawing.
"""

import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

HEIGHT = 15.0
_LETTER, _WIDE = 7.3, 14.0  # units of a letter at 14 px, the size on a narrow screen
_RINGS = (13.0, 20.0, 30.0, 44.0, 60.0, 78.0, 98.0, 120.0)
_ANGLES = tuple(math.radians(degrees) for degrees in (0, 180, 315, 45, 225, 135, 270, 90, 337, 22, 202, 157))
_ON_LABEL, _ON_POINT, _ON_LINE = 200.0, 90.0, 6.0


@dataclass(frozen=True, slots=True)
class Box:
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "Box") -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def within(self, other: "Box") -> bool:
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.top >= other.top
            and self.bottom <= other.bottom
        )


@dataclass(frozen=True, slots=True)
class Label:
    """A text in its box, and the point it belongs to; `far`: a line leads there."""

    text: str
    box: Box
    point: tuple[float, float]
    far: bool


def text_width(text: str) -> float:
    """Units that a text takes at most."""
    return sum(_WIDE if unicodedata.east_asian_width(mark) in "WF" else _LETTER for mark in text)


def place(
    wanted: Sequence[tuple[str, tuple[float, float]]],
    field: Box,
    *,
    lines: Sequence[Box] = (),
    dots: Sequence[Box] = (),
) -> tuple[Label, ...]:
    """A label for each (text, point), those that count most first. `dots`: marks beside the points, which are not
    to be covered either; `lines`: what a label had better not lie on, though it may."""
    covered = [*dots, *(Box(x - 6, y - 6, x + 6, y + 6) for _, (x, y) in wanted)]
    placed: list[Label] = []
    for text, point in wanted:
        best = min(_places(text, point, field), key=lambda one: _cost(one, placed, covered, lines))
        placed.append(best[0])
    return tuple(placed)


def _places(text: str, point: tuple[float, float], field: Box) -> Iterator[tuple[Label, float]]:
    """Places around the point and how far each is, nearest first; at least one, wherever the point lies."""
    width, (x, y) = text_width(text), point
    for far, ring in enumerate(_RINGS):
        for turn, angle in enumerate(_ANGLES):
            across, down = math.cos(angle), math.sin(angle)
            left = x + ring * across - width * (1 - across) / 2
            top = y + ring * down - HEIGHT * (1 - down) / 2
            box = Box(left, top, left + width, top + HEIGHT)
            if box.within(field) or (ring == _RINGS[-1] and turn == len(_ANGLES) - 1):
                yield Label(text, _moved(box, field), point, far > 1), ring + turn / 4


def _moved(box: Box, field: Box) -> Box:
    """Inside `field`, where it is not."""
    across = max(field.left - box.left, 0.0) - max(box.right - field.right, 0.0)
    down = max(field.top - box.top, 0.0) - max(box.bottom - field.bottom, 0.0)
    return Box(box.left + across, box.top + down, box.right + across, box.bottom + down)


def _cost(one: tuple[Label, float], placed: Sequence[Label], dots: Sequence[Box], lines: Sequence[Box]) -> float:
    label, distance = one
    on_labels = sum(label.box.meets(other.box) for other in placed)
    on_dots = sum(label.box.meets(box) for box in dots)
    on_lines = sum(label.box.meets(box) for box in lines)
    return distance + _ON_LABEL * on_labels + _ON_POINT * on_dots + _ON_LINE * on_lines
