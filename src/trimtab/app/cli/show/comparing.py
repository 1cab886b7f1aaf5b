"""A bake-off on a terminal: a line a trial while it runs, then the table, the verdict, and what to type next.

In a pipe there is no bar, and no chart. Progress goes to stderr; the result, which is facts, to stdout. The table is
in show/comparison.py.
"""

from collections.abc import Iterable
from functools import singledispatchmethod
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TextColumn

from trimtab.app.cli.face import Face
from trimtab.app.cli.flow import Flow
from trimtab.app.cli.show.comparison import show_bakeoff
from trimtab.errors import Message
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

if TYPE_CHECKING:
    from trimtab.planning.halving import Trial
    from trimtab.study.bakeoff import Happening

_BAR = 20  # columns


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
        self._best: tuple[int, Measure, str] | None = None
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
            metric=event.metric,
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
            self._line("TT-B148", name=name, score=score_words(one.dev.value), seconds=one.seconds)
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
        beaten = self._best is None or result.trial.rung > self._best[0] or measure.merit > self._best[1].merit
        if beaten or self._best is None:
            self._best = (result.trial.rung, measure, result.trial.entrant)
        _, best, name = self._best
        so_far = "" if beaten else self._face.say("TT-B179", score=score_words(best.value), name=name)
        score = score_words(measure.value)
        words = self._face.say(
            "TT-B178",
            trial=self._trial(result.trial),
            rows=result.trial.rows,
            score=score,
            seconds=result.seconds,
            left=max(0.0, self._left_seconds),
            best=so_far or self._face.say("TT-B184"),
        )
        self._print(words, "bold" if beaten else "")

    def _failed(self, result: TrialResult) -> None:
        why = "" if result.failure is None else self._face.tell(result.failure)
        self._print(self._face.say("TT-B146", name=self._trial(result.trial), why=why), "yellow")

    def _trial(self, trial: "Trial") -> str:
        """ "[learning rates] lora 3e-4" """
        rung = self._face.tell(rung_word(trial.rung))
        seed = self._face.say("TT-B142", seed=trial.seed) if trial.seed else ""
        return f"[{rung}] {trial.entrant} {rate_words(trial.learning_rate)}{seed}"

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
        words = " ".join(part for part in (self._trial(trial), loss) if part)
        self._bar.update(self._bar.task_ids[0], completed=step, total=max(1, steps), description=words)
