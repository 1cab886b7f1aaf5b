"""What the service is asked, answers and tells of itself: frozen values.

Leaves out HTTP: `serving.http` makes these of bodies, and bodies of these.
"""

from dataclasses import dataclass
from typing import Literal

from trimtab.data.spec import Task, Turn
from trimtab.evaluation.prediction import Prediction
from trimtab.serving.limits import Limits

State = Literal["registered", "loading", "loaded"]
Finish = Literal["stop", "length"]

__all__ = [
    "Answered",
    "Finish",
    "Limits",
    "Piece",
    "Prediction",
    "Sampling",
    "ServedAdapter",
    "ServiceFacts",
    "State",
    "WriteRequest",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedAdapter:
    """An adapter, or a whole model, that answers to `name`. `own_bytes`: memory of what is not the base's, 0 where
    it is not loaded; `in_flight`: requests that wait for it or run; `columns`: texts of one input."""

    name: str
    task: Task
    method: str
    labels: tuple[str, ...]
    columns: tuple[str, ...]
    file_bytes: int
    state: State
    pinned: bool
    own_bytes: int
    in_flight: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """One prediction an input, in order; and how many tokens all inputs had, special ones too."""

    predictions: tuple[Prediction, ...]
    tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How the next token is chosen. `temperature` 0, or less than 1e-6 = the likeliest; `top_p`: among the
    likeliest that make up this share; `seed`: the same request with the same seed writes the same, whatever stands
    beside it in a batch, but for rounding."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class WriteRequest:
    """What is to be written on: `turns` of a conversation, or a `text` where there are none. `most_tokens` of the
    answer; `stop`: texts at which it ends, which are not shown."""

    turns: tuple[Turn, ...] = ()
    text: str = ""
    most_tokens: int = 256
    sampling: Sampling = Sampling()
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """The next piece of an answer. `finish` is None but in the last one. `prompt_tokens` and `tokens`: read, and
    written so far."""

    text: str
    finish: Finish | None
    prompt_tokens: int
    tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceFacts:
    """How a service stands. `rows` and `passes`: inputs answered and batches run since it began; `tokens`:
    written; `queued`: requests that wait or run; `evictions`, `loads`: of adapters; `base_bytes`: memory of the
    base; `adapter_bytes`: of what is loaded on it; `cache_bytes`: of keys and values."""

    base: str
    requests: int
    rows: int
    passes: int
    tokens: int
    queued: int
    refused: int
    expired: int
    loads: int
    evictions: int
    base_bytes: int
    adapter_bytes: int
    cache_bytes: int
