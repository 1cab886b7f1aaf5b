"""Prediction: what a finished model says of one input, whatever its task. Plain values, no torch."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of one input: a label with its probability and all labels' probabilities (highest first),
    or the value of a regression, or the `text` it answers, or the `vector` of a text. `ended`: it ended its answer
    itself."""

    label: str | None
    probability: float | None
    value: float | None
    scores: tuple[tuple[str, float], ...]
    text: str | None = None
    ended: bool | None = None
    vector: tuple[float, ...] | None = None
