"""Stage: a stretch of a training in which some layers are trained and the others are left as they are.

Written `layers=3-5,epochs=2,lr=1e-4,patience=1`, several of them with semicolons between, or named: "top-down"
begins with the highest layers and takes in lower ones stage by stage (gradual unfreezing: Howard and Ruder 2018,
arXiv 1801.06146, section 3.3), "bottom-up" trains the lower half and then the upper half. What stands above the
layers (pooler, head, final norm) is trained in every stage. Leaves out what of a layer is trained, as parts do.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Literal

from trimtab.errors import UsageError

StagePreset = Literal["top-down", "bottom-up"]
EMBEDDINGS = -1  # as a number of a layer
_MOST_STEPS_DOWN = 3  # stages of "top-down"
_WORDS = ("all", "head", "embeddings")


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """Layers `first` to `last`: 0 the lowest, -1 the embeddings; from the number of layers on, none of them.

    `learning_rate`: None = the schedule's times `rate_share`. It ends after `epochs`, or when `patience`
    evaluations in a row were no better than the best so far (0 = never)."""

    first: int
    last: int
    epochs: int = 1
    learning_rate: float | None = None
    rate_share: float = 1.0
    patience: int = 0


def stages_from(text: str, lowest: int, layers: int, epochs: int) -> tuple[Stage, ...]:
    """The stages that `text` names or writes out. `lowest`: the lowest layer that a method trains, of `layers`;
    `epochs`: what a name shares out among its stages, the later ones getting more.

    Raises UsageError TT-U095 to TT-U097 where it cannot be read, or names a layer that is not there."""
    named = STAGE_PRESETS.get(text)  # type: ignore[call-overload]
    if named is not None:
        return named(lowest, layers, epochs)
    return tuple(_read(piece.strip(), layers) for piece in text.split(";") if piece.strip())


def _top_down(lowest: int, layers: int, epochs: int) -> tuple[Stage, ...]:
    depth = layers - max(0, lowest)
    count = max(1, min(_MOST_STEPS_DOWN, epochs, depth))
    firsts = [layers - -(-depth * number // count) for number in range(1, count)] + [lowest]
    return tuple(
        Stage(first=first, last=layers - 1, epochs=share)
        for first, share in zip(firsts, _shared_out(epochs, count), strict=True)
    )


def _bottom_up(lowest: int, layers: int, epochs: int) -> tuple[Stage, ...]:
    depth = layers - max(0, lowest)
    count = max(1, min(2, epochs, depth))
    bounds = [lowest, *(layers - depth // 2 for _ in range(count - 1)), layers]
    return tuple(
        Stage(first=first, last=above - 1, epochs=share)
        for (first, above), share in zip(pairwise(bounds), _shared_out(epochs, count), strict=True)
    )


def _shared_out(epochs: int, count: int) -> list[int]:
    return [epochs // count + (number >= count - epochs % count) for number in range(count)]


STAGE_PRESETS: Mapping[StagePreset, Callable[[int, int, int], tuple[Stage, ...]]] = MappingProxyType(
    {"top-down": _top_down, "bottom-up": _bottom_up}
)


def _read(text: str, layers: int) -> Stage:
    """One stage as it is written."""
    said = dict(piece.strip().partition("=")[::2] for piece in text.split(","))
    if "layers" not in said:
        raise UsageError("TT-U096", stage=text, known=", ".join(STAGE_PRESETS))
    found: dict[str, float] = {}
    for name, value in said.items():
        if name not in _READERS:
            raise UsageError("TT-U095", stage=text, piece=name)
        try:
            found |= _READERS[name](value, layers)
        except ValueError as error:
            raise UsageError("TT-U095", stage=text, piece=f"{name}={value}") from error
    return Stage(**found)  # type: ignore[arg-type]


def _layers(value: str, layers: int) -> dict[str, float]:
    whole = {"all": (EMBEDDINGS, layers - 1), "head": (layers, layers), "embeddings": (EMBEDDINGS, EMBEDDINGS)}
    if value in whole:
        first, last = whole[value]
        return {"first": first, "last": last}
    low, dash, high = value.partition("-")
    first = EMBEDDINGS if low == "embeddings" else int(low)
    last = int(high) if dash else first
    if not EMBEDDINGS <= first <= last:
        raise ValueError(value)
    if last >= layers:
        raise UsageError("TT-U097", asked=value, highest=layers - 1)
    return {"first": first, "last": last}


def _rate(value: str, layers: int) -> dict[str, float]:
    """ "1e-4", or "0.5x" of the method's."""
    rate = float(value.removesuffix("x"))
    if not 0 < rate < float("inf"):
        raise ValueError(value)
    return {"rate_share" if value.endswith("x") else "learning_rate": rate}


def _count(name: str, least: int) -> Callable[[str, int], dict[str, float]]:
    def read(value: str, layers: int) -> dict[str, float]:
        count = int(value)
        if count < least:
            raise ValueError(value)
        return {name: count}

    return read


_READERS: Mapping[str, Callable[[str, int], dict[str, float]]] = {
    "layers": _layers,
    "epochs": _count("epochs", 1),
    "lr": _rate,
    "patience": _count("patience", 0),
}
