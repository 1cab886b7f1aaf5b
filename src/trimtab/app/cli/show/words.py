"""Small words of the tables: strategies, shares, intervals, evidence."""

import math

from trimtab.app.cli.face import Face
from trimtab.errors.quantities import format_bytes, format_money, format_seconds, format_share
from trimtab.methods import AdamW, Strategy
from trimtab.units import Currency, Evidence, ExchangeRate, Figure

_EVIDENCE = {
    Evidence.RULE: "TT-V301",
    Evidence.FORMULA: "TT-V302",
    Evidence.DRY_RUN: "TT-V303",
    Evidence.PROBE: "TT-V304",
    Evidence.MEASURED: "TT-V305",
}
_SECOND_UNITS = ((1.0, "s"), (60.0, "min"), (3600.0, "h"), (86400.0, "d"))


def evidence_word(evidence: Evidence, face: Face) -> str:
    return face.say(_EVIDENCE[evidence])


def depth_word(strategy: Strategy, face: Face) -> str:
    """ "top 4", or nothing where all layers or none are trained."""
    depths = [getattr(part, "top_layers", None) for part in strategy.parts]
    deepest = next((depth for depth in depths if depth is not None), None)
    return face.say("TT-V310", layers=deepest) if deepest is not None else ""


def form_word(strategy: Strategy, face: Face) -> str:
    """What a strategy does to need less memory, and in how many stages, or nothing: "recompute, adamw8bit"."""
    words = [face.say("TT-V314")] if strategy.recompute else []
    if strategy.packed:
        words.append(face.say("TT-V316"))
    if strategy.prefix_cache:
        words.append(face.say("TT-V851"))
    if strategy.optimizer.name != AdamW.name:
        words.append(strategy.optimizer.name)
    if strategy.schedule.stages:
        words.append(face.say("TT-V315", count=len(strategy.schedule.stages)))
    return ", ".join(words)


def short_count(count: float) -> str:
    """Parameters as people say them: 22713216 -> "22.7 M"."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= 0.9995 * size:
            value = count / size
            return f"{value:.0f}{unit}" if value >= 99.95 else f"{value:.1f}{unit}"
    return f"{count:.0f}"


def trained_words(trainable: int, total: int) -> tuple[str, str]:
    return short_count(trainable), format_share(trainable / total)


def bytes_range(figure: Figure) -> str:
    """The interval in one unit: "1.1–1.3 GiB"."""
    exponent = min(int(math.log(max(figure.high, 1), 1024)), 5)
    if figure.high / 1024**exponent >= 1000 and exponent < 5:
        exponent += 1
    unit = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")[exponent]
    return _range(figure, 1024.0**exponent, unit)


def seconds_range(figure: Figure) -> str:
    """The interval in one unit: "9.1–11 min"."""
    size, unit = next(
        ((size, unit) for size, unit in reversed(_SECOND_UNITS) if figure.high >= 2 * size), _SECOND_UNITS[0]
    )
    return _range(figure, size, unit)


def money_range(figure: Figure, currency: Currency) -> str:
    """ "0.50–2.00 CNY" """
    return f"{format_money(figure.low, '').strip()}–{format_money(figure.high, currency)}"


def points_word(figure: Figure) -> str:
    """ "-0.3"; "0" for full tuning."""
    return f"{figure.value:+.1f}" if figure.value else "0"


def points_range(figure: Figure) -> str:
    """ "-2…+1"; nothing for full tuning, which is the measure of itself."""
    return f"{figure.low:+.0f}…{figure.high:+.0f}" if figure.low < figure.high else ""


def bytes_word(figure: Figure) -> str:
    return format_bytes(figure.value)


def seconds_word(figure: Figure) -> str:
    return format_seconds(figure.value)


def money_word(figure: Figure, currency: Currency) -> str:
    return format_money(figure.value, currency)


def rate_words(rate: ExchangeRate) -> str:
    """ "1 USD = 7.2 CNY, 2026-11-22" """
    dated = f", {rate.as_of}" if rate.as_of else ""
    return f"1 USD = {rate.cny_per_usd:g} CNY{dated}"


def _range(figure: Figure, size: float, unit: str) -> str:
    return f"{_two_digits(figure.low / size)}–{_two_digits(figure.high / size)} {unit}"


def _two_digits(value: float) -> str:
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"
