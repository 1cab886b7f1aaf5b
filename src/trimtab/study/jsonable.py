"""Facts as JSON: any frozen dataclass of ours, field by field, under its own names, which carry the units.

Leaves out what is too long to print (a histogram becomes its quantiles) and what JSON cannot say (NaN and
infinity become null).
"""

import math
from dataclasses import fields, is_dataclass
from typing import Any

from trimtab.data.spec import LengthHistogram
from trimtab.errors import Message
from trimtab.methods import Part, UpdateRule
from trimtab.models.spec import ModelSpec


def jsonable(value: object, language: str = "en") -> Any:
    """`value` in lists, dicts, numbers, strings and null. Messages are told in `language`."""
    if isinstance(value, Message):
        return _message(value, language)
    if isinstance(value, LengthHistogram):
        return _lengths(value)
    if is_dataclass(value) and not isinstance(value, type):
        named: dict[str, Any] = {"part": value.name} if isinstance(value, Part) else {}
        if isinstance(value, UpdateRule):
            named["rule"] = value.name
        if isinstance(value, ModelSpec):
            named["can_be_trained"] = value.can_be_trained
        return named | {field.name: jsonable(getattr(value, field.name), language) for field in fields(value)}
    if isinstance(value, tuple | list):
        return [jsonable(item, language) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _message(said: Message, language: str) -> dict[str, Any]:
    return {
        "code": said.code,
        "text": said.text(language),
        "next": said.next_step(language),
        "facts": {name: jsonable(value, language) for name, value in said.facts},
    }


def _lengths(lengths: LengthHistogram) -> dict[str, Any]:
    quantiles = {f"p{percent}": lengths.quantile(percent / 100) for percent in (50, 95, 99)}
    mean = round(lengths.mean(lengths.longest), 2)
    return {"examples": lengths.examples, "mean": mean, **quantiles, "longest": lengths.longest}
