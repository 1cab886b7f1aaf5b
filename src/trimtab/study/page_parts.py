"""What the HTML pages share: the document with its style sheet, sections, cards, the facts of data and machine.

Each part goes from facts to Html, escaped by `element`. Leaves out what one page alone has (report_page.py,
comparison_page.py) and the drawings (charts.py, frontier_chart.py).
"""

import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from importlib import resources

from trimtab.data.spec import DataSpec, LengthHistogram, Problem
from trimtab.errors import Message, message
from trimtab.hardware.machine import Machine
from trimtab.methods import Part
from trimtab.study.charts import Mark, histogram
from trimtab.study.html import Html, element, facts_list, join
from trimtab.units import format_count, format_share

SHOWN_LABELS = 12  # rows of a table or chart before the rest is folded away
Cell = tuple[str, str, str, str]  # of the headline: a name, its figure, a note below, the note's class


@dataclass(frozen=True, slots=True)
class Words:
    """The sentences of a page in one language."""

    language: str

    def say(self, code: str, **facts: object) -> str:
        return message(code, **facts).text(self.language)

    def tell(self, told: Message) -> str:
        return told.text(self.language)

    def together(self, sentences: Iterable[str]) -> str:
        """One after the other, those that say something."""
        return ("" if self.language == "zh" else " ").join(one for one in sentences if one)


def document(title: object, sections: Iterable[Html], language: str) -> str:
    """The whole HTML file: no network, no script; light or dark as the reader's system is; prints well."""
    template = (resources.files("trimtab.study") / "report.html").read_text(encoding="utf-8")
    body = join(part for one in sections for part in (one, Html("\n")))
    tag = {"zh": "zh-CN"}.get(language, language)
    return string.Template(template).substitute(
        language=tag, title=join((title,)), charts=chart_style(), body=body
    )


def chart_style() -> str:
    """Colours and marks, as charts.css has them."""
    return (resources.files("trimtab.study") / "charts.css").read_text(encoding="utf-8")


def section(heading: str, *content: Html) -> Html:
    return element("section", element("h2", heading), *content)


def card(*content: object, style: str | None = None) -> Html:
    return element("div", *content, class_="card", style=style)


def fold(summary: str, *content: Html) -> Html:
    return element("details", element("summary", summary), *content)


def headline(cells: Sequence[Cell]) -> Html:
    """The few figures that matter, each with a note below."""
    drawn = (
        element(
            "div",
            element("dt", name),
            element("dd", value, element("small", note, class_=tone or None)),
        )
        for name, value, note, tone in cells
    )
    return element("dl", *drawn, class_="facts")


def machine_words(machine: Machine, words: Words) -> str:
    device = machine.device
    count = f"{machine.count} × " if machine.count > 1 else ""
    return words.say(
        "TT-R246",
        name=f"{count}{device.name}",
        cores=machine.cores,
        memory=device.memory_bytes,
        usable=device.usable_bytes,
    )


def versions_words(versions: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions)


def hash_words(fingerprint: str) -> str:
    return f"[{fingerprint[:12]}]" if fingerprint else ""


def metric_words(name: str) -> str:
    return name.replace("_", " ")


def part_settings(part: Part) -> str:
    """A part and its settings: "lora (rank 8, alpha 16, targets q v)"."""
    settings = [
        f"{field.name.replace('_', ' ')} {' '.join(map(str, value)) if isinstance(value, tuple) else value}"
        for field in fields(part)
        if (value := getattr(part, field.name)) not in (None, 0, 0.0, (), "")
    ]
    return f"{part.name} ({', '.join(settings)})" if settings else part.name


# ---- the data ----


def data_cards(data: DataSpec, max_length: int, words: Words) -> Html:
    """What the data is: lengths with the place where they are cut, rows, labels, what the check found."""
    lengths = data.cut_at(max_length).lengths
    cut = lengths.share_longer_than(max_length)
    told = words.say("TT-R008" if cut else "TT-R009", cut=cut, length=max_length, longest=lengths.longest)
    name = words.say("TT-R230")
    mark = Mark(max_length, words.say("TT-R231", length=max_length)) if max_length <= lengths.longest else None
    drawing = histogram(name, lengths.counts, mark, "")
    drawn = card(element("h3", name), drawing, element("p", told, class_="note"))
    cards = [drawn, card(facts_list(_data_facts(data, lengths, words)), _balance(data, words))]
    found = card(element("h3", words.say("TT-R236")), _problems(data, words), style="margin-top:16px")
    return join((element("div", *cards, class_="grid"), found))


def _data_facts(data: DataSpec, lengths: LengthHistogram, words: Words) -> list[tuple[str, str]]:
    columns, form = " + ".join(data.columns), f", {data.form}" if data.form else ""
    target = f" → {data.label_column}" if data.label_column else ""
    return [
        (words.say("TT-R234"), f"{data.task} ({columns}{target}{form})"),
        (words.say("TT-R233"), " / ".join(map(format_count, (data.train_rows, data.dev_rows, data.test_rows)))),
        (words.say("TT-R235"), f"{lengths.quantile(0.5)}, {lengths.quantile(0.95)}, {lengths.longest}"),
    ]


def _balance(data: DataSpec, words: Words) -> Html:
    if not data.labels:
        return Html()
    pairs = sorted(zip(data.labels, data.label_counts, strict=True), key=lambda pair: -pair[1])
    if len(pairs) > SHOWN_LABELS:
        rest = sum(count for _, count in pairs[SHOWN_LABELS:])
        pairs = [*pairs[:SHOWN_LABELS], (words.say("TT-R250"), rest)]
    most, total = max(count for _, count in pairs) or 1, data.labelled or 1
    cells = [
        join(
            (
                element("span", label),
                element("i", style=f"--share:{count / most:.4f}"),
                element("b", f"{format_count(count)} · {format_share(count / total)}"),
            )
        )
        for label, count in pairs
    ]
    heading = element("h3", words.say("TT-R232"), style="margin-top:18px")
    return join((heading, element("div", *cells, class_="shares")))


def _problems(data: DataSpec, words: Words) -> Html:
    if not data.problems:
        return element("p", words.say("TT-R010"), class_="note")
    return element("ul", *(_problem(problem, words) for problem in data.problems))


def _problem(problem: Problem, words: Words) -> Html:
    places = ", ".join(
        f"{place.file}, {words.say('TT-R013', row=place.row)}" if place.row else place.file
        for place in problem.places[:3]
    )
    parts = [words.tell(problem.message), problem.message.next_step(words.language)]
    note = element("span", f" {places}", class_="note") if places else Html()
    return element("li", " ".join(part for part in parts if part), note)
