"""What was made of an artifact after its training, step by step, and how far each step is from what it began with.

Values only. Leaves out how two models are compared (compression).
"""

from dataclasses import dataclass, replace
from typing import Literal

Engine = Literal["transformers", "onnx", "openvino", "gguf"]
"""What computes an artifact: transformers from safetensors, ONNX Runtime from model.onnx, OpenVINO from
openvino_model.xml and .bin, or transformers from the numbers of model.gguf."""
Step = Literal["distill", "prune", "trim", "quantize", "export"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """Two models on the same `rows` rows of `split`. `compared_outputs` of theirs (rows, or words, or texts)
    differ by `largest_difference`, on average by `mean_difference`; `agreement`: share of rows of which they say
    the same, None where nothing is said of a row. `metric` was `before` and is `after`; [low, high] is the 95 %
    interval of after - before, over resampled rows, None where the metric cannot be taken apart into rows; `rows`
    0: no data were at hand, and there is no metric. `compared_outputs` 0: their outputs are for different tokens,
    and cannot be compared."""

    split: str
    rows: int
    compared_outputs: int
    largest_difference: float
    mean_difference: float
    agreement: float | None = None
    metric: str = ""
    before: float | None = None
    after: float | None = None
    low: float | None = None
    high: float | None = None
    lower_is_better: bool = False

    @property
    def lost(self) -> float | None:
        """How much worse the metric became, in its own units; below 0 where it became better."""
        if self.before is None or self.after is None:
            return None
        return self.after - self.before if self.lower_is_better else self.before - self.after


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadAlike:
    """Texts of `rows` rows of `split` under a smaller vocabulary: `same_share` of the rows are cut into the same
    tokens as before; of their tokens the unknown ones are `unknown_share`, and were `unknown_share_before`."""

    split: str
    rows: int
    same_share: float
    unknown_share: float
    unknown_share_before: float


@dataclass(frozen=True, kw_only=True, slots=True)
class OneText:
    """What one text of `tokens` tokens took, half of the times, on the machine that made it."""

    tokens: int
    seconds_before: float
    seconds_after: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One step. `settings`: the words it was asked in; `parent`: the folder it began with, and the hash of its
    artifact.json; bytes of the weights (with the base of an adapter) before and after. `floor`: what the metric
    was allowed to lose, in its own units; None: it was not held to any. `forced`: it would have been kept whatever
    it lost. `kept_whole`: parts that stayed in fp32. `compared`: on the split that decides first. `read_alike`:
    where the vocabulary became smaller. `one_text`: where it was made for a latency."""

    step: Step
    settings: tuple[str, ...]
    parent: str
    parent_sha256: str
    weight_bytes_before: int
    weight_bytes_after: int
    seconds: float
    floor: float | None = None
    forced: bool = False
    kept_whole: tuple[str, ...] = ()
    compared: tuple[Compared, ...] = ()
    read_alike: tuple[ReadAlike, ...] = ()
    one_text: OneText | None = None

    def without_places(self) -> "Change":
        """The same without its words and its parent's folder: both may name folders."""
        return replace(self, settings=(), parent="")
