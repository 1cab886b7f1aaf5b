"""The wide tables of a bake-off's page: who was measured, everyone with a reason, predicted beside measured."""

from trimtab.study import comparison_facts as facts
from trimtab.study.bakeoff import Bakeoff, Measure, Standing, TrialResult
from trimtab.study.html import Html, element, join, table
from trimtab.study.page_parts import Words, metric_words, part_settings
from trimtab.units import Figure, Foretold, format_bytes, format_count, format_seconds, format_share

_NONE = "–"


def measured_table(bakeoff: Bakeoff, words: Words) -> Html:
    """Full against light tuning, as measured here; below each figure what goes with it."""
    metric, again = metric_words(bakeoff.metric), bakeoff.split == "test"
    heads = [
        words.say("TT-B180"),
        f"{metric} (dev)",
        *([f"{metric} (test)"] if again else []),
        words.say("TT-B181"),
        words.say("TT-B190", name=words.say("TT-B150")),
        words.say("TT-B190", name=words.say("TT-B151")),
        words.say("TT-B182"),
        words.say("TT-B183"),
    ]
    rows = [_measured_row(bakeoff, one, words, again) for one in bakeoff.measured]
    return table(
        heads,
        rows,
        numbers=range(1, len(heads)),
        stacked=True,
        styles=[_style(bakeoff, one) for one in bakeoff.measured],
        name="plan",
    )


def _measured_row(bakeoff: Bakeoff, one: Standing, words: Words, again: bool) -> list[object]:
    best = one.best
    assert best is not None, "it was trained in earnest"
    return [
        _named(one, words, _trained(one, words)),
        _score(best.dev, "" if again else _seeds(one, "dev", words)),
        *([_score(best.test, _seeds(one, "test", words))] if again else []),
        _difference(bakeoff, one),
        _beside(facts.memory_beside(one), is_bytes=True),
        _beside(facts.seconds_beside(one), is_bytes=False),
        _speed(one, best),
        _kept(one, words),
    ]


def standings_table(bakeoff: Bakeoff, words: Words) -> Html:
    """Every strategy: how far it came, with what score, and why it stands where it does."""
    metric = metric_words(bakeoff.metric)
    codes = ("TT-R222", "TT-B185", "TT-B186")
    heads = [
        words.say("TT-B180"),
        *(words.say(code) for code in codes),
        f"{metric} (dev)",
        words.say("TT-B187"),
        words.say("TT-R225"),
    ]
    rows = [_standing_row(one, words, len(bakeoff.models) > 1) for one in bakeoff.standings]
    styles = [_style(bakeoff, one) for one in bakeoff.standings]
    return table(heads, rows, numbers=(3, 4, 5), stacked=True, styles=styles, blocks=(1, 6), name="plan")


def _standing_row(one: Standing, words: Words, several: bool) -> list[object]:
    best, estimate = one.best, one.estimate
    parts = "; ".join(part_settings(part) for part in estimate.strategy.parts)
    predicted = _two(
        format_bytes(estimate.memory.peak_bytes.value), format_seconds(estimate.time.total_seconds.value)
    )
    return [
        _named(one, words, facts.short_model(one.entrant.model) if several else ""),
        parts,
        _reached(best, words),
        facts.rate_words(best.trial.learning_rate) if best is not None else _NONE,
        _score(best.dev if best is not None else None),
        predicted,
        _reason(one, words),
    ]


def _reason(one: Standing, words: Words) -> Html:
    failures = [result.failure for result in one.trials if result.failure is not None]
    first = words.together((words.tell(one.reason), one.reason.next_step(words.language)))
    if not failures or failures[0].code == one.reason.code:
        return join((first,))
    more = words.say("TT-B188", count=len(failures), why=failures[0])
    return element("div", first, element("small", more))


def _reached(best: TrialResult | None, words: Words) -> Html:
    if best is None:
        return _two(_NONE)
    rows = words.say("TT-B189", rows=best.trial.rows, epochs=best.trial.epochs)
    return _two(words.tell(facts.rung_word(best.trial.rung)), rows)


def predicted_table(bakeoff: Bakeoff, words: Words) -> Html:
    """Memory and training time, predicted with its interval, measured, and how far off."""
    known = [one for one in bakeoff.measured if facts.memory_beside(one) or facts.seconds_beside(one)]
    if not known:
        return Html()
    memory, time = words.say("TT-B150"), words.say("TT-B151")
    heads = [words.say("TT-B180")]
    for name in (memory, time):
        heads += [words.say("TT-B191", name=name), words.say("TT-B197", name=name), words.say("TT-B192")]
    rows = [
        [
            one.entrant.name,
            *_three(facts.memory_beside(one), words, is_bytes=True),
            *_three(facts.seconds_beside(one), words, is_bytes=False),
        ]
        for one in known
    ]
    return table(heads, rows, numbers=range(1, 7), stacked=True)


def _three(beside: Foretold | None, words: Words, *, is_bytes: bool) -> list[object]:
    if beside is None:
        return [_NONE] * 3
    printed = format_bytes if is_bytes else format_seconds
    inside = words.say("TT-B193" if beside.inside else "TT-B194")
    error = element("span", _percent(beside.error_share), class_="good" if beside.inside else "bad")
    predicted = beside.predicted
    return [
        _two(printed(predicted.value), _range(predicted, is_bytes=is_bytes)),
        printed(beside.measured),
        _two(error, inside),
    ]


def _style(bakeoff: Bakeoff, one: Standing) -> str:
    if one is bakeoff.chosen:
        return "chosen"
    return "no" if one.status in ("failed", "no time") else "yes"


def _named(one: Standing, words: Words, note: str) -> Html:
    tag = {"chosen": "chosen", "failed": "no"}.get(one.status, "yes")
    word = element("span", words.tell(facts.status_word(one)), class_=f"tag {tag}")
    small = element("small", note) if note else Html()
    return element("div", element("b", one.entrant.name), " ", word, small)


def _trained(one: Standing, words: Words) -> str:
    share = one.estimate.trainable_parameters / max(1, one.estimate.total_parameters)
    return words.say("TT-B195", share=share)


def _score(measure: Measure | None, more: str = "") -> Html:
    if measure is None:
        return _two(_NONE)
    interval = f"{facts.score_words(measure.low)} – {facts.score_words(measure.high)}"
    return _two(facts.score_words(measure.value), interval, more)


def _seeds(one: Standing, split: str, words: Words) -> str:
    """What the other seeds gave."""
    measures = [result.test if split == "test" else result.dev for result in one.again]
    values = [facts.score_words(measure.value) for measure in measures if measure is not None]
    return words.say("TT-B196", values=", ".join(values)) if values else ""


def _difference(bakeoff: Bakeoff, one: Standing) -> Html:
    gained = facts.difference(bakeoff, one)
    if one is bakeoff.chosen or gained is None:
        return _two(_NONE)
    interval = facts.difference_interval(one)
    shown = "" if interval is None else " … ".join(map(facts.signed_words, interval))
    return _two(facts.signed_words(gained), shown)


def _beside(beside: Foretold | None, *, is_bytes: bool) -> Html:
    if beside is None:
        return _two(_NONE)
    printed = format_bytes if is_bytes else format_seconds
    return _two(printed(beside.measured), f"({printed(beside.predicted.value)})")


def _speed(one: Standing, best: TrialResult) -> Html:
    compared = one.compared
    alone = f"({format_seconds(compared.text_seconds)})" if compared is not None and compared.text_seconds else ""
    return _two(_count(best.samples_per_second), alone)


def _kept(one: Standing, words: Words) -> Html:
    """How large it is, and whether it can be one of several on a base, or be folded into the base."""
    able = [words.say(code) for code, can in (("TT-B143", one.switchable), ("TT-B144", one.mergeable)) if can]
    return _two(format_bytes(one.artifact_bytes) if one.artifact_bytes else _NONE, *able)


def _two(main: object, *notes: str) -> Html:
    return element("div", main, *(element("small", note) for note in notes if note))


def _range(figure: Figure, *, is_bytes: bool) -> str:
    printed = format_bytes if is_bytes else format_seconds
    return f"{printed(figure.low)} – {printed(figure.high)}"


def _count(value: float) -> str:
    return format_count(value) if value >= 100 else f"{value:.1f}"


def _percent(share: float) -> str:
    sign = "+" if share >= 0 else "\N{MINUS SIGN}"
    return f"{sign}{format_share(abs(share))}"
