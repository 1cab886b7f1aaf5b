"""The page of a bake-off: one self-contained HTML file, one function a section, each from facts to Html.

Every sentence comes from errors/messages/comparison.toml and report.toml; every name is escaped by `element`. The
figures are those of comparison_facts.py, the wide tables are in comparison_tables.py.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from trimtab.errors import Message
from trimtab.study import comparison_facts as facts
from trimtab.study.bakeoff import Bakeoff, Baseline, Measure, Standing
from trimtab.study.charts import stack
from trimtab.study.comparison_tables import measured_table, predicted_table, standings_table
from trimtab.study.frontier_chart import frontier_drawing, predicted_drawing
from trimtab.study.html import Html, element, facts_list, join, table
from trimtab.study.next_commands import next_commands
from trimtab.study.page_parts import (
    Cell,
    Words,
    card,
    data_cards,
    document,
    fold,
    hash_words,
    headline,
    machine_words,
    metric_words,
    section,
    versions_words,
)
from trimtab.study.panels import curve_drawings, rate_drawings
from trimtab.study.plane import Drawing
from trimtab.units import Foretold, format_bytes, format_count, format_seconds, format_share

_COSTS: tuple[facts.Cost, ...] = ("memory", "seconds")


def comparison_html(bakeoff: Bakeoff, language: str = "en") -> str:
    """The whole page in `language` ("en" or "zh"): no network, no script; light or dark as the reader's system is;
    prints well."""
    words = Words(language)
    writer = _Writer(bakeoff, words)
    title = join((words.say("TT-B100"), " · ", writer.models(), " · ", bakeoff.data.name))
    return document(title, writer.sections(), language)


@dataclass(frozen=True, slots=True)
class _Writer:
    """A page being written in one language."""

    bakeoff: Bakeoff
    words: Words

    def say(self, code: str, **told: object) -> str:
        return self.words.say(code, **told)

    def sections(self) -> Iterator[Html]:
        yield self.head()
        made: tuple[tuple[str, Callable[[], Html]], ...] = (
            ("TT-B101", self.frontier),
            ("TT-B102", self.measured),
            ("TT-B070", self.smaller),
            ("TT-B103", self.curves),
            ("TT-B104", self.rates),
            ("TT-B105", self.everyone),
            ("TT-B106", self.predictions),
            ("TT-B107", self.baselines),
            ("TT-R108", self.data),
            ("TT-R109", self.environment),
            ("TT-B108", self.again),
        )
        for heading, make in made:
            content = make()
            if content:
                yield section(self.say(heading), content)

    # ---- what came out ----

    def head(self) -> Html:
        bakeoff = self.bakeoff
        over = " · ".join(part for part in ("Trimtab", self.say("TT-B100"), bakeoff.created_at[:10]) if part)
        better = facts.better_baseline(bakeoff)
        warned = Html() if better is None else element("p", self.words.tell(better), class_="bad")
        notices = [element("li", self.notice(told)) for told in bakeoff.notices]
        return element(
            "header",
            element("p", over, class_="over"),
            element("h1", self.models(), element("span", " × "), bakeoff.data.name),
            element("p", self.words.tell(bakeoff.verdict), class_="verdict"),
            warned,
            headline(self.cells()),
            element("ul", *notices, class_="note notices") if notices else Html(),
        )

    def notice(self, told: Message) -> str:
        return self.words.together((self.words.tell(told), told.next_step(self.words.language)))

    def models(self) -> str:
        return ", ".join(map(facts.short_model, self.bakeoff.models))

    def cells(self) -> list[Cell]:
        bakeoff, chosen = self.bakeoff, self.bakeoff.chosen
        cells: list[Cell] = []
        measure = facts.shown_measure(chosen.best, bakeoff.split)
        if measure is not None:
            interval = f"{facts.score_words(measure.low)} – {facts.score_words(measure.high)}"
            name = f"{metric_words(bakeoff.metric)} ({bakeoff.split})"
            cells.append((name, facts.score_words(measure.value), interval, ""))
        memory, time = (facts.cost_beside(chosen, cost) for cost in _COSTS)
        if memory is not None:
            cells.append((self.say("TT-B150"), format_bytes(memory.measured), self.error(memory), _tone(memory)))
        if time is not None:
            cells.append((self.say("TT-B151"), format_seconds(time.measured), self.error(time), _tone(time)))
        kept = self.budget_kept()
        budget = self.say("TT-B153", budget=bakeoff.budget_seconds)
        cells.append((self.say("TT-B152"), format_seconds(bakeoff.spent_seconds), budget, kept))
        counts = self.say("TT-B155", entrants=len(bakeoff.standings), measured=len(bakeoff.measured))
        cells.append((self.say("TT-B154"), format_count(len(facts.all_trials(bakeoff))), counts, ""))
        return cells

    def budget_kept(self) -> str:
        return "" if self.bakeoff.spent_seconds <= 1.05 * self.bakeoff.budget_seconds else "bad"

    def error(self, beside: Foretold) -> str:
        error = beside.error_share
        if abs(error) < 0.0005:
            return self.say("TT-R004")
        return self.say("TT-R002" if error > 0 else "TT-R003", error=abs(error))

    def frontier(self) -> Html:
        if not self.bakeoff.measured:
            return Html()
        drawings = [frontier_drawing(self.bakeoff, cost, self.words) for cost in _COSTS]
        heads = (self.say("TT-B156"), self.say("TT-B157"))
        cards = [
            card(element("h3", head), drawing.inline()) for head, drawing in zip(heads, drawings, strict=True)
        ]
        return join((element("div", *cards, class_="grid"), self.knee_note(), self.foreseen()))

    def foreseen(self) -> Html:
        """The same view of what was predicted."""
        drawings = [predicted_drawing(self.bakeoff, cost, self.words) for cost in _COSTS]
        cards = [card(drawing.inline()) for drawing in drawings]
        note = element("p", self.say("TT-B116"), class_="note")
        return fold(self.say("TT-B198"), element("div", *cards, class_="grid"), note)

    def knee_note(self) -> Html:
        """Who stands on the frontier of all objectives, and why one of them is the knee."""
        front = self.bakeoff.frontier()
        names = ", ".join(one.entrant.name for one in front)
        objectives = ", ".join(self.say(facts.OBJECTIVE_WORDS[name]) for name in self.bakeoff.objectives)
        knee = self.bakeoff.knee()
        told = (
            [self.say("TT-B160", objectives=objectives, count=len(self.bakeoff.frontier()), names=names)]
            if names
            else []
        )
        told += [self.say("TT-B161", name=knee.entrant.name)] if knee is not None else []
        told.append(self.say("TT-B162"))
        return element("p", self.words.together(told), class_="note")

    def measured(self) -> Html:
        if not self.bakeoff.measured:
            return Html()
        note = element("p", self.measured_note(), class_="note", style="margin-top:10px")
        return card(measured_table(self.bakeoff, self.words), note, self.reports())

    def reports(self) -> Html:
        """Links to the reports of single trainings, which lie beside the page."""
        links = [
            element("a", one.entrant.name, href=f"runs/{quote(Path(one.best.folder).name)}/report.html")
            for one in self.bakeoff.measured
            if one.best is not None and one.best.folder
        ]
        told = [part for link in links for part in (" ", link)]
        return element("p", self.say("TT-B076"), *told, class_="note") if links else Html()

    def measured_note(self) -> str:
        return self.say("TT-B163" if self.bakeoff.split == "test" else "TT-B164")

    def smaller(self) -> Html:
        """What has been made of finalists by compression."""
        heads = [self.say(code) for code in ("TT-B071", "TT-B072", "TT-B073", "TT-B074", "TT-B075")]
        rows = [
            (
                one.entrant,
                " → ".join(one.steps),
                f"{format_bytes(one.weight_bytes)} ({format_bytes(one.weight_bytes_before)})",
                _metric_words(one.after) + ("" if one.before is None else f" ({_metric_words(one.before)})"),
                "–" if one.text_seconds is None else format_seconds(one.text_seconds),
            )
            for one in self.bakeoff.smaller
        ]
        return card(table(heads, rows, numbers=(2, 3, 4), stacked=True)) if rows else Html()

    def curves(self) -> Html:
        return _panels(curve_drawings(self.bakeoff, self.words), self.say("TT-B166"))

    def rates(self) -> Html:
        return _panels(rate_drawings(self.bakeoff, self.words), self.say("TT-B167", metric=self.metric()))

    def metric(self) -> str:
        return metric_words(self.bakeoff.metric)

    # ---- how it came about ----

    def everyone(self) -> Html:
        return join((card(standings_table(self.bakeoff, self.words)), self.time_used()))

    def time_used(self) -> Html:
        """The budget by what it went to."""
        spent = facts.seconds_by_rung(self.bakeoff)
        left = max(0.0, self.bakeoff.budget_seconds - self.bakeoff.spent_seconds)
        parts = [(self.words.tell(facts.rung_name_word(name)), seconds) for name, seconds in spent.items()]
        parts.append((self.say("TT-B128"), left))
        heading = self.say("TT-B158", spent=self.bakeoff.spent_seconds, budget=self.bakeoff.budget_seconds)
        legend = [
            element("span", element("i", class_=f"part-{index}"), name, " ", format_seconds(seconds))
            for index, (name, seconds) in enumerate(parts)
            if seconds
        ]
        drawing = stack(heading, [seconds for _, seconds in parts])
        return card(
            element("h3", heading), drawing, element("div", *legend, class_="legend"), style="margin-top:16px"
        )

    def predictions(self) -> Html:
        rows = predicted_table(self.bakeoff, self.words)
        if not rows:
            return Html()
        return card(rows, element("p", self.errors_note(), class_="note", style="margin-top:10px"))

    def errors_note(self) -> str:
        measured = self.bakeoff.measured
        memory, time = (facts.middle_error(facts.cost_beside(one, cost) for one in measured) for cost in _COSTS)
        trials = facts.trial_error(self.bakeoff)
        known = (("TT-B168", memory), ("TT-B169", time), ("TT-B170", trials))
        told = [self.say(code, share=format_share(share)) for code, share in known if share is not None]
        return self.words.together(told)

    def baselines(self) -> Html:
        if not self.bakeoff.baselines:
            return Html()
        missing = any(one.missing is not None for one in self.bakeoff.baselines)
        scores = [f"{self.metric()} (dev)", f"{self.metric()} (test)"]
        heads = [self.say("TT-B180"), *scores, self.say("TT-B159"), self.say("TT-R225")]
        rows = [self.baseline(one) for one in self.bakeoff.baselines]
        shown = len(heads) if missing else len(heads) - 1
        return card(
            table(heads[:shown], [row[:shown] for row in rows], numbers=(1, 2, 3), stacked=True, blocks=(4,))
        )

    def baseline(self, one: Baseline) -> Sequence[object]:
        why = self.words.tell(one.missing) if one.missing is not None else ""
        seconds = format_seconds(one.seconds) if one.dev is not None else "–"
        name = facts.baseline_word(one.name)
        word = name if isinstance(name, str) else self.words.tell(name)
        return (word, _score(one.dev), _score(one.test), seconds, why)

    # ---- what it was made of ----

    def data(self) -> Html:
        length = self.bakeoff.chosen.estimate.strategy.max_length
        return data_cards(self.bakeoff.data, length, self.words)

    def environment(self) -> Html:
        bakeoff = self.bakeoff
        told = [
            (self.say("TT-R237"), f"{bakeoff.machine.name}: {machine_words(bakeoff.machine, self.words)}"),
            (self.say("TT-R238"), ", ".join(bakeoff.models)),
            (self.say("TT-R247"), f"{bakeoff.data.name} {hash_words(bakeoff.data.fingerprint)}".rstrip()),
            (self.say("TT-R240"), versions_words(bakeoff.versions)),
            (self.say("TT-B171"), bakeoff.created_at),
        ]
        return card(facts_list([(name, value) for name, value in told if value]))

    def again(self) -> Html:
        """The whole comparison, what to do with the chosen one, and each training."""
        blocks = [_command(self.say("TT-B172"), [self.bakeoff.command])] if self.bakeoff.command else []
        for code, command in next_commands(self.bakeoff):
            blocks.append(_command(self.say(code), [command]))
        trainings = [
            _command(one.entrant.name, _commands(one)) for one in self.bakeoff.standings if _commands(one)
        ]
        first = card(*blocks) if blocks else Html()
        if not trainings:
            return first
        heading = element("p", self.say("TT-B173"), class_="note", style="margin-top:14px")
        return join((first, heading, card(*trainings)))


def _panels(drawings: Sequence[Drawing], note: str) -> Html:
    if not drawings:
        return Html()
    grid = element("div", *(one.inline() for one in drawings), class_="panels")
    return card(grid, element("p", note, class_="note", style="margin-top:10px"))


def _tone(beside: Foretold) -> str:
    return "good" if beside.inside else "bad"


def _score(measure: Measure | None) -> object:
    if measure is None:
        return "–"
    interval = f"{facts.score_words(measure.low)} – {facts.score_words(measure.high)}"
    return element("div", facts.score_words(measure.value), element("small", interval))


def _metric_words(value: float | None) -> str:
    return "–" if value is None else facts.score_words(value)


def _commands(standing: Standing) -> list[str]:
    """Of the training it is judged by and of those with other seeds."""
    return [result.command for result in facts.seeds_of(standing) if result.command]


def _command(name: str, lines: Sequence[str]) -> Html:
    return element("div", element("h3", name), *(element("pre", line) for line in lines), class_="command")
