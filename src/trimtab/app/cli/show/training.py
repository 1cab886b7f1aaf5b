"""A training on a terminal: the plan, a bar that moves, evaluations, predicted beside measured at the end.

In a pipe the bar becomes plain lines, about twenty a run. Progress goes to stderr; the plan and the result,
which are facts, to stdout.
"""

import json
from collections.abc import Iterable
from functools import singledispatchmethod
from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from trimtab.app.cli.face import Face
from trimtab.app.cli.flow import Flow
from trimtab.app.cli.show.layout import new_table
from trimtab.app.cli.show.plan import show_plan
from trimtab.app.cli.show.score import score_line
from trimtab.app.cli.show.words import evidence_word
from trimtab.errors.quantities import format_bytes, format_seconds
from trimtab.planning import span_word
from trimtab.study import Planned, Trained
from trimtab.study.report import Comparison
from trimtab.training.events import (
    Evaluated,
    Event,
    Notice,
    PrefixProgress,
    PrefixReady,
    Preflight,
    StageStarted,
    Started,
    Step,
)

_PLAIN_LINES = 20
_QUANTITY = {
    "memory": ("TT-V224", format_bytes),
    "time": ("TT-V225", format_seconds),
    "step": ("TT-V340", format_seconds),
    "prefix": ("TT-R303", format_seconds),
    "prefix_states": ("TT-R304", format_bytes),
}


def follow(face: Face, events: "Iterable[Event | Planned | Trained]") -> None:
    """Show a training while it runs; with --json, only its result, at the end."""
    view = TrainingView(face)
    try:
        for event in events:
            view.show(event)
    finally:
        view.close()


class TrainingView:
    """What is on the screen while a training runs; memory is held against the planned peak."""

    def __init__(self, face: Face) -> None:
        self._face = face
        self._predicted_bytes = 0.0
        self._bar: Progress | None = None

    @singledispatchmethod
    def show(self, event: object) -> None:
        """An event this view has nothing to say about."""

    @show.register
    def _(self, event: Planned) -> None:
        self._predicted_bytes = event.plan.chosen.estimate.memory.peak_bytes.value
        if not self._face.json:
            show_plan(self._face, event, next_step=False)
            self._face.out.print()

    @show.register
    def _(self, event: Started) -> None:
        resumed = self._face.say("TT-V271", step=event.resumed_step) if event.resumed_step else ""
        self._line(
            "TT-V270",
            steps=event.steps,
            rows=event.rows,
            trainable=event.trainable_parameters,
            share=event.trainable_parameters / event.total_parameters,
            load=event.load_seconds,
            resumed=resumed,
        )

    @show.register
    def _(self, event: StageStarted) -> None:
        self._line(
            "TT-V277",
            stage=event.stage,
            stages=event.stages,
            span=span_word(event.first, event.last, event.layers),
            trainable=event.trainable_parameters,
            steps=event.steps,
            rate=f"{event.learning_rate:.1e}",
        )

    @show.register
    def _(self, event: PrefixProgress) -> None:
        share = event.tokens / max(1, event.of)
        self._line("TT-R300", depth=event.depth, share=share, seconds=event.seconds, left=event.eta_seconds)

    @show.register
    def _(self, event: PrefixReady) -> None:
        self._line(
            "TT-R302" if event.reused else "TT-R301",
            depth=event.depth,
            layers=event.layers,
            tokens=event.tokens,
            bytes=event.bytes,
            seconds=event.seconds,
        )

    @show.register
    def _(self, event: Preflight) -> None:
        self._line(
            "TT-V272",
            rows=event.rows,
            tokens=event.tokens_per_row,
            memory=event.memory_bytes,
            predicted=self._predicted_bytes,
            seconds=event.seconds,
        )

    @show.register
    def _(self, event: Step) -> None:
        words = self._face.say(
            "TT-V273",
            step=event.step,
            steps=event.steps,
            loss=f"{event.loss:.3f}",
            rate=f"{event.learning_rate:.1e}",
            memory=event.memory_bytes,
            predicted=self._predicted_bytes,
            left=event.eta_seconds,
        )
        if self._face.err.is_terminal:
            self._advance(event, words)
        elif event.step % max(1, event.steps // _PLAIN_LINES) == 0 or event.step == event.steps:
            self._print(words)

    @show.register
    def _(self, event: Evaluated) -> None:
        best = self._face.say("TT-V275") if event.best else ""
        self._line(
            "TT-V274",
            step=event.step,
            split=event.score.split,
            score=score_line(event.score),
            seconds=event.seconds,
            best=best,
        )

    @show.register
    def _(self, event: Notice) -> None:
        self._print(f"{event.message.code}: {self._face.tell(event.message)}", style="yellow")

    @show.register
    def _(self, event: Trained) -> None:
        self.close()
        if self._face.json:
            self._face.print_json(_result_facts(event))
        else:
            _show_result(self._face, event)

    def close(self) -> None:
        """Take the bar away; what was printed above it stays."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _line(self, code: str, **facts: object) -> None:
        self._print(self._face.say(code, **facts))

    def _print(self, words: str, style: str = "") -> None:
        self._face.err.print(Flow(words, style))

    def _advance(self, event: Step, words: str) -> None:
        if self._bar is None:
            columns = (BarColumn(bar_width=20), TextColumn("{task.description}"))
            self._bar = Progress(*columns, console=self._face.err, transient=True)
            self._bar.add_task("", total=event.steps)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=event.step, description=words)


def _result_facts(trained: Trained) -> dict[str, object]:
    """What report.json says, and where everything lies."""
    report = json.loads(Path(trained.artifact_path, "report.json").read_text(encoding="utf-8"))
    return {"artifact_path": trained.artifact_path, "report_path": trained.report_path, **report}


def _show_result(face: Face, trained: Trained) -> None:
    """Scores, predicted beside measured, and where things lie."""
    run = trained.run
    face.out.print()
    face.out.print(
        Text(
            face.say(
                "TT-V280",
                seconds=run.seconds,
                epochs=f"{run.epochs:g}",
                samples=f"{run.samples_per_second:,.0f}",
                tokens=f"{run.tokens_per_second:,.0f}",
            ),
            style="bold",
        )
    )
    for score in (run.dev, run.test):
        if score is not None:
            face.out.print(face.say("TT-V281", split=score.split, score=score_line(score), n=score.n))
    if run.untrained_metric is not None:
        main = run.dev.main
        face.out.print(
            face.say("TT-V288", metric=main.name, before=f"{run.untrained_metric:.3f}", after=f"{main.value:.3f}")
        )
    if not run.best_step:
        face.out.print(Text(face.say("TT-R025"), style="yellow"))
    show_comparisons(face, trained.rows)
    face.out.print(face.say("TT-V286", path=trained.artifact_path))
    face.out.print(face.say("TT-V287", path=trained.report_path))


def show_comparisons(face: Face, rows: Iterable[Comparison]) -> None:
    """Predicted beside measured."""
    table = new_table(face, "TT-V282", "TT-V283", "TT-V284", "TT-V285")
    for row in rows:
        code, printed = _QUANTITY[row.quantity]
        predicted = f"{printed(row.predicted.value)} ({evidence_word(row.predicted.evidence, face)})"
        table.add_row(face.say(code), predicted, printed(row.measured), f"{100 * row.error_share:+.0f} %")
    face.out.print(table)
