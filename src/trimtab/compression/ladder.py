"""The ladder: which steps a machine calls for, the gentlest first. Pure.

A rung is a list of steps, and what their result is predicted to take. Bytes are by the model's shape
(predicted.py); seconds are the work of a forward pass over that of the whole model, times what the whole model
takes in int8 where that was measured. Leaves out carrying them out, and whether the metric holds: that is
measured.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from trimtab.compression.predicted import onnx_bytes
from trimtab.compression.wanted import Bits, Browser, Distil, Floor, Lesson, Quantize, Wanted
from trimtab.errors import UsageError
from trimtab.models.spec import ModelSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A machine and what may be asked of a model on it: `bytes_at_most` of weights and tokenizer,
    `seconds_at_most` for one text, and what the metric on dev may lose. None = as it comes. `page`: it runs in a
    page of a browser."""

    name: str
    floor: Floor
    bytes_at_most: int | None = None
    seconds_at_most: float | None = None
    page: bool = False


TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        Target(name="server-cpu", floor=Floor(points=0.5)),
        Target(name="laptop", floor=Floor(points=1.0)),
        Target(name="phone", floor=Floor(points=2.0), bytes_at_most=40_000_000),
        Target(name="browser", floor=Floor(points=3.0), bytes_at_most=20_000_000, page=True),
    )
}


def target_named(name: str) -> Target:
    """Raises UsageError TT-C017."""
    if name not in TARGETS:
        raise UsageError("TT-C017", option="for", typed=name, known=", ".join(TARGETS))
    return TARGETS[name]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """Steps one after the other, and what comes of them: bytes of the weights, and the share of the whole model's
    work in a forward pass."""

    steps: tuple[Wanted, ...]
    weight_bytes: int
    work_share: float

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(" ".join((step.step, *step.words[:2])) for step in self.steps)

    def fits(self, target: Target, tokenizer_bytes: int, whole_seconds: float | None = None) -> bool:
        """Whether it is predicted to do. `whole_seconds`: what the whole model takes in int8, None = not known."""
        size, seconds = target.bytes_at_most, target.seconds_at_most
        if size is not None and self.weight_bytes + tokenizer_bytes > size:
            return False
        return seconds is None or whole_seconds is None or whole_seconds * self.work_share <= seconds


def rungs(spec: ModelSpec, parameters: int, lesson: Lesson, *, page: bool = False) -> Iterator[Rung]:
    """From the gentlest on: all of the model in int8; then students of ever fewer of its layers, half of them
    first, in int8; at last all of these in int4, but for a `page`, which runs int8 alone. `parameters`: of the
    model with its head."""
    depths = [spec.layers, *_fewer(spec.layers)]
    formats: tuple[Bits, ...] = ("q8",) if page else ("q8", "q4")
    for bits in formats:
        for depth in depths:
            made = replace(spec, layers=depth) if depth < spec.layers else spec
            gone = spec.parameters_of_layers(depth) if depth < spec.layers else 0
            teach: tuple[Wanted, ...] = (Distil(layers=depth, lesson=lesson),) if depth < spec.layers else ()
            yield Rung(
                steps=(*teach, Browser() if page else Quantize(bits=bits)),
                weight_bytes=onnx_bytes(made, parameters - gone, bits),
                work_share=depth / spec.layers,
            )


def _fewer(layers: int) -> list[int]:
    """Half of the layers, then a third, then one."""
    return [depth for depth in dict.fromkeys((layers // 2, layers // 3, 1)) if 0 < depth < layers]
