"""Lane: adapters whose rows can share a pass, on one model.

Adapters share one when their tasks read the model's outputs alike and they have as many virtual tokens. A whole
model (a merged one, one in int8) is a lane by itself. Leaves out queues, and what is in memory when.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from trimtab.data.spec import padded_length
from trimtab.evaluation import Artifact, Collator, Encoded
from trimtab.evaluation.objective import OnePass, with_places
from trimtab.serving.forks import Forked, Roads

_BUSY_TOKENS = 256  # of a pass: more of them run no faster a token on a core


@dataclass(slots=True)
class Lane:
    """`forked` where adapters share the model, else None: `model` answers for its one name. Runs in any thread,
    in several at once; adapters come and go in one."""

    objective: OnePass
    collator: Collator
    model: Any
    forked: Forked | None = None

    @classmethod
    def alone(cls, artifact: Artifact) -> "Lane":
        """Of a whole model."""
        objective = artifact.objective
        assert isinstance(objective, OnePass)
        return cls(objective, artifact.collator, artifact.model)

    def add(self, name: str, roads: Roads, collator: Collator) -> None:
        """Let rows be of the adapter `name`, whose texts `collator` pads."""
        assert self.forked is not None, "a whole model has no adapters"
        self.forked.add(name, roads)
        self.collator = replace(collator, max_length=max(collator.max_length, self.collator.max_length))

    def remove(self, name: str) -> None:
        """Let an adapter's tensors go."""
        if self.forked is not None:
            self.forked.remove(name)

    def outputs(self, parts: Sequence[tuple[str, Encoded]], *, tokens: int) -> tuple[list[np.ndarray], int]:
        """What the rows of each part give, in the adapter it names: float32 (places, numbers) each, as
        `OnePass.one_pass`, padded with zeros where another's head is wider; and how many passes it took. Rows of
        like length share a pass of at most `tokens` padded tokens, whosever they are."""
        rows_of_all = Encoded.joined([encoded for _, encoded in parts])
        owners = np.repeat(np.arange(len(parts)), [len(encoded) for _, encoded in parts])
        ranks = np.unique([name for name, _ in parts], return_inverse=True)[1][owners]
        passes = list(passes_of(rows_of_all.widths, tokens, self.collator.max_length))
        found = np.zeros((self.objective.place_count(rows_of_all), 0), np.float32)
        for rows in passes:
            together = rows[np.argsort(ranks[rows], kind="stable")]
            outputs = self._run(rows_of_all, together, [parts[owner][0] for owner in owners[together]])
            found = with_places(found, self.objective.places(rows_of_all, self.collator, together), outputs)
        ends = np.cumsum([self.objective.place_count(encoded) for _, encoded in parts])
        return np.split(found, ends[:-1]), len(passes)

    @torch.inference_mode()
    def _run(self, encoded: Encoded, rows: np.ndarray, names: list[str]) -> np.ndarray:
        inputs = self.collator.batch(encoded, rows)
        with self._rows(names) as model:
            output = model(**inputs)
            return self.objective.outputs_in(model, output, inputs, encoded, self.collator, rows).numpy()

    @contextmanager
    def _rows(self, names: list[str]) -> Iterator[Any]:
        if self.forked is None:
            yield self.model
        else:
            with self.forked.use(names) as model:
                yield model


def passes_of(widths: np.ndarray, tokens: int, max_length: int) -> Iterator[np.ndarray]:
    """Rows by falling length, cut so that rows x longest <= `tokens`; and, once a pass has as many as keep the
    machine busy, where a shorter row begins."""
    order = np.argsort(-widths, kind="stable")
    start = 0
    while start < len(order):
        longest = padded_length(int(max(1, widths[order[start]])), max_length)
        end = min(start + max(1, tokens // longest), len(order))
        enough = start + -(-_BUSY_TOKENS // longest)
        shorter = [at for at in range(enough, end) if padded_length(int(widths[order[at]]), max_length) < longest]
        end = min([end, *shorter[:1]])
        yield order[start:end]
        start = end
