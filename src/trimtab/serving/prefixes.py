"""Prefixes: keys and values of texts that were read before, for requests that begin alike under the same adapter.

A conversation that goes on begins with all that was said; requests of one application begin with its system
prompt. What it costs: a token kept is its keys and values, two vectors a layer (SmolLM2-135M in fp32: 46 kB, so
that 64 MiB are 1,450 tokens); a row that leaves is copied once; a token taken over is copied in place of being
computed. Two texts with the same beginning hold it twice. Numbers taken over were computed in another batch: they
differ by rounding, no more.

Leaves out sharing between adapters: even the first layer's keys differ.
"""

from dataclasses import dataclass

import numpy as np

from trimtab.serving.cells import Pairs, bytes_of, copied

WORTH_TOKENS = 16  # fewer are computed as fast as they are looked for
DEFAULT_BYTES = 64 * 1024**2


@dataclass(frozen=True, slots=True)
class _Kept:
    adapter: str
    ids: np.ndarray
    pairs: Pairs

    @property
    def nbytes(self) -> int:
        return bytes_of(self.pairs)


class Prefixes:
    """At most `most_bytes` of them; the one that was unused longest goes."""

    def __init__(self, most_bytes: int = DEFAULT_BYTES) -> None:
        self._most_bytes = most_bytes
        self._kept: list[_Kept] = []  # used last, last

    @property
    def nbytes(self) -> int:
        return sum(one.nbytes for one in self._kept)

    def found(self, adapter: str, ids: np.ndarray) -> Pairs:
        """What is kept of the longest beginning of `ids`, as views; empty where there is none worth it."""
        shared = [(shared_tokens(one.ids, ids), at) for at, one in enumerate(self._kept) if one.adapter == adapter]
        tokens, at = max(shared, default=(0, 0))
        if tokens < WORTH_TOKENS:
            return ()
        used = self._kept.pop(at)
        self._kept.append(used)
        return first(used.pairs, tokens)

    def keep(self, adapter: str, ids: np.ndarray, pairs: Pairs) -> None:
        """Copy what has been computed of the tokens `ids`, in place of any beginning of them."""
        if len(ids) < WORTH_TOKENS or bytes_of(pairs) > self._most_bytes:
            return
        alike = [one for one in self._kept if one.adapter == adapter and _begins(one.ids, ids)]
        self._kept = [one for one in self._kept if not any(one is other for other in alike)]
        longest = max(alike, key=lambda one: len(one.ids), default=None)
        known = longest is not None and len(longest.ids) >= len(ids)
        self._kept.append(longest if longest and known else _Kept(adapter, ids, copied(pairs)))
        while self.nbytes > self._most_bytes:
            self._kept.pop(0)

    def forget(self, adapter: str) -> None:
        self._kept = [one for one in self._kept if one.adapter != adapter]


def shared_tokens(one: np.ndarray, other: np.ndarray) -> int:
    """How many tokens two texts begin with alike."""
    length = min(len(one), len(other))
    differ = np.flatnonzero(one[:length] != other[:length])
    return int(differ[0]) if len(differ) else length


def first(pairs: Pairs, tokens: int) -> Pairs:
    return tuple((keys[:, :tokens], values[:, :tokens]) for keys, values in pairs)


def _begins(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether the shorter of two is the beginning of the longer."""
    return shared_tokens(one, other) == min(len(one), len(other))
