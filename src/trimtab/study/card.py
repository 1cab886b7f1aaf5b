"""The model card: README.md of an artifact, YAML front matter as model hubs read it and the facts in short.

Leaves out what Trimtab does not know, above all the language of the data and its licence: the user adds them.
"""

from collections.abc import Callable, Iterator, Sequence

import trimtab
from trimtab.errors import message
from trimtab.methods import Adapter
from trimtab.study.report import Report
from trimtab.units import format_bytes, format_count, format_seconds, format_share

_PIPELINES = {
    "classify": "text-classification",
    "pair": "text-classification",
    "multilabel": "text-classification",
    "tag": "token-classification",
    "regress": "text-classification",
    "instruct": "text-generation",
    "embed": "sentence-similarity",
    "text": "text-generation",
}
Say = Callable[..., str]  # a code and its facts to the sentence, in one language

_SHOWN_LABELS = 50
_MARKDOWN = frozenset("\\`*_[]#|<>~")


def model_card(report: Report, *, library_name: str = "transformers", language: str = "en") -> str:
    """README.md. `library_name` is what loads the artifact: "transformers", or "peft" for an adapter
    alone."""
    front = "\n".join(_front_matter(report, library_name))
    return f"---\n{front}\n---\n\n" + "\n".join(_body(report, library_name, language)) + "\n"


def yaml_text(text: str) -> str:
    """A YAML double-quoted scalar: one line, whatever the text holds. What does not print is written as an
    escape."""
    escaped = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}
    return '"' + "".join(escaped.get(mark) or _printed(mark) for mark in text) + '"'


def markdown_text(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    line = " ".join(text.split())
    return "".join(f"\\{mark}" if mark in _MARKDOWN else mark for mark in line if mark.isprintable())


def _printed(mark: str) -> str:
    if mark.isprintable():
        return mark
    code = ord(mark)
    if 0xD800 <= code <= 0xDFFF:
        return "\\uFFFD"  # half a character is no character in YAML
    return f"\\x{code:02X}" if code < 0x100 else f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"


def _front_matter(report: Report, library_name: str) -> Iterator[str]:
    score = report.run.test or report.run.dev
    method = report.plan.chosen.estimate.strategy.method
    yield f"base_model: {yaml_text(report.model.hub_id or report.model.name)}"
    yield f"library_name: {yaml_text(library_name)}"
    yield f"pipeline_tag: {yaml_text(_PIPELINES[report.data.task])}"
    yield from _yaml_list("datasets", [report.data.name])
    yield from _yaml_list("metrics", [metric.name for metric in score.metrics])
    yield from _yaml_list("tags", ["trimtab", method, report.data.task])


def _yaml_list(name: str, values: Sequence[str]) -> Iterator[str]:
    yield f"{name}:"
    for value in values:
        yield f"  - {yaml_text(value)}"


def _body(report: Report, library_name: str, language: str) -> Iterator[str]:
    def say(code: str, **facts: object) -> str:
        return message(code, **facts).text(language)

    plan = report.plan
    model = markdown_text(plan.model)
    strategy = plan.chosen.estimate.strategy
    method = strategy.method
    yield f"# {model} × {markdown_text(plan.data)}"
    yield ""
    yield say("TT-R018", version=trimtab.__version__, method=method, base=model)
    if not all(part.in_peft for part in plan.chosen.estimate.strategy.parts if isinstance(part, Adapter)):
        yield ""
        yield say("TT-R019")
    if strategy.base_precision != "same" and library_name == "peft":  # a whole model has been unpacked
        yield ""
        yield say("TT-R024", base=strategy.base_precision)
    sections = (
        ("TT-R103", _scores(report, say)),
        ("TT-R101", _compared(report, say)),
        ("TT-R108", _data(report, say)),
        ("TT-R110", _code_block(report.command)),
    )
    for heading, lines in sections:
        yield from ("", f"## {say(heading)}", "", *lines)


def _scores(report: Report, say: Say) -> Iterator[str]:
    yield f"| | {say('TT-R210')} | | {say('TT-R211')} | {say('TT-R216')} |"
    yield "|---|---|---:|---:|---:|"
    for score in (report.run.dev, report.run.test):
        if score is None:
            continue
        for metric in score.metrics:
            interval = f"{metric.low:.3f} – {metric.high:.3f}"
            figures = f"{metric.value:.3f} | {interval} | {score.n:,}"
            yield f"| {score.split} | {markdown_text(metric.name)} | {figures} |"


def _data(report: Report, say: Say) -> Iterator[str]:
    data = report.data
    rows = " / ".join(map(format_count, (data.train_rows, data.dev_rows, data.test_rows)))
    yield f"- {say('TT-R233')}: {rows}"
    if data.labels:
        labels = ", ".join(markdown_text(label) for label in data.labels[:_SHOWN_LABELS])
        more = len(data.labels) - _SHOWN_LABELS
        yield f"- {say('TT-R212')}: {labels}" + (f" … {say('TT-R012', count=more)}" if more > 0 else "")


def _compared(report: Report, say: Say) -> Iterator[str]:
    evidence = report.comparisons[0].evidence_word
    yield f"| | {say('TT-R204', evidence=evidence)} | {say('TT-R205')} | |"
    yield "|---|---:|---:|---:|"
    for entry in report.comparisons[:2]:
        show = format_bytes if entry.quantity == "memory" else format_seconds
        word = say("TT-R201" if entry.quantity == "memory" else "TT-R202")
        error = f"{'+' if entry.error_share >= 0 else '-'}{format_share(abs(entry.error_share))}"
        yield f"| {word} | {show(entry.predicted.value)} | {show(entry.measured)} | {error} |"


def _code_block(text: str) -> Iterator[str]:
    """Fenced by more backticks than the text has in a row."""
    longest = max((len(run) for run in "".join(m if m == "`" else " " for m in text).split()), default=0)
    fence = "`" * max(3, longest + 1)
    yield f"{fence}sh"
    yield text
    yield fence
