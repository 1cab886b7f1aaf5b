"""The next token of many rows at once, each as its request wants it.

A row draws one number a token, from a generator of its own, and takes the token on which it falls: what is drawn
does not depend on who else is in the batch. Leaves out penalties, and top-k.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from trimtab.serving.facts import Sampling

_COLDEST = 1e-6  # of a temperature; below it logits over it are infinite, and the likeliest is what it means
_LIKELIEST = 512  # sorted before all of a vocabulary is


@dataclass(frozen=True, slots=True)
class Draw:
    """How one row draws. `generator` is None where nothing is drawn."""

    sampling: Sampling
    generator: torch.Generator | None

    @classmethod
    def of(cls, sampling: Sampling) -> "Draw":
        if sampling.temperature < _COLDEST:
            return cls(sampling, None)
        generator = torch.Generator()
        generator.seed() if sampling.seed is None else generator.manual_seed(sampling.seed)
        return cls(sampling, generator)


def next_tokens(logits: torch.Tensor, draws: Sequence[Draw]) -> list[int]:
    """One token a row of `logits` (rows, vocabulary)."""
    tokens: list[int] = logits.argmax(-1).tolist()
    for row, draw in enumerate(draws):
        if draw.generator is not None:
            tokens[row] = _drawn(
                logits[row].float(), draw.sampling, float(torch.rand((), generator=draw.generator))
            )
    return tokens


def _drawn(logits: torch.Tensor, sampling: Sampling, at: float) -> int:
    """The token on which the share `at` of what may be drawn falls."""
    probabilities = (logits / sampling.temperature).softmax(-1)
    if sampling.top_p >= 1:
        return _fallen_on(probabilities, at)
    likeliest, ids = _likeliest(probabilities, sampling.top_p)
    before = likeliest.cumsum(-1) - likeliest
    return int(ids[_fallen_on(likeliest.masked_fill(before >= sampling.top_p, 0), at)])


def _likeliest(probabilities: torch.Tensor, share: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities in falling order and their tokens: as many as make up `share`, at least."""
    if len(probabilities) > _LIKELIEST:
        found = probabilities.topk(_LIKELIEST)
        if float(found.values.sum()) >= share:
            return found.values, found.indices
    ordered = probabilities.sort(descending=True)
    return ordered.values, ordered.indices


def _fallen_on(weights: torch.Tensor, at: float) -> int:
    sums = weights.double().cumsum(-1)
    return min(int(torch.searchsorted(sums, at * sums[-1], right=True)), len(weights) - 1)
