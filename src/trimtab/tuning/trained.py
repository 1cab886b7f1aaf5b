"""What of a model is trained, by place: its trained parameters, those of like layers taken together."""

import re

from torch import nn

from trimtab.methods import Shape, TrainedTensors

_LAYER = re.compile(r"\.(\d+)\.")


def trained_tensors(model: nn.Module) -> tuple[TrainedTensors, ...]:
    """In the order of the model; together they are all that gets gradients. Works on the meta device."""
    found: dict[tuple[str, Shape], list[tuple[str, int]]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            key = (_LAYER.sub(".*.", name), tuple(parameter.shape))
            found.setdefault(key, []).append((name, parameter.numel()))
    return tuple(
        TrainedTensors(
            name=_together([name for name, _ in tensors]),
            shape=shape,
            count=len(tensors),
            parameters=sum(numbers for _, numbers in tensors),
        )
        for (_, shape), tensors in found.items()
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
