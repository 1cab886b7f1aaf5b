"""Plan: what is asked at the left, and at once what every strategy would take, with the frontier, the reasons, and
the command that says the same. Nothing here imports torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from trimtab.app.cli.show.data import data_line
from trimtab.app.cli.show.machine import machine_line
from trimtab.app.cli.show.plan import model_line
from trimtab.app.cli.show.words import (
    bytes_range,
    depth_word,
    evidence_word,
    form_word,
    money_range,
    money_word,
    points_range,
    points_word,
    seconds_range,
    trained_words,
)
from trimtab.app.web import drawings
from trimtab.app.web.drawings import NARROW, WIDE, Axis, Point
from trimtab.app.web.forms import DEMO, GOALS, HERE, METHODS, TASKS, PlanForm, typed
from trimtab.app.web.site import Site, is_fragment
from trimtab.app.web.words import Voice
from trimtab.errors import TrimtabError
from trimtab.errors.quantities import format_bytes, format_seconds, format_share
from trimtab.estimation.estimate import PARTS, Estimate
from trimtab.hardware import machine_catalogue
from trimtab.methods import LayerAdapter, Strategy, Weights
from trimtab.models import catalogue
from trimtab.planning import Candidate, NoPlan, Plan, part_word, phase_word, usable_bytes
from trimtab.study.charts import stack
from trimtab.study.commands import plan_command_of
from trimtab.study.html import Html
from trimtab.study.request import Planned, PlanRequest
from trimtab.units import Figure


@dataclass(frozen=True, slots=True)
class PlanPage:
    """The section."""

    site: Site

    def show(self, request: Request) -> Response:
        """The whole page, or the answer alone where htmx asks; a page whose facts are not at hand yet is there
        first, and asks for its answer then."""
        form = PlanForm.of(request.query_params)
        voice = self.site.voice(request)
        if is_fragment(request):
            answer = self.site.show(
                request, "plan_answer.html", answer=self._answer(form, voice), form=form, oob=True
            )
            answer.headers["HX-Replace-Url"] = "/plan" + (f"?{urlencode(form.said)}" if form.said else "")
            return answer
        ready = self._answer(form, voice) if self._at_hand(form) else None
        return self.site.show(
            request, "plan.html", section="plan", form=form, choices=self._choices(), answer=ready, oob=False
        )

    def _at_hand(self, form: PlanForm) -> bool:
        try:
            return self.site.facts.at_hand(form.request(self.site.folders))
        except TrimtabError:
            return True  # the answer is a refusal, which takes no time

    def _answer(self, form: PlanForm, voice: Voice) -> "Answer":
        try:
            asked = form.request(self.site.folders)
            command = plan_command_of(typed(asked, self.site.folders))
            return answer_of(self.site.facts.plan(asked), asked, command, voice)
        except NoPlan as error:
            return no_answer(error, asked, command, voice)
        except TrimtabError as error:
            return Answer(command="", refusal=error)

    def _choices(self) -> "Choices":
        return Choices(
            models=(DEMO, *self.site.folders.models(), *(spec.name for spec in catalogue())),
            data=(DEMO, *self.site.folders.data_sets()),
            machines=tuple((machine.name, machine.device.name) for machine in machine_catalogue()),
        )


@dataclass(frozen=True, slots=True)
class Choices:
    """What may be picked. A model and data may be typed too; `machines`: (the word for it, its name)."""

    models: tuple[str, ...]
    data: tuple[str, ...]
    machines: tuple[tuple[str, str], ...]
    here: str = HERE
    goals: tuple[str, ...] = GOALS
    methods: tuple[str, ...] = METHODS
    tasks: tuple[str, ...] = TASKS


@dataclass(frozen=True, slots=True)
class Row:
    """One strategy in words. `pick`: what a form sends to train it; `state`: chosen, fits or misfit."""

    method: str
    detail: str
    state: str
    pick: str
    trained: tuple[str, str]
    memory: tuple[str, str]
    time: tuple[str, str]
    money: tuple[str, str]
    points: tuple[str, str]
    memory_span: Html
    time_span: Html
    reason: str


@dataclass(frozen=True, slots=True)
class Share:
    """A part of the memory: its word, its size, and the class of its colour."""

    word: str
    size: str
    share: str
    style: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """What there is to know of the chosen strategy beside its row."""

    title: str
    parts: tuple[Share, ...]
    bar: Html
    lines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """All that is shown of a plan, or the refusal. `figures`: of the chosen one, each with its interval; `charts`:
    of time and memory, each wide and narrow."""

    command: str
    refusal: TrimtabError | None = None
    verdict: str = ""
    fits: bool = False
    figures: tuple[tuple[str, str, str], ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    rows: tuple[Row, ...] = ()
    charts: tuple[tuple[str, tuple[Html, Html]], ...] = ()
    chosen: Chosen | None = None
    warnings: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    here: bool = False
    priced: bool = False

    @property
    def styles(self) -> tuple[str, ...]:
        """Of the points in a chart, for its legend."""
        states = {row.state for row in self.rows}
        fits = ("chosen", "best", "fits") if "chosen" in states else ()
        return (*fits, "misfit") if "misfit" in states else fits


def answer_of(planned: Planned, asked: PlanRequest, command: str, voice: Voice) -> Answer:
    """A plan in words and charts."""
    face, plan = voice.face, planned.plan
    chosen = plan.chosen.estimate
    verdict = voice(
        "plan.verdict",
        method=_name(chosen.strategy, voice),
        memory=format_bytes(chosen.memory.peak_bytes.value),
        time=format_seconds(chosen.time.total_seconds.value),
        fit=sum(candidate.fits for candidate in plan.candidates),
        count=len(plan.candidates),
    )
    return Answer(
        command=command,
        verdict=verdict,
        fits=True,
        figures=_figures(chosen, voice),
        facts=(
            (face.say("TT-V201"), model_line(planned.model, face)),
            (face.say("TT-V202"), data_line(planned.data, face)),
            (face.say("TT-V203"), machine_line(planned.machine, face)),
        ),
        rows=_rows(plan, voice),
        charts=_charts(plan, asked, usable_bytes(planned.machine, asked.limits), voice),
        chosen=_chosen(chosen, voice),
        warnings=tuple(face.tell(notice) for notice in planned.warnings),
        problems=tuple(face.tell(problem.message) for problem in planned.data.problems),
        here=planned.machine.is_here,
        priced=chosen.money is not None,
    )


def _figures(chosen: Estimate, voice: Voice) -> tuple[tuple[str, str, str], ...]:
    memory, time, points = chosen.memory.peak_bytes, chosen.time.total_seconds, chosen.quality.relative
    money = chosen.money
    paid = [(voice("plan.money"), money_word(money.cny, "CNY"), money_range(money.cny, "CNY"))] if money else []
    return (
        (voice("plan.memory"), format_bytes(memory.value), bytes_range(memory)),
        (voice("plan.time"), format_seconds(time.value), seconds_range(time)),
        *paid,
        (voice("plan.quality_points"), points_word(points), points_range(points)),
    )


def no_answer(error: NoPlan, asked: PlanRequest, command: str, voice: Voice) -> Answer:
    """What was tried where nothing fits, and how far each was from it."""
    plan = error.plan
    return Answer(
        command=command,
        verdict=f"{voice.tell(error.message)} {voice.advise(error.message)}".strip(),
        rows=_rows(plan, voice),
        charts=_charts(plan, asked, None, voice) if plan.candidates else (),
        priced=bool(plan.candidates) and plan.chosen.estimate.money is not None,
    )


def _rows(plan: Plan, voice: Voice) -> tuple[Row, ...]:
    memory = _bounds([candidate.estimate.memory.peak_bytes for candidate in plan.candidates])
    time = _bounds([candidate.estimate.time.total_seconds for candidate in plan.candidates])
    return tuple(_row(candidate, plan, memory, time, voice) for candidate in plan.candidates)


def _row(
    candidate: Candidate, plan: Plan, memory: tuple[float, float], time: tuple[float, float], voice: Voice
) -> Row:
    estimate, face = candidate.estimate, voice.face
    strategy, peak, seconds = estimate.strategy, estimate.memory.peak_bytes, estimate.time.total_seconds
    money = estimate.money
    details = (depth_word(strategy, face), strategy.number_formats, form_word(strategy, face))
    state = _state(candidate, plan)
    return Row(
        method=strategy.method,
        detail=" · ".join(part for part in details if part),
        state=state,
        pick=f"{strategy.method}:{_depth(strategy) or ''}",
        trained=trained_words(estimate.trainable_parameters, estimate.total_parameters),
        memory=(format_bytes(peak.value), bytes_range(peak)),
        time=(format_seconds(seconds.value), seconds_range(seconds)),
        money=(money_word(money.cny, "CNY"), money_range(money.cny, "CNY")) if money else ("", ""),
        points=(points_word(estimate.quality.relative), points_range(estimate.quality.relative)),
        memory_span=drawings.span(peak, memory, state),
        time_span=drawings.span(seconds, time, state),
        reason=voice.tell(candidate.reason),
    )


def _bounds(figures: Sequence[Figure]) -> tuple[float, float]:
    return min(figure.low for figure in figures), max(figure.high for figure in figures)


def _state(candidate: Candidate, plan: Plan) -> str:
    if not candidate.fits:
        return "misfit"
    return "chosen" if candidate is plan.chosen else "fits"


def _depth(strategy: Strategy) -> int | None:
    """The depth that was chosen: a method that is named has its own."""
    depths = [part.top_layers for part in strategy.parts if isinstance(part, LayerAdapter | Weights)]
    return next((depth for depth in depths if depth is not None), None)


def _name(strategy: Strategy, voice: Voice) -> str:
    return f"{strategy.method} {depth_word(strategy, voice.face)}".rstrip()


def _charts(
    plan: Plan, asked: PlanRequest, usable: float | None, voice: Voice
) -> tuple[tuple[str, tuple[Html, Html]], ...]:
    limits = asked.limits
    time = Axis(voice("plan.axis_time"), format_seconds, drawings.time_ticks, limits.seconds)
    memory = Axis(voice("plan.axis_memory"), _short_bytes, drawings.byte_ticks, limits.memory_bytes or usable)
    return (
        ("time", _chart(plan, time, lambda estimate: estimate.time.total_seconds, voice)),
        ("memory", _chart(plan, memory, lambda estimate: estimate.memory.peak_bytes, voice)),
    )


def _chart(plan: Plan, axis: Axis, cost: "drawings.Cost", voice: Voice) -> tuple[Html, Html]:
    fitting = [candidate for candidate in plan.candidates if candidate.fits]
    pairs = [(cost(candidate.estimate).value, candidate.estimate.quality.relative.value) for candidate in fitting]
    best = {id(fitting[at]) for at in drawings.best_of(pairs)}
    points = [
        Point(
            x=cost(candidate.estimate),
            y=candidate.estimate.quality.relative,
            label=_name(candidate.estimate.strategy, voice),
            style=_style(candidate, plan, best),
            told=_told(candidate.estimate, voice),
        )
        for candidate in plan.candidates
    ]
    title = voice("plan.chart_title", axis=axis.word)
    up = voice("plan.axis_points")
    return drawings.frontier(title, points, axis, up, WIDE), drawings.frontier(title, points, axis, up, NARROW)


def _style(candidate: Candidate, plan: Plan, best: set[int]) -> str:
    state = _state(candidate, plan)
    return "best" if state == "fits" and id(candidate) in best else state


def _told(estimate: Estimate, voice: Voice) -> str:
    return voice(
        "plan.point",
        name=_name(estimate.strategy, voice),
        points=points_word(estimate.quality.relative),
        points_range=points_range(estimate.quality.relative),
        memory=format_bytes(estimate.memory.peak_bytes.value),
        time=format_seconds(estimate.time.total_seconds.value),
    )


def _chosen(estimate: Estimate, voice: Voice) -> Chosen:
    face, memory = voice.face, estimate.memory
    sizes = {part: getattr(memory.parts, f"{part}_bytes") for part in (*PARTS, "runtime")}
    order = sorted((part for part in sizes if sizes[part]), key=lambda part: -sizes[part])
    return Chosen(
        title=face.say(
            "TT-V230",
            method=_name(estimate.strategy, voice),
            peak=memory.peak_bytes.value,
            range=bytes_range(memory.peak_bytes),
            phase=phase_word(memory.phase),
            evidence=evidence_word(memory.peak_bytes.evidence, face),
        ),
        parts=tuple(
            Share(
                voice.tell(part_word(part)),
                format_bytes(sizes[part]),
                format_share(sizes[part] / memory.parts.total_bytes),
                f"part-{min(at, 6)}",
            )
            for at, part in enumerate(order)
        ),
        bar=stack(voice("plan.memory_parts"), [sizes[part] for part in order]),
        lines=_chosen_lines(estimate, voice),
    )


def _chosen_lines(estimate: Estimate, voice: Voice) -> tuple[str, ...]:
    """Steps, disk, and where the word on quality comes from."""
    face, strategy, time = voice.face, estimate.strategy, estimate.time
    adapter = any(part.adapter for part in strategy.parts)
    return (
        face.say(
            "TT-V231",
            step=time.step_seconds.value,
            steps=time.steps,
            epochs=strategy.schedule.epochs,
            evidence=evidence_word(time.total_seconds.evidence, face),
        ),
        face.say(
            "TT-V235",
            what=face.say("TT-V236" if adapter else "TT-V237"),
            kept=estimate.kept_bytes,
            most=estimate.disk_bytes.value,
        ),
        face.say("TT-V232", source=estimate.quality.source),
    )


def _short_bytes(count: float) -> str:
    """ "512 MiB", "2 GiB": of round numbers."""
    return format_bytes(count).replace(".0 ", " ")
