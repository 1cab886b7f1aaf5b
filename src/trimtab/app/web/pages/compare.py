"""Compare: bake-offs that go on, those that are over, and the page that one has written."""

import shlex
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from trimtab.app.web.bakeoffs import (
    COMPARISON,
    BakeoffAsked,
    BakeoffFollowers,
    BakeoffState,
    TrialLine,
    child_words,
    found_comparisons,
    shown_words,
)
from trimtab.app.web.children import COMPARE, Child
from trimtab.app.web.documents import document
from trimtab.app.web.forms import DEMO, data_of, model_of, spoken
from trimtab.app.web.gate import FORM
from trimtab.app.web.site import Site
from trimtab.app.web.streams import stream
from trimtab.app.web.words import Voice
from trimtab.errors import UsageError
from trimtab.errors.quantities import format_seconds
from trimtab.models import catalogue
from trimtab.units import parse_bytes, parse_seconds

_OVER = ("done", "stopped", "failed", "gone")


@dataclass(frozen=True, slots=True)
class ComparePage:
    """The section."""

    site: Site
    followers: BakeoffFollowers = field(default_factory=BakeoffFollowers)

    def show(self, request: Request) -> Response:
        voice = self.site.voice(request)
        lines = [self._line(child, voice) for child in self.site.children.all(COMPARE)]
        return self.site.show(
            request,
            "compare.html",
            section="compare",
            lines=lines,
            found=found_comparisons(self.site.folders, voice.language),
            models=(DEMO, *self.site.folders.models(), *(spec.name for spec in catalogue())),
            data=(DEMO, *self.site.folders.data_sets()),
        )

    def start(self, request: Request) -> Response:
        """Raises UsageError for what cannot be read or lies elsewhere."""
        asked = self._asked(dict(request.scope[FORM]))
        return self._started(request, _title(asked), asked.words, asked.out)

    def resume(self, request: Request, id: str) -> Response:
        """The same words go on with what is in the store."""
        child = self.site.children.named(id)
        if child.running or self.site.children.later(child):
            raise UsageError("TT-W133")
        return self._started(request, child.title, shown_words(child)[1:], child.out)

    def one(self, request: Request, id: str) -> Response:
        child = self.site.children.named(id)
        state, voice = self.followers.of(child).state(), self.site.voice(request)
        bakeoff = self._view(child, state, voice)
        return self.site.show(request, "bakeoff.html", section="compare", bakeoff=bakeoff)

    def live(self, request: Request, id: str) -> Response:
        child = self.site.children.named(id)
        headers = {"x-accel-buffering": "no"}
        return StreamingResponse(self._told(request, child), media_type="text/event-stream", headers=headers)

    def stop(self, request: Request, id: str) -> Response:
        self.site.children.named(id).stop()
        return RedirectResponse(f"/compare/{id}", status_code=303)

    def page(self, request: Request) -> Response:
        """What a comparison in the folder `at` has written. Raises UsageError TT-W120, TT-W135."""
        at = request.query_params.get("at", "")
        return document(self.site.folders, f"{at}/{COMPARISON}")

    def _asked(self, said: dict[str, str]) -> BakeoffAsked:
        folders = self.site.folders
        names = [name.strip() for name in said.get("models", "").split(",") if name.strip()] or [DEMO]
        models = [spoken(model_of(name, folders), folders) for name in names]
        for field_name, read in (("time", parse_seconds), ("memory", parse_bytes)):
            if said.get(field_name, "").strip():
                read(said[field_name])
        out = said.get("out", "").strip() or f"runs/compare-{time.strftime('%Y%m%d-%H%M%S')}"
        return BakeoffAsked(
            models=tuple(models),
            data=spoken(data_of(said.get("data", "").strip() or DEMO, folders), folders),
            out=folders.spoken(folders.inside(out)),
            methods=said.get("methods", "").strip()[:200],
            time=said.get("time", "").strip(),
            memory=said.get("memory", "").strip(),
        )

    def _started(self, request: Request, title: str, words: list[str], out: str) -> Response:
        spoken_words = child_words(words, self.site.voice(request).language)
        child = self.site.children.start(COMPARE, title, spoken_words, out, self.site.folders.chosen[0])
        return RedirectResponse(f"/compare/{child.id}", status_code=303)

    async def _told(self, request: Request, child: Child) -> AsyncIterator[str]:
        voice, follower = self.site.voice(request), self.followers.of(child)

        def shown(state: BakeoffState) -> tuple[str, str]:
            bakeoff = self._view(child, state, voice)
            return self.site.text(request, "bakeoff_state.html", bakeoff=bakeoff), bakeoff.status

        async for line in stream(
            request, self.site.closing, follower.state, shown, lambda one: one.phase in _OVER
        ):
            yield line

    def _view(self, child: Child, state: BakeoffState, voice: Voice) -> "BakeoffView":
        over = not state.running and state.phase in ("stopped", "failed", "gone")
        return _view(
            child, state, voice, self._finished(child), resumable=over and not self.site.children.later(child)
        )

    def _finished(self, child: Child) -> bool:
        place = self.site.folders.chosen[0] / child.out / COMPARISON
        return self.site.folders.has(place.resolve()) and place.is_file()

    def _line(self, child: Child, voice: Voice) -> "BakeoffLine":
        state = self.followers.of(child).state()
        return BakeoffLine(
            id=child.id,
            title=child.title,
            at=datetime.fromtimestamp(child.started_at).isoformat(" ", "minutes"),
            phase=state.phase,
            phase_word=voice(f"phase.{state.phase}"),
            trials=len(state.done),
            out=child.out,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class BakeoffLine:
    """A bake-off in a list."""

    id: str
    title: str
    at: str
    phase: str
    phase_word: str
    trials: int
    out: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialView:
    """A trial in words."""

    entrant: str
    rows: str
    rate: str
    value: str
    range: str
    seconds: str
    note: str
    best: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class BakeoffView:
    """One bake-off in words. `page`: where its comparison can be opened, "" where there is none yet."""

    id: str
    title: str
    phase: str
    phase_word: str
    status: str
    running: bool
    stopping: bool
    resumable: bool
    percent: int
    budget: str
    left: str
    now: str
    now_percent: int
    metric: str
    trials: tuple[TrialView, ...]
    baselines: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    error: str
    advice: str
    verdict: str
    folder: str
    page: bool
    command: str


def _view(child: Child, state: BakeoffState, voice: Voice, finished: bool, *, resumable: bool) -> BakeoffView:
    now = state.now
    word = voice("phase.stopping" if state.running and child.stopping else f"phase.{state.phase}")
    best = _best(state.done)
    return BakeoffView(
        id=child.id,
        title=child.title,
        phase=state.phase,
        phase_word=word,
        status=word,
        running=state.running,
        stopping=child.stopping,
        resumable=resumable,
        percent=100 if state.phase == "done" else round(100 * state.spent_share),
        budget=format_seconds(state.budget_seconds) if state.budget_seconds else "",
        left=voice("runs.left", time=format_seconds(state.left_seconds)) if state.left_seconds else "",
        now=voice("compare.now", entrant=now.entrant, rows=f"{now.rows:,}", rate=f"{now.rate:.1e}") if now else "",
        now_percent=round(100 * now.share) if now else 0,
        metric=state.metric.replace("_", " "),
        trials=tuple(_trial(line, line is best) for line in state.done[::-1]),
        baselines=tuple((name, "–" if value is None else f"{value:.3f}") for name, value in state.baselines),
        notes=state.notes,
        error=state.error,
        advice=state.advice,
        verdict=state.verdict,
        folder=child.out,
        page=finished and state.phase == "done",
        command=shlex.join(shown_words(child)),
    )


def _title(asked: BakeoffAsked) -> str:
    return f"{', '.join(Path(model).name for model in asked.models)} × {Path(asked.data).name}"


def _best(lines: Sequence[TrialLine]) -> TrialLine | None:
    """Of the latest rung: those before were held on fewer rows."""
    scored = [line for line in lines if line.value is not None]
    latest = max((line.rung for line in scored), default=0)
    return max((line for line in scored if line.rung == latest), key=lambda line: line.merit, default=None)


def _trial(line: TrialLine, best: bool) -> TrialView:
    ranged = line.low is not None and line.high is not None
    return TrialView(
        entrant=line.entrant,
        rows=f"{line.rows:,}",
        rate=f"{line.rate:.1e}",
        value="–" if line.value is None else f"{line.value:.3f}",
        range=f"{line.low:.3f}–{line.high:.3f}" if ranged else "",
        seconds=format_seconds(line.seconds),
        note=line.failure,
        best=best,
    )
