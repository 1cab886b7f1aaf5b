"""Importance: what heads, neurons and layers of a model are worth to its loss. Pure; importance.py measures it."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Importance:
    """Mean absolute change of a row's loss when it is taken away, to first order, float64. `groups`: of each layer
    (its key and value heads, each with the query heads that share it); `neurons`: of each layer (its inner
    neurons)."""

    groups: tuple[np.ndarray, ...]
    neurons: tuple[np.ndarray, ...]

    @property
    def layers(self) -> np.ndarray:
        """Of whole layers: the sum over all gates of each, float64 (layers)."""
        both = zip(self.groups, self.neurons, strict=True)
        return np.array([groups.sum() + neurons.sum() for groups, neurons in both])

    def only(self, numbers: Iterable[int]) -> "Importance":
        """The layers of those numbers, in their order."""
        numbers = tuple(numbers)
        return Importance(
            groups=tuple(self.groups[number] for number in numbers),
            neurons=tuple(self.neurons[number] for number in numbers),
        )
