"""methods: Parts (one file each: fields and arithmetic), Strategy, and the presets a user names.

Leaves out: anything with weights. The torch half of each part is in `trimtab.tuning`.
"""

import difflib

from trimtab.errors import ModelError, UsageError, message
from trimtab.methods.base_precision import QUANTISED, BasePrecision
from trimtab.methods.biases import Biases
from trimtab.methods.bottleneck import PLACEMENTS, Bottleneck, Placement
from trimtab.methods.head import Head
from trimtab.methods.ia3 import Ia3
from trimtab.methods.language_head import LanguageHead
from trimtab.methods.lora import LORA_VARIANTS, Lora, LoraVariant
from trimtab.methods.part import Adapter, LayerAdapter, LayerLoad, Part, Place, Shape, Shapes, Trains, lowest_place
from trimtab.methods.pooling import Pooling
from trimtab.methods.prefix import Prefix
from trimtab.methods.preset import METHODS, PARTS, Choices, Method, lora_targets, parts_for
from trimtab.methods.prompt import Prompt
from trimtab.methods.ptuning import PTuning
from trimtab.methods.serial import strategy_from_json, strategy_to_json
from trimtab.methods.stage import STAGE_PRESETS, Stage, StagePreset, stages_from
from trimtab.methods.strategy import (
    DECAYS,
    DEFAULT_TEMPERATURE,
    PRECISIONS,
    Decay,
    Precision,
    Schedule,
    Strategy,
    balanced_weights,
)
from trimtab.methods.token_head import TokenHead
from trimtab.methods.trained import TrainedTensors, grouped_tensors
from trimtab.methods.update_rule import (
    UPDATE_RULES,
    Adafactor,
    AdamW,
    AdamW8bit,
    Lion,
    PagedAdamW8bit,
    UpdateRule,
)
from trimtab.methods.virtual_tokens import VirtualTokens
from trimtab.methods.weights import Weights

__all__ = [
    "DECAYS",
    "DEFAULT_TEMPERATURE",
    "LORA_VARIANTS",
    "METHODS",
    "PARTS",
    "PLACEMENTS",
    "PRECISIONS",
    "QUANTISED",
    "STAGE_PRESETS",
    "UPDATE_RULES",
    "Adafactor",
    "AdamW",
    "AdamW8bit",
    "Adapter",
    "BasePrecision",
    "Biases",
    "Bottleneck",
    "Choices",
    "Decay",
    "Head",
    "Ia3",
    "LanguageHead",
    "LayerAdapter",
    "LayerLoad",
    "Lion",
    "Lora",
    "LoraVariant",
    "Method",
    "PTuning",
    "PagedAdamW8bit",
    "Part",
    "Place",
    "Placement",
    "Pooling",
    "Precision",
    "Prefix",
    "Prompt",
    "Schedule",
    "Shape",
    "Shapes",
    "Stage",
    "StagePreset",
    "Strategy",
    "TokenHead",
    "TrainedTensors",
    "Trains",
    "UpdateRule",
    "VirtualTokens",
    "Weights",
    "balanced_weights",
    "grouped_tensors",
    "lora_targets",
    "lowest_place",
    "method_named",
    "parts_for",
    "refuse_unmergeable",
    "stages_from",
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


def refuse_unmergeable(strategy: Strategy) -> None:
    """Raises ModelError TT-T071 where no weights of the base compute what the strategy adds: asked before anything
    is loaded."""
    for part in strategy.parts:
        if part.adapter and not part.mergeable:
            raise ModelError("TT-T071", method=strategy.method, why=message(part.unmergeable))
