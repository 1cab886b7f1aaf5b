"""methods: Parts (one file each: fields and arithmetic), Strategy, and the presets a user names.

Leaves out: anything with weights. The torch half of each part is in `trimtab.tuning`.
"""

import difflib

from trimtab.errors import UsageError
from trimtab.methods.head import Head
from trimtab.methods.language_head import LanguageHead
from trimtab.methods.lora import Lora
from trimtab.methods.part import LayerLoad, Part
from trimtab.methods.preset import METHODS, Choices, Method, lora_targets, parts_for
from trimtab.methods.serial import strategy_from_json, strategy_to_json
from trimtab.methods.strategy import PRECISIONS, AdamW, Precision, Schedule, Strategy
from trimtab.methods.weights import Weights

PARTS: tuple[type[Part], ...] = (Weights, Head, Lora)
"""What a classifier can be given; `LanguageHead` takes the place of the head in a chat model."""

__all__ = [
    "METHODS",
    "PARTS",
    "PRECISIONS",
    "AdamW",
    "Choices",
    "Head",
    "LanguageHead",
    "LayerLoad",
    "Lora",
    "Method",
    "Part",
    "Precision",
    "Schedule",
    "Strategy",
    "Weights",
    "lora_targets",
    "method_named",
    "parts_for",
    "strategy_from_json",
    "strategy_to_json",
]


def method_named(name: str) -> Method:
    """The preset of that name. Raises UsageError TT-U010 with the nearest name."""
    known = {method.name: method for method in METHODS}
    if name in known:
        return known[name]
    nearest = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.0)[0]
    raise UsageError("TT-U010", name=name, suggestion=nearest, known=", ".join(known))
