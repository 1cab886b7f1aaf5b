"""A bake-off on a terminal: a line a trial while it runs, then the table, the verdict, and what to type next.

In a pipe there is no bar, and no chart. Progress goes to stderr; the result, which is facts, to stdout. The table
is in show/comparison.py.
"""

from collections.abc import Iterable, Sequence
from functools import singledispatchmethod
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from trimtab.app.cli.face import Face
from trimtab.app.cli.flow import Flow
from trimtab.app.cli.show.comparison import show_bakeoff
from trimtab.errors import Message
from trimtab.errors.quantities import format_count, format_seconds
from trimtab.study.bakeoff import (
    BakeoffDone,
    BakeoffStarted,
    BaselineDone,
    Measure,
    TrialDone,
    TrialResult,
    TrialStarted,
    TrialStep,
    WaitingForOthers,
)
from trimtab.study.comparison_facts import baseline_word, rate_words, rung_word, score_words
from trimtab.study.comparison_files import comparison_json
from trimtab.study.frontier_chart import short_name
from trimtab.study.page_parts import metric_words

if TYPE_CHECKING:
    from trimtab.planning.halving import Trial
    from trimtab.study.bakeoff import Happening

_BAR = 20  # columns
_LONGEST = 24  # columns of a name beside the bar
_SIZES = (11, 16, -6, -6, -8, -6, -10, -9)  # columns of a line: round, name, rate, rows, score, best, took, left
_HEADS = ("TT-B178", "TT-B180", "TT-B179", "TT-R216", "TT-B184", "TT-B148", "TT-B128")
_TOGETHER = (0, 0, 2, 3, 3, 3)  # by rung: trials on as many rows, whose scores are held against each other


def follow(face: Face, events: "Iterable[Happening]") -> None:
    """Show a bake-off while it runs; with --json, only its result, at the end."""
    view = ComparisonView(face)
    try:
        for event in events:
            view.show(event)
    finally:
        view.close()


class ComparisonView:
    """What is on the screen while a bake-off runs: the trial that runs, and the best score so far of its rung."""

    def __init__(self, face: Face) -> None:
        self._face = face
        self._left_seconds = 0.0
        self._metric = ""
        self._headed = False
        self._best: dict[int, Measure] = {}
        self._bar: Progress | None = None

    @singledispatchmethod
    def show(self, event: object) -> None:
        """An event this view has nothing to say about."""

    @show.register
    def _(self, event: BakeoffStarted) -> None:
        resumed = self._face.say("TT-B147", count=event.resumed) if event.resumed else ""
        self._left_seconds = event.budget_seconds - event.spent_seconds
        self._line(
            "TT-B145",
            entrants=len(event.entrants),
            budget=event.budget_seconds,
            resumed=resumed,
        )
        for one in event.skipped:
            self._line("TT-B146", name=one.entrant.name, why=self._face.tell(one.reason))

    @show.register
    def _(self, event: BaselineDone) -> None:
        one = event.baseline
        word = baseline_word(one.name)
        name = word if isinstance(word, str) else self._face.tell(word)
        if one.dev is not None:
            self._metric = metric_words(one.dev.name)
            self._row((self._face.say("TT-B109"), name, "", "", score_words(one.dev.value), ""), one.seconds)
        elif one.missing is not None:
            self._line("TT-B146", name=name, why=self._face.tell(one.missing))

    @show.register
    def _(self, event: TrialStarted) -> None:
        self._left_seconds = event.left_seconds
        if self._face.err.is_terminal:
            self._advance(event.trial, 0, 1, "")

    @show.register
    def _(self, event: TrialStep) -> None:
        if self._face.err.is_terminal:
            loss = self._face.say("TT-B149", step=event.step, steps=event.steps, loss=f"{event.loss:.3f}")
            self._advance(event.trial, event.step, event.steps, loss)

    @show.register
    def _(self, event: TrialDone) -> None:
        self.close()
        result = event.result
        self._left_seconds -= result.seconds
        if result.dev is None:
            self._failed(result)
        else:
            self._scored(result, result.dev)

    @show.register
    def _(self, event: WaitingForOthers) -> None:
        self._line("TT-B177", trials=event.trials)

    @show.register
    def _(self, event: Message) -> None:
        self._print(self._face.tell(event), "dim")

    @show.register
    def _(self, event: BakeoffDone) -> None:
        self.close()
        if self._face.json:
            facts = comparison_json(event.bakeoff, self._face.language)
            self._face.print_json({"comparison_path": event.comparison_path, **facts})
        else:
            show_bakeoff(self._face, event.bakeoff, event.comparison_path)

    def close(self) -> None:
        """Take the bar away; what was printed above it stays."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _scored(self, result: TrialResult, measure: Measure) -> None:
        """In bold where it is the best so far."""
        self._metric = metric_words(measure.name)
        group = _TOGETHER[result.trial.rung]
        best = self._best.get(group)
        beaten = best is None or measure.merit > best.merit
        if best is None or beaten:
            self._best[group] = best = measure
        scores = (score_words(measure.value), score_words(best.value))
        self._trial_row(result.trial, scores, result.seconds, "bold" if beaten else "")

    def _failed(self, result: TrialResult) -> None:
        self._trial_row(result.trial, ("✗", ""), result.seconds)
        if result.failure is not None:
            self._print(self._face.tell(result.failure), "yellow")

    def _trial_row(self, trial: "Trial", scores: tuple[str, str], seconds: float, style: str = "") -> None:
        rung, rate = self._face.tell(rung_word(trial.rung)), rate_words(trial.learning_rate)
        self._row(
            (rung, short_name(self._name(trial), _SIZES[1]), rate, format_count(trial.rows), *scores),
            seconds,
            style,
        )

    def _name(self, trial: "Trial") -> str:
        if not trial.seed:
            return trial.entrant
        return self._face.say("TT-B142", name=trial.entrant, seed=trial.seed)

    def _row(self, cells: Sequence[str], seconds: float, style: str = "") -> None:
        """One line of the table that grows, `cells` up to the best; its heads before the first."""
        if not self._headed:
            self._headed = True
            heads = [self._face.say(code) for code in _HEADS]
            self._print_row([*heads[:4], self._metric, *heads[4:]], "dim")
        left = _minutes(max(0.0, self._left_seconds))
        self._print_row([*cells, format_seconds(seconds), left], style)

    def _print_row(self, cells: Sequence[str], style: str) -> None:
        words = " ".join(_sized(cell, size) for cell, size in zip(cells, _SIZES, strict=True))
        self._face.err.print(Text(words.rstrip(), style), no_wrap=True, overflow="ellipsis", crop=False)

    def _line(self, code: str, **facts: object) -> None:
        self._print(self._face.say(code, **facts))

    def _print(self, words: str, style: str = "") -> None:
        self._face.err.print(Flow(words, style))

    def _advance(self, trial: "Trial", step: int, steps: int, loss: str) -> None:
        if self._bar is None:
            columns = (BarColumn(bar_width=_BAR), TextColumn("{task.description}", markup=False))
            self._bar = Progress(*columns, console=self._face.err, transient=True)
            self._bar.add_task("", total=max(1, steps))
            self._bar.start()
        name = f"{self._name(trial)} {rate_words(trial.learning_rate)}"
        words = " ".join(part for part in (set_cell_size(name, min(_LONGEST, cell_len(name))), loss) if part)
        self._bar.update(self._bar.task_ids[0], completed=step, total=max(1, steps), description=words)


def _sized(cell: str, size: int) -> str:
    """In so many columns: to the left, or to the right where `size` is negative; what is longer is cut."""
    width, cell = abs(size), " ".join(cell.split())
    if cell_len(cell) > width:
        return set_cell_size(cell, width - 1) + "…"
    room = " " * (width - cell_len(cell))
    return cell + room if size > 0 else room + cell


def _minutes(seconds: float) -> str:
    """Whole minutes, where there are some."""
    return format_seconds(60.0 * round(seconds / 60) if seconds >= 120 else seconds)
