"""The words for what an estimate names: memory parts, phases and prices, as messages: each language has them."""

from trimtab.errors import Message, message
from trimtab.hardware.machine import Basis, Price
from trimtab.hardware.prices import OLD_AFTER_DAYS

_PARTS = {
    "weights": "TT-P401",
    "gradients": "TT-P402",
    "optimizer": "TT-P403",
    "activations": "TT-P404",
    "logits": "TT-P405",
    "temporaries": "TT-P406",
    "runtime": "TT-P407",
    "teacher": "TT-C131",
    "prefix": "TT-P362",
}
_PHASES = {
    "load": "TT-P411",
    "forward-backward": "TT-P412",
    "optimizer": "TT-P413",
    "evaluate": "TT-P414",
    "save": "TT-P415",
    "ask": "TT-C132",
    "prefix": "TT-P363",
}
_HOURLY: dict[Basis, str] = {"list": "TT-P424", "median": "TT-P425", "lowest": "TT-P426"}


def part_word(part: str) -> Message:
    """The word for a field of `MemoryParts`, named without its unit: "activations"."""
    return message(_PARTS[part])


def phase_word(phase: str) -> Message:
    """The word for a `MemoryEstimate.phase`."""
    return message(_PHASES[phase])


def span_word(first: int, last: int, layers: int) -> Message:
    """The layers that a stage trains: "embeddings, layers 0-3", "layer 5", "the head alone"."""
    if first >= layers:
        return message("TT-P096")
    if last < 0:
        return message("TT-P097")
    code = "TT-P098" if first < 0 else "TT-P099"
    return message(code, layers=f"{max(0, first)}-{last}" if max(0, first) < last else str(last))


def hourly_word(price: Price) -> Message:
    """An hour of a machine: "2.68 CNY", "about 2.68 CNY" by a market's median, "from 2.68 CNY" by its lowest."""
    return message(_HOURLY[price.basis], hourly=price.hourly)


def price_word(price: Price) -> Message:
    """An hour of a machine, whose price that is and of which day, and that it is old where it is."""
    hourly = hourly_word(price)
    if not price.as_of:
        return message("TT-P421", hourly=hourly, origin=price.origin)
    if not price.is_old:
        return message("TT-P422", hourly=hourly, origin=price.origin, as_of=price.as_of)
    return message("TT-P423", hourly=hourly, origin=price.origin, as_of=price.as_of, days=OLD_AFTER_DAYS)
