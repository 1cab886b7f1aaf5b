"""TrainedTensors: what a strategy trains in one place of the model, counted over the layers that are alike."""

from dataclasses import dataclass

from trimtab.methods.part import Shape


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedTensors:
    """`name`: the parameter's, with {first-last} in place of the layer's number; `count` of them, each of
    `shape`."""

    name: str
    shape: Shape
    count: int
    parameters: int
