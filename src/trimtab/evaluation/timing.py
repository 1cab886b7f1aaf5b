"""How fast models answer: made-up rows of one length through all of them in turn, on all cores of this process.

Models take turns of a few passes; what else the machine does hits all alike. Threads of one library spin for a
while after its work and would slow down the next model: each turn begins with a rest and a pass that is not
counted. Leaves out tokenising, and models that write texts word by word, whose one pass is one word.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from trimtab.evaluation.artifact import Artifact
from trimtab.hardware.cpu import allowed_cores

_TURN = 10  # passes of one model before the next one's
_REST_SECONDS = 0.05
_FEWEST_PASSES = 5  # of many rows at a time, whatever the rounds


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """One model on rows of `length` tokens: seconds of one row at a time, half of the passes and 95 of 100 within;
    and rows a second, `batch` at a time, of the median pass."""

    folder: str
    length: int
    median_seconds: float
    p95_seconds: float
    batch: int
    rows_per_second: float


@torch.inference_mode()
def time_models(artifacts: Sequence[Artifact], *, length: int, batch: int, rounds: int) -> tuple[Speed, ...]:
    """A Speed for each, in their order. `rounds` passes of one row, a tenth of them of `batch` rows."""
    torch.set_num_threads(allowed_cores())
    alone = _seconds(artifacts, length, 1, rounds)
    many = _seconds(artifacts, length, batch, max(_FEWEST_PASSES, rounds // 10))
    return tuple(
        Speed(
            folder=str(artifact.folder),
            length=length,
            median_seconds=float(np.median(one)),
            p95_seconds=float(np.quantile(one, 0.95)),
            batch=batch,
            rows_per_second=batch / float(np.median(several)),
        )
        for artifact, one, several in zip(artifacts, alone, many, strict=True)
    )


def _seconds(artifacts: Sequence[Artifact], length: int, rows: int, rounds: int) -> np.ndarray:
    """(models, rounds)."""
    inputs = [_inputs(artifact, rows, length) for artifact in artifacts]
    taken = np.empty((len(artifacts), rounds))
    for first in range(0, rounds, _TURN):
        for place, artifact in enumerate(artifacts):
            time.sleep(_REST_SECONDS)
            artifact.model(**inputs[place])
            for number in range(first, min(first + _TURN, rounds)):
                begun = time.perf_counter()
                artifact.model(**inputs[place])
                taken[place, number] = time.perf_counter() - begun
    return taken


def _inputs(artifact: Artifact, rows: int, length: int) -> dict[str, torch.Tensor]:
    tokens = np.random.default_rng(0).integers(len(artifact.tokenizer) // 2, size=(rows, length))
    inputs = {"input_ids": torch.from_numpy(tokens), "attention_mask": torch.ones(rows, length, dtype=torch.int64)}
    if artifact.collator.token_types:
        inputs["token_type_ids"] = torch.zeros(rows, length, dtype=torch.int64)
    return inputs
