"""What a step of compression is asked. Values only: nothing here imports torch."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import ClassVar, Literal, TypeVar

from trimtab.artifacts.lineage import Step
from trimtab.errors import UsageError
from trimtab.models.gguf_layout import GgufKind, kind_named
from trimtab.planning import Settings

ExportFormat = Literal["onnx", "safetensors"]
EXPORT_FORMATS: tuple[ExportFormat, ...] = ("onnx", "safetensors")
BROWSER, GGUF, OPENVINO = "browser", "gguf", "openvino"
Bits = Literal["q8", "q4"]
BITS: tuple[Bits, ...] = ("q8", "q4")
Ranges = Literal["dynamic", "static", "none"]
RANGES: tuple[Ranges, ...] = ("dynamic", "static", "none")
Keep = Literal["seen", "script"]
AnswersOf = Literal["data", "teacher", "both"]
ANSWERS: tuple[AnswersOf, ...] = ("data", "teacher", "both")
KEEPS: tuple[Keep, ...] = ("seen", "script")
Word = TypeVar("Word", bound=str)
_FLOOR = re.compile(r"(\d+(?:\.\d+)?)\s*(pt|%)")


def chosen(option: str, typed: str, known: tuple[Word, ...]) -> Word:
    """`typed`, if it is one of the `known` words of an option. Raises UsageError TT-C017."""
    for word in known:
        if word == typed:
            return word
    raise UsageError("TT-C017", option=option, typed=typed, known=", ".join(known))


def exported(typed: str, runtime: str | None, kind: str = "f16") -> "Export | Browser | Gguf | OpenVino":
    """What `export --to` asks for, `kind` of GGUF. Raises UsageError TT-C017, TT-C410, and TT-C506 for a `runtime`
    that nothing runs on."""
    makes: Mapping[str, Callable[[], Export | Browser | Gguf | OpenVino]] = {
        **{form: partial(Export, format=form) for form in EXPORT_FORMATS},
        GGUF: lambda: Gguf(kind=kind_named(kind)),
        OPENVINO: OpenVino,
        BROWSER: partial(Browser, runtime=runtime),
    }
    word = chosen("to", typed, tuple(makes))
    if runtime is not None and word != BROWSER:
        raise UsageError("TT-C506", typed=typed)
    return makes[word]()


def numbers(option: str, typed: str | None) -> tuple[int, ...]:
    """ "0,2,5" as numbers. Raises UsageError TT-C017 where it is none."""
    try:
        return tuple(int(word) for word in typed.split(",")) if typed else ()
    except ValueError:
        raise UsageError("TT-C017", option=option, typed=str(typed), known="0,2,5") from None


@dataclass(frozen=True, slots=True)
class Floor:
    """What the metric that decides may lose: `points` hundredths of it, or `share` of what it was."""

    points: float | None = None
    share: float | None = None

    def allowed(self, before: float, *, lower_is_better: bool = False) -> float:
        """In the units of the metric, of which `before` was the value. A metric that is no share (a loss, a
        perplexity: lower is better) has no points: as many hundredths of what it was."""
        if self.points is not None and not lower_is_better:
            return self.points / 100
        return ((self.points or 0.0) / 100 + (self.share or 0.0)) * abs(before)

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
    trains: ClassVar[bool] = False

    @property
    def words(self) -> tuple[str, ...]:
        return ("--to", self.format)


@dataclass(frozen=True, kw_only=True, slots=True)
class Browser:
    """The model with weights in int8, or as it is where it is ONNX already, with a page that runs it in a browser.
    `runtime`: the folder with the packages of npm that it runs on; None: npm fetches them."""

    runtime: str | None = None
    step: ClassVar[Step] = "export"
    needs_data: ClassVar[bool] = False
    trains: ClassVar[bool] = False

    @property
    def words(self) -> tuple[str, ...]:
        return ("--to", BROWSER) if self.runtime is None else ("--to", BROWSER, "--runtime", self.runtime)


@dataclass(frozen=True, kw_only=True, slots=True)
class Gguf:
    """A language model as a GGUF file, its weights in `kind`."""

    kind: GgufKind = "f16"
    step: ClassVar[Step] = "export"
    needs_data: ClassVar[bool] = False
    trains: ClassVar[bool] = False

    @property
    def words(self) -> tuple[str, ...]:
        return ("--to", GGUF, "--kind", self.kind)


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenVino:
    """The model as OpenVINO reads it: in fp32, or in the few bits of an ONNX artifact."""

    step: ClassVar[Step] = "export"
    needs_data: ClassVar[bool] = False
    trains: ClassVar[bool] = False

    @property
    def words(self) -> tuple[str, ...]:
        return ("--to", OPENVINO)


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantize:
    """Weights in few bits: "q8" int8, a scale a channel, "q4" int4, a scale for every `block` weights. `ranges` of
    activations in int8: "dynamic" are measured while the model runs, "static" once, on training texts, of which
    the `calibration_rows` first are read; "none": activations stay in fp32, and weights alone are int8.
    `back_off`: where the floor does not hold, keep in fp32 what hurts most, until it does."""

    bits: Bits = "q8"
    ranges: Ranges = "dynamic"
    block: int = 32
    calibration_rows: int = 256
    back_off: bool = True
    step: ClassVar[Step] = "quantize"
    needs_data: ClassVar[bool] = True
    trains: ClassVar[bool] = False

    @property
    def words(self) -> tuple[str, ...]:
        said = ["--to", self.bits, "--ranges", self.ranges]
        said += ["--block", str(self.block)] if self.bits == "q4" else []
        return tuple(said if self.back_off else [*said, "--no-back-off"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Lesson:
    """The training inside a step: what may be said of it, None leaves it to the planner. `soft_share` of the loss
    is the distance from what the teacher says, at `temperature`; `hard_share` from the labels; `hidden_share` and
    `attention_share` from what is inside of it, for which it stands beside in every step. Shares of None: half and
    half; where the teacher writes the answers, the loss of those alone. `resume`: go on where it was interrupted.
    """

    settings: Settings = Settings()
    hard_share: float | None = None
    soft_share: float | None = None
    temperature: float = 2.0
    hidden_share: float = 0.0
    attention_share: float = 0.0
    resume: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        settings = self.settings
        said = {
            "--epochs": settings.epochs,
            "--batch": settings.batch,
            "--lr": settings.learning_rate,
            "--max-length": settings.max_length,
            "--precision": settings.precision,
            "--seed": settings.seed or None,
            "--hard": self.hard_share,
            "--soft": self.soft_share,
            "--temperature": self.temperature,
            "--hidden": self.hidden_share or None,
            "--attention": self.attention_share or None,
        }
        return tuple(word for flag, value in said.items() if value is not None for word in (flag, f"{value}"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """Layers, width, heads and inner neurons of a model."""

    layers: int
    hidden: int
    heads: int
    ffn: int

    def __str__(self) -> str:
        return ",".join(f"{size.name}={getattr(self, size.name)}" for size in fields(self))


def parse_shape(typed: str) -> Shape:
    """ "layers=4,hidden=256,heads=4,ffn=1024". Raises UsageError TT-C044."""
    pairs = [part.partition("=") for part in typed.replace(" ", "").split(",")]
    known = {size.name for size in fields(Shape)}
    if {name for name, _, _ in pairs} != known or not all(value.isdecimal() for _, _, value in pairs):
        raise UsageError("TT-C044", typed=typed)
    return Shape(**{name: int(value) for name, _, value in pairs})


@dataclass(frozen=True, kw_only=True, slots=True)
class Distil:
    """A smaller model that learns from this one: `layers` of its own layers, or those that are `chosen` (0 = the
    lowest), or another pretrained model, `student`, or its family in another `shape`, with fresh weights.
    `copies`: noisy ones of every training text, `unlabelled`: a file of texts; the teacher alone says what they
    are. `answers`: whose answers a chat model learns; those that the teacher writes, to prompts without any too,
    have at most `answer_tokens` tokens."""

    layers: int | None = None
    chosen: tuple[int, ...] = ()
    student: str | None = None
    shape: Shape | None = None
    copies: int = 0
    unlabelled: str | None = None
    answers: AnswersOf = "data"
    answer_tokens: int = 512
    lesson: Lesson = Lesson()
    step: ClassVar[Step] = "distill"
    needs_data: ClassVar[bool] = True
    trains: ClassVar[bool] = True

    @property
    def writes(self) -> bool:
        """Whether the teacher writes answers."""
        return self.answers != "data"

    @property
    def words(self) -> tuple[str, ...]:
        said = {
            "--layers": self.layers,
            "--keep-layers": ",".join(map(str, self.chosen)) or None,
            "--student": self.student,
            "--shape": self.shape,
            "--copies": self.copies or None,
            "--unlabelled": self.unlabelled,
            "--answers": self.answers if self.writes else None,
            "--answer-tokens": self.answer_tokens if self.writes else None,
        }
        own = (word for flag, value in said.items() if value is not None for word in (flag, f"{value}"))
        return (*own, *self.lesson.words)


@dataclass(frozen=True, kw_only=True, slots=True)
class Prune:
    """The same model with fewer heads and neurons, a `share` of each gone, and so many `dropped_layers`; or as
    many gone as bring its weights down to `weight_bytes`, or one usual text of dev down to `seconds`. `steps`
    times a part of it, each followed by training; `until_floor`: as many of these as the floor allows, by tenths
    where no share is said. `even`: alike in all layers. `recovers` False: no training after it."""

    share: float | None = None
    weight_bytes: int | None = None
    seconds: float | None = None
    until_floor: bool = False
    dropped_layers: int = 0
    steps: int = 1
    even: bool = False
    recovers: bool = True
    lesson: Lesson = Lesson()
    step: ClassVar[Step] = "prune"
    needs_data: ClassVar[bool] = True

    @property
    def trains(self) -> bool:
        return self.recovers

    @property
    def words(self) -> tuple[str, ...]:
        said = {
            "--share": self.share,
            "--size": self.weight_bytes,
            "--latency": None if self.seconds is None else f"{1e3 * self.seconds:g}ms",
            "--drop-layers": self.dropped_layers or None,
            "--steps": self.steps if self.steps > 1 else None,
        }
        own = [word for flag, value in said.items() if value is not None for word in (flag, f"{value}")]
        own += ["--until-floor"] if self.until_floor else []
        own += ["--even"] if self.even else []
        return (*own, *self.lesson.words) if self.recovers else (*own, "--no-recovery")


@dataclass(frozen=True, kw_only=True, slots=True)
class Trim:
    """The same model with fewer tokens: those of the training texts and of the files `further`, all single
    characters of the scripts they are written in ("seen"), and all words of their main ones ("script")."""

    further: tuple[str, ...] = ()
    keep: Keep = "seen"
    step: ClassVar[Step] = "trim"
    needs_data: ClassVar[bool] = True
    trains: ClassVar[bool] = False

    @property
    def words(self) -> tuple[str, ...]:
        files = (word for file in self.further for word in ("--keep-texts", file))
        return ("--keep", self.keep, *files)


Wanted = Distil | Prune | Trim | Export | Browser | Gguf | OpenVino | Quantize
"""What `compress` may be asked. Each has the name of its `step`, whether it `needs_data` and `trains`, and the
`words` of the command line that ask for it."""


def is_published(wanted: Wanted) -> bool:
    """Whether its folder goes to others as it is: then it names no folder of this machine."""
    return isinstance(wanted, Browser)
