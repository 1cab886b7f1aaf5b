"""Prediction: what a finished model says of one input, whatever its task. Plain values, no torch."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entity:
    """A piece of a text that is named: `text` is what stands from `start` to `end` (exclusive), in characters.
    `probability`: of its least probable word."""

    type: str
    text: str
    start: int
    end: int
    probability: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of one input: a label with its probability and all labels' probabilities (highest
    first); or of several labels those that are more likely than not, `labels`; or the value of a regression, the
    `text` it answers, the `vector` of a text, or the `entities` it finds. `ended`: it ended its answer itself."""

    label: str | None
    probability: float | None
    value: float | None
    scores: tuple[tuple[str, float], ...]
    text: str | None = None
    ended: bool | None = None
    vector: tuple[float, ...] | None = None
    labels: tuple[tuple[str, float], ...] | None = None
    entities: tuple[Entity, ...] | None = None
