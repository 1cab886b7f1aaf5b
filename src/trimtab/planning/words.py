"""The words for what an estimate names: memory parts, phases and prices, as messages: each language has them."""

from trimtab.errors import Message, message
from trimtab.hardware.machine import Price
from trimtab.hardware.prices import OLD_AFTER_DAYS

_PARTS = {
    "weights": "TT-P401",
    "gradients": "TT-P402",
    "optimizer": "TT-P403",
    "activations": "TT-P404",
    "logits": "TT-P405",
    "temporaries": "TT-P406",
    "runtime": "TT-P407",
}
_PHASES = {
    "load": "TT-P411",
    "forward-backward": "TT-P412",
    "optimizer": "TT-P413",
    "evaluate": "TT-P414",
    "save": "TT-P415",
}


def part_word(part: str) -> Message:
    """The word for a field of `MemoryParts`, named without its unit: "activations"."""
    return message(_PARTS[part])


def phase_word(phase: str) -> Message:
    """The word for a `MemoryEstimate.phase`."""
    return message(_PHASES[phase])


def price_word(price: Price) -> Message:
    """An hour of a machine, whose price that is and of which day, and that it is old where it is."""
    if not price.as_of:
        return message("TT-P421", hourly=price.hourly, origin=price.origin)
    if not price.is_old:
        return message("TT-P422", hourly=price.hourly, origin=price.origin, as_of=price.as_of)
    return message("TT-P423", hourly=price.hourly, origin=price.origin, as_of=price.as_of, days=OLD_AFTER_DAYS)
