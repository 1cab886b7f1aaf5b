"""The words for what an estimate names: memory parts and phases, as messages: each language has them."""

from trimtab.errors import Message, message

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
