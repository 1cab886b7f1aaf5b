"""TrainedTensors: what a strategy trains in one place of the model, counted over the layers that are alike."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from trimtab.methods.part import Shape

_LAYER = re.compile(r"\.(\d+)\.")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedTensors:
    """`name`: the parameter's, with {first-last} in place of the layer's number; `count` of them, each of
    `shape`."""

    name: str
    shape: Shape
    count: int
    parameters: int


def grouped_tensors(tensors: Iterable[tuple[str, Shape]]) -> tuple[TrainedTensors, ...]:
    """Tensors by place, in the order of their first: those that differ in the number of the layer are one."""
    found: dict[tuple[str, Shape], list[str]] = {}
    for name, shape in tensors:
        found.setdefault((_LAYER.sub(".*.", name), shape), []).append(name)
    return tuple(
        TrainedTensors(
            name=_together(names), shape=shape, count=len(names), parameters=len(names) * math.prod(shape)
        )
        for (_, shape), names in found.items()
    )


def _together(names: list[str]) -> str:
    """One name for parameters that differ in numbers alone: "layer.{4-5}.output.bias"."""
    columns = [
        sorted({int(number) for number in numbers}) for numbers in zip(*map(_LAYER.findall, names), strict=True)
    ]
    numbers = iter(columns)
    return _LAYER.sub(lambda _: f".{_range(next(numbers))}.", names[0])


def _range(numbers: list[int]) -> str:
    """5, {0-5}, or {0,2,4} where some are left out."""
    if len(numbers) == 1:
        return str(numbers[0])
    whole = len(numbers) == numbers[-1] - numbers[0] + 1
    return f"{{{numbers[0]}-{numbers[-1]}}}" if whole else f"{{{','.join(map(str, numbers))}}}"
