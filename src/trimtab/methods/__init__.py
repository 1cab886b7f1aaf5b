"""methods: Parts (one file each: fields and arithmetic), Strategy, and the presets a user names.

Leaves out: anything with weights. The torch half of each part is in `trimtab.tuning`.
"""

import difflib

from trimtab.errors import UsageError
from trimtab.methods.head import Head
from trimtab.methods.lora import Lora
from trimtab.methods.part import LayerLoad, Part, Shape, Shapes
from trimtab.methods.preset import METHODS, Choices, Method, lora_targets
from trimtab.methods.serial import strategy_from_json, strategy_to_json
from trimtab.methods.strategy import DECAYS, PRECISIONS, Decay, Precision, Schedule, Strategy, balanced_weights
from trimtab.methods.trained import TrainedTensors
from trimtab.methods.update_rule import (
    UPDATE_RULES,
    Adafactor,
    AdamW,
    AdamW8bit,
    Lion,
    PagedAdamW8bit,
    UpdateRule,
)
from trimtab.methods.weights import Weights

PARTS: tuple[type[Part], ...] = (Weights, Head, Lora)

__all__ = [
    "DECAYS",
    "METHODS",
    "PARTS",
    "PRECISIONS",
    "UPDATE_RULES",
    "Adafactor",
    "AdamW",
    "AdamW8bit",
    "Choices",
    "Decay",
    "Head",
    "LayerLoad",
    "Lion",
    "Lora",
    "Method",
    "PagedAdamW8bit",
    "Part",
    "Precision",
    "Schedule",
    "Shape",
    "Shapes",
    "Strategy",
    "TrainedTensors",
    "UpdateRule",
    "Weights",
    "balanced_weights",
    "lora_targets",
    "method_named",
    "strategy_from_json",
    "strategy_to_json",
    "update_rule_named",
]


def method_named(name: str) -> Method:
    """The preset of that name. Raises UsageError TT-U010 with the nearest name."""
    known = {method.name: method for method in METHODS}
    if name in known:
        return known[name]
    nearest = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.0)[0]
    raise UsageError("TT-U010", name=name, suggestion=nearest, known=", ".join(known))


def update_rule_named(name: str) -> UpdateRule:
    """The update rule of that name with its defaults. Raises UsageError TT-U040 with the nearest name."""
    known = {rule.name: rule for rule in UPDATE_RULES}
    if name in known:
        return known[name]()
    nearest = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.0)[0]
    raise UsageError("TT-U040", name=name, suggestion=nearest, known=", ".join(known))
