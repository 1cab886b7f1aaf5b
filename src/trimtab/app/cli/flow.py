"""Flow: text wrapped for a terminal in English and Chinese alike.

Rich breaks lines at spaces alone, which tears Chinese text apart or leaves ragged lines. Here a line may also
break between two wide characters, but never before a closing mark or after an opening one.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style

_CLOSING = "，。、；：！？）」』”’》…"
_OPENING = "（「『“‘《"
_MARKS = _OPENING + _CLOSING
_WIDE = rf"(?![{_MARKS}])[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef\u3000-\u303f]"
# What must stay on one line: a wide character with the marks that cling to it, or a run of narrow ones.
_UNIT = re.compile(
    rf"\s+|[{_OPENING}]*(?:{_WIDE}|(?:(?!{_WIDE})[^\s{_MARKS}])+)[{_CLOSING}]*|[{_OPENING}]+|[{_CLOSING}]+"
)


@dataclass(frozen=True, slots=True)
class Flow:
    """A renderable text; `style` is a rich style such as "dim"."""

    text: str
    style: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        style = console.get_style(self.style) if self.style else Style.null()
        for line in wrap(self.text, options.max_width):
            yield Segment(line, style)
            yield Segment.line()

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        widest = max((cell_len(unit) for unit in _UNIT.findall(self.text)), default=0)
        whole = max((cell_len(line) for line in self.text.splitlines()), default=0)
        return Measurement(min(widest, options.max_width), min(whole, options.max_width))


def wrap(text: str, width: int) -> Iterator[str]:
    """Lines of at most `width` terminal cells; a single unit that is wider is cut."""
    for paragraph in text.splitlines() or [""]:
        line, used = "", 0
        for piece in _pieces(paragraph, width):
            full = used + cell_len(piece) > width
            if full and line.strip():
                yield line.rstrip()
            line = piece.lstrip() if full else line + piece
            used = cell_len(line)
        yield line.rstrip()


def _pieces(paragraph: str, width: int) -> Iterator[str]:
    for unit in _UNIT.findall(paragraph):
        rest = unit
        while cell_len(rest) > width:
            cut = next(n for n in range(len(rest), 0, -1) if cell_len(rest[:n]) <= max(width, 2))
            yield rest[:cut]
            rest = rest[cut:]
        yield rest
