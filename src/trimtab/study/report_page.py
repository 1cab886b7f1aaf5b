"""The layout of the HTML report: one function a section, each from facts to Html. See report.py for the
facts.

Every sentence comes from errors/messages/report.toml; every name, label and text of the user is escaped by
`element`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields

from trimtab.errors import message
from trimtab.estimation.estimate import MemoryParts
from trimtab.methods import Strategy
from trimtab.metrics.score import ClassScore, Score
from trimtab.planning.plan import Candidate
from trimtab.planning.words import part_word, phase_word, span_word
from trimtab.study.charts import Bar, Mark, bars, curve, stack
from trimtab.study.html import Html, element, facts_list, join, table
from trimtab.study.page_parts import (
    SHOWN_LABELS,
    Words,
    data_cards,
    document,
    hash_words,
    headline,
    machine_words,
    metric_words,
    part_settings,
    section,
    versions_words,
)
from trimtab.study.report import Comparison, Confusion, Report
from trimtab.units import format_bytes, format_count, format_seconds, format_share

_SHOWN_CANDIDATES = 12
_LONGEST_TEXT = 600  # characters of a worst example
_WORDS = {
    "memory": "TT-R201",
    "time": "TT-R202",
    "step": "TT-R203",
    "prefix": "TT-R303",
    "prefix_states": "TT-R304",
}
_FORMATS: dict[str, Callable[[float], str]] = {
    "memory": format_bytes,
    "time": format_seconds,
    "step": format_seconds,
    "prefix": format_seconds,
    "prefix_states": format_bytes,
}


def page(report: Report, language: str) -> str:
    """The whole HTML file."""
    writer = _Writer(report, language)
    title = join((writer.say("TT-R100"), " · ", report.plan.model, " · ", report.plan.data))
    return document(title, writer.sections(), language)


@dataclass(frozen=True)
class _Writer:
    """A report being written in one language."""

    report: Report
    language: str

    def say(self, code: str, **facts: object) -> str:
        return message(code, **facts).text(self.language)

    def sections(self) -> Iterator[Html]:
        yield self.head()
        yield self.section("TT-R101", self.predicted_and_measured())
        yield self.section("TT-R102", self.training())
        yield self.section("TT-R103", self.scores())
        if self.report.confusion is not None:
            yield self.section("TT-R105", self.confusion(self.report.confusion))
        if self.report.worst:
            yield self.section("TT-R106", self.worst())
        if self.report.samples:
            yield self.section("TT-R111", self.samples())
        yield self.section("TT-R107", self.plan())
        yield self.section("TT-R108", self.data())
        yield self.section("TT-R109", self.environment())
        yield self.section("TT-R110", self.again())

    def section(self, heading: str, content: Html) -> Html:
        return section(self.say(heading), content)

    # ---- what came out ----

    def head(self) -> Html:
        plan, run = self.report.plan, self.report.run
        score = run.test or run.dev
        main = score.main
        memory, time = self.report.comparisons[:2]
        verdict = self.say(
            "TT-R001",
            method=plan.chosen.estimate.strategy.method,
            model=plan.model,
            metric=metric_words(main.name),
            value=main.value,
            low=main.low,
            high=main.high,
            n=score.n,
            split=score.split,
            seconds=time.measured,
            memory=memory.measured,
            planned_seconds=time.predicted.value,
            planned_memory=memory.predicted.value,
        )
        over = " · ".join(part for part in ("Trimtab", self.say("TT-R100"), self.report.created_at[:10]) if part)
        return element(
            "header",
            element("p", over, class_="over"),
            element("h1", plan.model, element("span", " × "), plan.data),
            element("p", verdict, class_="verdict"),
            self.headline(score),
        )

    def headline(self, score: Score) -> Html:
        estimate = self.report.plan.chosen.estimate
        main = score.main
        cells = [
            (
                f"{metric_words(main.name)} ({score.split})",
                f"{main.value:.3f}",
                f"{main.low:.3f} – {main.high:.3f}",
                "",
            )
        ]
        for entry in self.report.comparisons[:2]:
            tone = "good" if entry.inside else "bad"
            figure = _FORMATS[entry.quantity](entry.measured)
            cells.append((self.say(_WORDS[entry.quantity]), figure, self.error(entry), tone))
        share = estimate.trainable_parameters / max(estimate.total_parameters, 1)
        total = format_count(estimate.total_parameters)
        trained = format_count(estimate.trainable_parameters)
        cells.append((self.say("TT-R229"), trained, f"{format_share(share)} / {total}", ""))
        return headline(cells)

    def error(self, entry: Comparison) -> str:
        error = entry.error_share
        if abs(error) < 0.0005:
            return self.say("TT-R004")
        return self.say("TT-R002" if error > 0 else "TT-R003", error=abs(error))

    def predicted_and_measured(self) -> Html:
        run, steps = self.report.run, self.report.plan.chosen.estimate.time.steps
        cards = [self.comparison(entry) for entry in self.report.comparisons[:2]]
        cards.append(self.memory_parts())
        cards += [self.comparison(entry) for entry in self.report.comparisons[2:]]
        early = self.say("TT-R007", steps=run.steps, planned=steps)
        note = element("p", early, class_="note") if run.stopped_early else Html()
        return join((element("div", *cards, class_="grid"), note))

    def comparison(self, entry: Comparison) -> Html:
        show, figure = _FORMATS[entry.quantity], entry.predicted
        rows = [
            Bar(
                label=self.say("TT-R204", evidence=entry.evidence_word),
                value=figure.value,
                text=f"{show(figure.value)}  ({show(figure.low)} – {show(figure.high)})",
                style="predicted",
                interval=(figure.low, figure.high),
            ),
            Bar(label=self.say("TT-R205"), value=entry.measured, text=show(entry.measured), style="measured"),
        ]
        name = self.say(_WORDS[entry.quantity])
        verdict = self.say("TT-R005" if entry.inside else "TT-R006")
        tone = "good" if entry.inside else "bad"
        return element(
            "div",
            element("h3", f"{name}: ", element("span", self.error(entry), class_=tone)),
            bars(name, rows),
            element("p", verdict, class_="note"),
            class_="card",
        )

    def memory_parts(self) -> Html:
        memory = self.report.plan.chosen.estimate.memory
        phase = phase_word(memory.phase)
        heading = self.say("TT-R017", phase=phase, total=memory.parts.total_bytes)
        named = [
            (field.name.removesuffix("_bytes"), getattr(memory.parts, field.name)) for field in fields(MemoryParts)
        ]
        legend = (
            element(
                "span",
                element("i", class_=f"part-{index}"),
                part_word(name).text(self.language),
                " ",
                format_bytes(size),
            )
            for index, (name, size) in enumerate(named)
            if size
        )
        return element(
            "div",
            element("h3", heading),
            stack(heading, [size for _, size in named]),
            element("div", *legend, class_="legend"),
            class_="card",
        )

    def training(self) -> Html:
        run, strategy = self.report.run, self.report.plan.chosen.estimate.strategy
        best = Mark(run.best_step, self.say("TT-R209", step=run.best_step))
        metric = self.say("TT-R207", metric=metric_words(run.dev.main.name))
        losses = [(float(point.step), point.loss) for point in run.history]
        metrics = [(float(point.step), point.dev_metric) for point in run.history if point.dev_metric is not None]
        charts = [
            element("div", element("h3", name), curve(name, points, best, self.say("TT-R208")), class_="card")
            for name, points in ((self.say("TT-R206"), losses), (metric, metrics))
            if points
        ]
        schedule = self.say(
            "TT-R244",
            steps=run.steps,
            epochs=run.epochs,
            batch=strategy.batch,
            micro=run.micro_batch,
            rate=strategy.schedule.learning_rate,
            precision=run.precision,
        )
        speed = self.say("TT-R242", samples=run.samples_per_second, tokens=run.tokens_per_second)
        told = [(self.say("TT-R243"), schedule), (self.say("TT-R241"), speed)]
        if strategy.schedule.layer_decay != 1.0:
            told.append((self.say("TT-R026"), self.layer_rates(strategy)))
        if run.untrained_metric is not None:
            before = f"{metric_words(run.dev.main.name)} {run.untrained_metric:.3f} → {run.dev.main.value:.3f}"
            told.insert(0, (self.say("TT-R257"), before))
        facts = facts_list(told)
        return join(
            (
                self.nothing_learned(),
                element("div", *charts, class_="grid"),
                element("div", facts, self.stages(), class_="card", style="margin-top:16px"),
            )
        )

    def nothing_learned(self) -> Html:
        if self.report.run.best_step:
            return Html()
        return element("p", self.say("TT-R025"), class_="bad")

    def stages(self) -> Html:
        """What each stage trained, for how long, where dev stood at its end; nothing where there was but one."""
        run, layers = self.report.run, self.report.model.layers
        if not run.stages:
            return Html()
        heads = [self.say(code) for code in ("TT-R028", "TT-R029", "TT-R030", "TT-R031")]
        rows = [
            (
                span_word(stage.first, stage.last, layers).text(self.language),
                self.say("TT-R032" if stage.stopped_early else "TT-R033", steps=stage.steps),
                f"{stage.learning_rate:.2g}",
                "" if stage.dev_metric is None else f"{stage.dev_metric:.3f}",
            )
            for stage in run.stages
        ]
        return table(heads, rows, numbers=(2, 3))

    def layer_rates(self, strategy: Strategy) -> str:
        """Learning rates of the highest layer and of the lowest."""
        top = strategy.schedule.learning_rate
        lowest = strategy.rate_share(self.report.model, max(0, strategy.lowest_layer(self.report.model)))
        return self.say("TT-R027", decay=strategy.schedule.layer_decay, top=top, lowest=top * lowest)

    def scores(self) -> Html:
        run = self.report.run
        heads = ("", self.say("TT-R210"), "", self.say("TT-R211"), self.say("TT-R216"))
        rows = [
            (
                score.split,
                metric_words(metric.name),
                f"{metric.value:.3f}",
                f"{metric.low:.3f} – {metric.high:.3f}",
                score.n,
            )
            for score in (run.dev, run.test)
            if score is not None
            for metric in score.metrics
        ]
        cards = [element("div", table(heads, rows, numbers=(2, 3, 4)), class_="card")]
        classes = (run.test or run.dev).classes
        if classes:
            cards.append(element("div", element("h3", self.say("TT-R104")), self.classes(classes), class_="card"))
        return element("div", *cards, class_="grid")

    def classes(self, classes: Sequence[ClassScore]) -> Html:
        """Weakest labels first: that is where the work is."""
        heads = [self.say(code) for code in ("TT-R212", "TT-R213", "TT-R214", "TT-R215", "TT-R216")]
        rows = [
            (row.label, f"{row.precision:.3f}", f"{row.recall:.3f}", f"{row.f1:.3f}", row.support)
            for row in sorted(classes, key=lambda row: row.f1)
        ]
        shown, folded = rows[:SHOWN_LABELS], rows[SHOWN_LABELS:]
        first = table(heads, shown, numbers=(1, 2, 3, 4))
        return join((first, self.fold("TT-R012", len(folded), table(heads, folded, numbers=(1, 2, 3, 4)))))

    def fold(self, code: str, count: int, content: Html) -> Html:
        if not count:
            return Html()
        return element("details", element("summary", self.say(code, count=count)), content)

    def confusion(self, confusion: Confusion) -> Html:
        if len(confusion.labels) <= SHOWN_LABELS:
            return element("div", self.matrix(confusion), class_="card wide")
        heads = [self.say(code) for code in ("TT-R217", "TT-R218", "TT-R249")]
        return element("div", table(heads, confusion.most_confused(SHOWN_LABELS), numbers=(2,)), class_="card")

    def matrix(self, confusion: Confusion) -> Html:
        """Rows are true labels; a cell's tone is its share of the row."""
        corner = element("th", self.say("TT-R217"), " ↓ ", self.say("TT-R218"), " →")
        head = element("tr", corner, *(element("th", label) for label in confusion.labels))
        rows = [
            element(
                "tr",
                element("th", label),
                *(_cell(count, sum(counts), true == predicted) for predicted, count in enumerate(counts)),
            )
            for true, (label, counts) in enumerate(zip(confusion.labels, confusion.counts, strict=True))
        ]
        return element("table", head, *rows, class_="matrix")

    def worst(self) -> Html:
        heads = [self.say(code) for code in ("TT-R219", "TT-R217", "TT-R218", "TT-R220")]
        rows = [
            (
                join(element("div", _cut(text), dir="auto") for text in row.texts),
                row.expected,
                row.predicted,
                f"{row.loss:.2f}",
            )
            for row in self.report.worst
        ]
        return element("div", table(heads, rows, numbers=(3,), stacked=True, blocks=(0,)), class_="card")

    def samples(self) -> Html:
        """What the model answers, beside what it was to answer."""
        heads = [self.say(code) for code in ("TT-R251", "TT-R252", "TT-R253", "TT-R254")]
        rows = [
            (
                element("div", _cut(sample.prompt), dir="auto"),
                element("div", _cut(sample.expected), dir="auto"),
                join(
                    (
                        element("div", _cut(sample.written), dir="auto"),
                        Html() if sample.ended else element("small", self.say("TT-R255", tokens=sample.tokens)),
                    )
                ),
                f"{sample.rouge_l:.2f}",
            )
            for sample in self.report.samples
        ]
        exact = sum(sample.exact for sample in self.report.samples)
        note = element("p", self.say("TT-R256", exact=exact, count=len(rows)), class_="note")
        listed = table(heads, rows, numbers=(3,), stacked=True, blocks=(0, 1, 2))
        return element("div", listed, note, class_="card")

    # ---- what it was made of ----

    def plan(self) -> Html:
        candidates = self.report.plan.candidates
        shown, folded = candidates[:_SHOWN_CANDIDATES], candidates[_SHOWN_CANDIDATES:]
        more = self.fold("TT-R011", len(folded), self.candidates(folded, chosen=None))
        rows = self.candidates(shown, chosen=candidates[0])
        note = element("p", self.say("TT-R014"), class_="note")
        return element("div", rows, more, note, class_="card")

    def candidates(self, candidates: Sequence[Candidate], chosen: Candidate | None) -> Html:
        codes = ("TT-R221", "TT-R222", "TT-R223", "TT-R201", "TT-R202", "TT-R224", "TT-R225")
        heads = [self.say(code) for code in codes]
        rows, styles = [], []
        for candidate in candidates:
            estimate = candidate.estimate
            strategy, memory, time = (
                estimate.strategy,
                estimate.memory.peak_bytes,
                estimate.time.total_seconds,
            )
            state = "TT-R226" if candidate is chosen else "TT-R227" if candidate.fits else "TT-R228"
            style = "chosen" if candidate is chosen else "yes" if candidate.fits else "no"
            cells = (
                element("span", strategy.method, " ", element("span", self.say(state), class_=f"tag {style}")),
                "; ".join(part_settings(part) for part in strategy.parts),
                f"{strategy.number_formats}, {strategy.micro_batch}",
                format_bytes(memory.value),
                format_seconds(time.value),
                f"{estimate.quality.relative.value:+.1f}",
                candidate.reason.text(self.language),
            )
            rows.append(cells)
            styles.append(style)
        return table(heads, rows, numbers=(3, 4, 5), stacked=True, styles=styles, blocks=(6,), name="plan")

    def data(self) -> Html:
        length = self.report.plan.chosen.estimate.strategy.max_length
        return data_cards(self.report.data, length, Words(self.language))

    def environment(self) -> Html:
        report = self.report
        model, estimate = report.model, report.plan.chosen.estimate
        machine = machine_words(report.machine, Words(self.language))
        shape = self.say(
            "TT-R245", name=model.name, parameters=model.parameters, layers=model.layers, hidden=model.hidden
        )
        trained = self.say(
            "TT-R248",
            trainable=estimate.trainable_parameters,
            total=estimate.total_parameters,
            share=estimate.trainable_parameters / max(estimate.total_parameters, 1),
        )
        facts = [
            (self.say("TT-R237"), machine),
            (self.say("TT-R238"), " ".join(part for part in (shape, hash_words(model.fingerprint)) if part)),
            (
                self.say("TT-R247"),
                " ".join(part for part in (report.data.name, hash_words(report.data.fingerprint)) if part),
            ),
            (self.say("TT-R229"), trained),
            (self.say("TT-R260"), format_bytes(estimate.kept_bytes)),
            (self.say("TT-R240"), versions_words(report.run.versions)),
            (self.say("TT-R239"), str(report.run.seed)),
        ]
        return element("div", facts_list(facts), class_="card")

    def again(self) -> Html:
        command = element("div", element("pre", self.report.command), class_="card")
        note = element("p", self.say("TT-R015"), class_="note", style="margin-top:8px")
        return join((command, note))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]} …"


def _cell(count: int, total: int, right: bool) -> Html:
    tone = "var(--good)" if right else "var(--bad)"
    return element("td", count, class_="cell", style=f"--tone:{tone};--share:{count / max(total, 1):.3f}")
