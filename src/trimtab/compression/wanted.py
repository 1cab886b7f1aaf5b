"""What a step of compression is asked. Values only: nothing here imports torch."""

import re
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

from trimtab.artifacts.lineage import Step
from trimtab.errors import UsageError

ExportFormat = Literal["onnx", "safetensors"]
EXPORT_FORMATS: tuple[ExportFormat, ...] = ("onnx", "safetensors")
Bits = Literal["q8", "q4"]
BITS: tuple[Bits, ...] = ("q8", "q4")
Ranges = Literal["dynamic", "static"]
RANGES: tuple[Ranges, ...] = ("dynamic", "static")
Word = TypeVar("Word", bound=str)
_FLOOR = re.compile(r"(\d+(?:\.\d+)?)\s*(pt|%)")


def chosen(option: str, typed: str, known: tuple[Word, ...]) -> Word:
    """`typed`, if it is one of the `known` words of an option. Raises UsageError TT-C017."""
    for word in known:
        if word == typed:
            return word
    raise UsageError("TT-C017", option=option, typed=typed, known=", ".join(known))


@dataclass(frozen=True, slots=True)
class Floor:
    """What the metric that decides may lose: `points` hundredths of it, or `share` of what it was."""

    points: float | None = None
    share: float | None = None

    def allowed(self, before: float) -> float:
        """In the units of the metric, of which `before` was the value."""
        return self.points / 100 if self.points is not None else (self.share or 0.0) * abs(before)

    def __str__(self) -> str:
        return f"{self.points:g}pt" if self.points is not None else f"{100 * (self.share or 0.0):g}%"


def parse_floor(typed: str) -> Floor:
    """ "0.5pt" = half a point, 0.005 of accuracy; "2%" = a fiftieth of what it was. Raises UsageError TT-C010."""
    found = _FLOOR.fullmatch(typed.strip().lower())
    if found is None:
        raise UsageError("TT-C010", typed=typed)
    number = float(found[1])
    return Floor(points=number) if found[2] == "pt" else Floor(share=number / 100)


@dataclass(frozen=True, kw_only=True, slots=True)
class Export:
    """The same model in another file format: "onnx" in fp32 for ONNX Runtime, "safetensors" for transformers, an
    adapter merged into its base."""

    format: ExportFormat = "onnx"
    step: ClassVar[Step] = "export"
    needs_data: ClassVar[bool] = False

    @property
    def words(self) -> tuple[str, ...]:
        return ("--to", self.format)


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantize:
    """Weights in few bits: "q8" int8, a scale a channel, "q4" int4, a scale for every `block` weights. `ranges` of
    activations in int8: "dynamic" are measured while the model runs, "static" once, on training texts; of which
    the `calibration_rows` first are read. `back_off`: where the floor does not hold, keep in fp32 what hurts most,
    until it does."""

    bits: Bits = "q8"
    ranges: Ranges = "dynamic"
    block: int = 32
    calibration_rows: int = 256
    back_off: bool = True
    step: ClassVar[Step] = "quantize"
    needs_data: ClassVar[bool] = True

    @property
    def words(self) -> tuple[str, ...]:
        said = ["--to", self.bits, "--ranges", self.ranges]
        said += ["--block", str(self.block)] if self.bits == "q4" else []
        return tuple(said if self.back_off else [*said, "--no-back-off"])


Wanted = Export | Quantize
"""What `compress` may be asked. Each has the name of its `step`, whether it `needs_data`, and the `words` of the
command line that ask for it."""
