"""Runs: trainings that go on and those that are over; one of them as it runs, beside what was predicted.

A training is started by the words of the command line and is a process of its own. Nothing here imports torch.
"""

import shlex
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from trimtab.app.cli.show.words import bytes_range, seconds_range, short_count
from trimtab.app.web import drawings
from trimtab.app.web.children import TRAIN, Child
from trimtab.app.web.documents import document
from trimtab.app.web.drawings import HALF, NARROW, Series
from trimtab.app.web.following import State
from trimtab.app.web.forms import PlanForm, train_request, typed
from trimtab.app.web.gate import FORM
from trimtab.app.web.site import Site
from trimtab.app.web.streams import stream
from trimtab.app.web.words import Voice
from trimtab.errors import TrimtabError, UsageError
from trimtab.errors.quantities import format_bytes, format_seconds
from trimtab.study.commands import command_of
from trimtab.study.history import runs
from trimtab.study.html import Html
from trimtab.study.report import Comparison
from trimtab.units import Figure

_GAUGE = 300
_OVER = ("done", "stopped", "failed", "gone")
_MOST_STORED = 200
_EVENTS = ("--json", "--events", "jsonl")
_QUANTITIES = {
    "memory": ("TT-V224", format_bytes),
    "time": ("TT-V225", format_seconds),
    "step": ("TT-V340", format_seconds),
    "prefix": ("TT-R303", format_seconds),
    "prefix_states": ("TT-R304", format_bytes),
}


@dataclass(frozen=True, slots=True)
class RunsPage:
    """The section."""

    site: Site

    def show(self, request: Request) -> Response:
        return self.site.show(request, "runs.html", section="runs", lists=self._lists(request))

    def rows(self, request: Request) -> Response:
        """The lists alone, asked for again and again while something runs."""
        return self.site.show(request, "runs_lists.html", lists=self._lists(request))

    def start(self, request: Request) -> Response:
        """Train the strategy that was picked. Raises UsageError, for what a plan would refuse too."""
        said = dict(request.scope[FORM])
        method, _, depth = said.get("pick", "").partition(":")
        form = PlanForm.of(said | {"method": method or said.get("method", "auto"), "top_layers": depth})
        asked = typed(form.request(self.site.folders), self.site.folders)
        if asked.on is not None:
            raise UsageError("TT-W132", machine=asked.on)
        out = self._out(said.get("out", "").strip(), f"{Path(asked.model).name}-{form['method']}")
        words = shlex.split(command_of(train_request(asked, out, self.site.voice(request).language)))[1:]
        title = f"{Path(asked.model).name} × {Path(asked.data).name}"
        return self._started(request, title, words, out)

    def resume(self, request: Request, id: str) -> Response:
        """Go on with one that was stopped, from its last checkpoint."""
        child = self.site.children.named(id)
        if child.running or self.site.children.later(child):
            raise UsageError("TT-W133")
        words = [word for word in child.words if word not in (*_EVENTS, "--resume")]
        return self._started(request, child.title, [*_without_language(words), "--resume"], child.out)

    def run(self, request: Request, id: str) -> Response:
        child = self.site.children.named(id)
        state, voice = self.site.followers.of(child).state(), self.site.voice(request)
        return self.site.show(request, "run.html", section="runs", run=_view(child, state, voice, self.site))

    def live(self, request: Request, id: str) -> Response:
        """The run as it changes, as server-sent events: `state` is the middle of the page, `status` what a screen
        reader is to say; `over` ends it."""
        child = self.site.children.named(id)
        return StreamingResponse(
            self._told(request, child), media_type="text/event-stream", headers={"x-accel-buffering": "no"}
        )

    def stop(self, request: Request, id: str) -> Response:
        """After a checkpoint; asked twice, at once, and what came after the last checkpoint is lost."""
        self.site.children.named(id).stop()
        return RedirectResponse(f"/runs/{id}", status_code=303)

    def report(self, request: Request, id: str) -> Response:
        """The report of a run, where its folder lies in the chosen ones."""
        return document(self.site.folders, str(self._place(id) / "report.html"))

    def _place(self, id: str) -> Path:
        """Of a child or, by its id, of a run in the store."""
        stored = next((run.folder for run in runs() if run.id == id), None)
        return Path(stored) if stored else self.site.folders.chosen[0] / self.site.children.named(id).out

    def _started(self, request: Request, title: str, words: list[str], out: str) -> Response:
        language = ["--lang", self.site.voice(request).language]
        child = self.site.children.start(
            TRAIN, title, [*words, *language, *_EVENTS], out, self.site.folders.chosen[0]
        )
        return RedirectResponse(f"/runs/{child.id}", status_code=303)

    def _out(self, said: str, usual: str) -> str:
        """A folder for the result, new or empty. Raises UsageError TT-W120, TT-W134."""
        folders = self.site.folders
        found = folders.inside(said or f"runs/{usual}-{time.strftime('%Y%m%d-%H%M%S')}")
        if found.exists() and (not found.is_dir() or any(found.iterdir())):
            raise UsageError("TT-W134", folder=folders.spoken(found))
        return folders.spoken(found)

    async def _told(self, request: Request, child: Child) -> AsyncIterator[str]:
        voice = self.site.voice(request)
        follower = self.site.followers.of(child)

        def shown(state: State) -> tuple[str, str]:
            run = _view(child, state, voice, self.site)
            return self.site.text(request, "run_state.html", run=run), run.status

        async for line in stream(
            request, self.site.closing, follower.state, shown, lambda one: one.phase in _OVER
        ):
            yield line

    def _lists(self, request: Request) -> "Lists":
        voice = self.site.voice(request)
        lines = [
            _line(child, self.site.followers.of(child).state(), voice) for child in self.site.children.all(TRAIN)
        ]
        return Lists(
            running=tuple(line for line in lines if line.running),
            over=tuple(line for line in lines if not line.running),
            stored=self._stored(voice),
        )

    def _stored(self, voice: Voice) -> "tuple[StoredLine, ...] | TrimtabError":
        try:
            kept = runs()
        except TrimtabError as error:
            return error
        return tuple(
            StoredLine(
                id=run.id,
                at=run.created_at[:16].replace("T", " "),
                title=f"{run.model} × {run.data}",
                method=run.method,
                machine=run.machine,
                memory=format_bytes(run.peak_memory_bytes),
                time=format_seconds(run.seconds),
                score=_score(run.scores[-1].main.name, run.scores[-1].main.value) if run.scores else "",
                folder=run.folder,
                report=self._has_report(run.folder),
            )
            for run in reversed(kept[-_MOST_STORED:])
        )

    def _has_report(self, folder: str) -> bool:
        place = Path(folder) / "report.html"
        return bool(folder) and self.site.folders.has(place.resolve()) and place.is_file()


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredLine:
    """A run of the store in a list. `report`: whether it can be opened here."""

    id: str
    at: str
    title: str
    method: str
    machine: str
    memory: str
    time: str
    score: str
    folder: str
    report: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class RunLine:
    """A child in a list."""

    id: str
    title: str
    method: str
    at: str
    phase: str
    phase_word: str
    running: bool
    share: int
    loss: str
    left: str
    out: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Lists:
    """All there are; or why the store cannot be read."""

    running: tuple[RunLine, ...]
    over: tuple[RunLine, ...]
    stored: tuple[StoredLine, ...] | TrimtabError

    @property
    def broken(self) -> bool:
        return isinstance(self.stored, TrimtabError)


@dataclass(frozen=True, kw_only=True, slots=True)
class Gauge:
    """A measured figure on the scale of its prediction."""

    word: str
    measured: str
    predicted: str
    range: str
    drawn: Html | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RunView:
    """One run in words and charts."""

    id: str
    title: str
    phase: str
    phase_word: str
    status: str
    running: bool
    stopping: bool
    resumable: bool
    step: str
    percent: int
    left: str
    gauges: tuple[Gauge, ...]
    charts: tuple[tuple[str, tuple[Html, Html]], ...]
    rows: tuple[tuple[str, str, str, str, bool], ...]
    scores: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    error: str
    advice: str
    report: bool
    command: str


def _view(child: Child, state: State, voice: Voice, site: Site) -> RunView:
    word = _phase_word(child, state, voice)
    step = voice("runs.step", step=f"{state.step:,}", steps=f"{state.steps:,}") if state.steps else ""
    status = f"{word}. {state.error}".strip() if state.error else word
    words = [word for word in child.words if word not in _EVENTS]
    place = site.folders.chosen[0] / child.out / "report.html"
    return RunView(
        id=child.id,
        title=child.title,
        phase=state.phase,
        phase_word=word,
        status=status,
        running=state.running,
        stopping=child.stopping,
        resumable=_can_go_on(child, state, site),
        step=step,
        percent=round(100 * state.share) if state.phase != "done" else 100,
        left=_left(state, voice),
        gauges=_gauges(state, voice),
        charts=_curves(state, voice),
        rows=tuple(_compared(row, voice) for row in state.rows),
        scores=tuple(_score_line(score, voice) for score in state.scores),
        facts=_known(child, state, voice),
        notes=state.notes,
        error=state.error,
        advice=state.advice,
        report=state.phase == "done" and site.folders.has(place.resolve()) and place.is_file(),
        command=shlex.join(["trimtab", *_without_language(words)]),
    )


def _phase_word(child: Child, state: State, voice: Voice) -> str:
    return voice("phase.stopping" if state.running and child.stopping else f"phase.{state.phase}")


def _can_go_on(child: Child, state: State, site: Site) -> bool:
    """Whether there is a checkpoint, from which nothing else has gone on yet."""
    stopped = not state.running and state.phase != "done" and state.saved_step is not None
    return stopped and not site.children.later(child)


def _left(state: State, voice: Voice) -> str:
    if state.eta_seconds is None or state.phase in _OVER or state.phase == "finishing":
        return ""
    return voice("runs.left", time=format_seconds(state.eta_seconds))


def _gauges(state: State, voice: Voice) -> tuple[Gauge, ...]:
    """Memory and time, each beside what was predicted. Time is that of the whole training as it looks now, once
    there is a guess of what is left."""
    found = []
    if state.peak is not None:
        found.append(_gauge(voice("runs.memory"), state.memory_bytes, state.peak, format_bytes, bytes_range))
    if state.seconds is not None:
        measured = next((row.measured for row in state.rows if row.quantity == "time"), state.elapsed_seconds)
        found.append(_gauge(voice("runs.time"), measured, state.seconds, format_seconds, seconds_range))
    return tuple(found)


def _gauge(
    word: str, measured: float, predicted: Figure, written: drawings.Format, ranged: "drawings.Ranged"
) -> Gauge:
    return Gauge(
        word=word,
        measured=written(measured) if measured else "–",
        predicted=written(predicted.value),
        range=ranged(predicted),
        drawn=drawings.gauge(word, measured, predicted, written, _GAUGE),
    )


def _curves(state: State, voice: Voice) -> tuple[tuple[str, tuple[Html, Html]], ...]:
    word = voice("runs.steps")
    found = []
    for title, points, style, name in (
        (voice("runs.loss_title"), state.loss, "loss", voice("runs.loss")),
        (_capital(voice("runs.dev", metric=_plain(state.dev_name))), state.dev, "dev", _plain(state.dev_name)),
    ):
        if points:
            series = [Series(points, style, name)]
            drawn = tuple(drawings.curves(title, series, state.steps, word, width) for width in (HALF, NARROW))
            found.append((title, (drawn[0], drawn[1])))
    return tuple(found)


def _known(child: Child, state: State, voice: Voice) -> tuple[tuple[str, str], ...]:
    facts = {
        voice("runs.method"): state.method,
        voice("runs.model"): state.model,
        voice("runs.data"): state.data,
        voice("runs.trained"): short_count(state.trainable) if state.trainable else "",
        voice("runs.rate"): f"{state.learning_rate:.1e}" if state.learning_rate else "",
        voice("runs.epoch"): f"{state.epoch:.2f}" if state.epoch else "",
        voice("runs.saved"): voice("runs.at_step", step=f"{state.saved_step:,}") if state.saved_step else "",
        voice("runs.folder"): child.out,
        voice("runs.started"): _moment(child.started_at),
    }
    return tuple((word, value) for word, value in facts.items() if value)


def _compared(row: Comparison, voice: Voice) -> tuple[str, str, str, str, bool]:
    code, written = _QUANTITIES[row.quantity]
    off = f"{100 * row.error_share:+.0f} %"
    return voice.code(code), written(row.predicted.value), written(row.measured), off, row.inside


def _score_line(score: tuple[str, str, float, float, float, int], voice: Voice) -> str:
    split, metric, value, low, high, count = score
    name = _plain(metric)
    return voice(
        "runs.score", split=split, metric=name, value=f"{value:.3f}", low=f"{low:.3f}", high=f"{high:.3f}",
        count=f"{count:,}",
    )  # fmt: skip


def _score(metric: str, value: float) -> str:
    return f"{_plain(metric)} {value:.3f}"


def _line(child: Child, state: State, voice: Voice) -> RunLine:
    loss = state.last_loss
    return RunLine(
        id=child.id,
        title=child.title,
        method=state.method,
        at=_moment(child.started_at),
        phase=state.phase,
        phase_word=_phase_word(child, state, voice),
        running=state.running,
        share=round(100 * state.share) if state.phase != "done" else 100,
        loss=f"{loss:.3f}" if loss is not None else "",
        left=_left(state, voice),
        out=child.out,
    )


def _plain(metric: str) -> str:
    return metric.replace("_", " ")


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).isoformat(" ", "minutes")


def _without_language(words: list[str]) -> list[str]:
    at = words.index("--lang") if "--lang" in words else len(words)
    return [*words[:at], *words[at + 2 :]]
