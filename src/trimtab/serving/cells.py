"""Cells: the keys and values of rows that are read or written at once, as transformers' cache.

What stands at position p of a row is in column p, whatever stands beside the row: rows begin in the first column
and are ragged at the end. So a row is put in, moved and taken out as a block, nothing is shifted when a longer one
comes, and one mask says all there is to say, for a prompt, a piece of it, or the next token: a token sees the
columns up to its own.

    columns    0 1 2 3 4 5 6 7
    row 0      x x x x x q            q: what is being read, written into the row's own next column
    row 1      x x q
    row 2      x x x x x x x q

Memory: rows x the longest row, in steps of 64 columns, at most `rows` x the context; it falls again with the
longest row. A place that no row has is zero: a hidden column weighs nothing only where it is finite. Leaves out
sliding windows (whoever writes stays within one).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

Pairs = tuple[tuple[torch.Tensor, torch.Tensor], ...]
"""Keys and values of one row, layer by layer, each (heads, tokens, head size)."""

_COLUMNS = 64


@dataclass(slots=True)
class _Place:
    """Where the tokens of a pass go. `rows` (rows, 1); `columns` (rows, tokens); `width`: columns in use after it;
    `room`: (rows, columns) of memory."""

    rows: torch.Tensor
    columns: torch.Tensor
    width: int
    room: tuple[int, int]


class _Layer(DynamicLayer):
    """One layer's part: (rows, heads, columns, head size)."""

    def __init__(self, place: _Place) -> None:
        super().__init__()
        self.place = place

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        rows, columns = self.place.room
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys, self.values = (
            x.new_zeros(rows, x.shape[-3], columns, x.shape[-1]) for x in (key_states, value_states)
        )
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        place, count = self.place, len(key_states)
        self.keys[place.rows, :, place.columns] = key_states.transpose(1, 2)
        self.values[place.rows, :, place.columns] = value_states.transpose(1, 2)
        return self.keys[:count, :, : place.width], self.values[:count, :, : place.width]

    def get_seq_length(self) -> int:
        return self.place.width - self.place.columns.shape[1]


class Cells(Cache):
    """Room for `rows` rows in `layers` layers. Rows in use are the first ones; whoever holds it knows how many,
    and how long each is."""

    def __init__(self, layers: int, rows: int, device: torch.device) -> None:
        nowhere = torch.zeros(rows, 0, dtype=torch.int64)
        self.place = _Place(torch.arange(rows, device=device)[:, None], nowhere, 0, (rows, 0))
        self._rows = self.place.rows
        super().__init__(layers=[_Layer(self.place) for _ in range(layers)])

    def aim(self, columns: torch.Tensor) -> torch.Tensor:
        """Have the next pass, one of all rows in use, write its tokens into `columns` (rows, tokens); returns what
        each token sees, bool (rows, 1, tokens, width)."""
        self.place.rows, self.place.columns = self._rows[: len(columns)], columns
        self.place.width = int(columns.max()) + 1
        self._fit(self.place.width)
        return torch.arange(self.place.width, device=columns.device) <= columns[:, None, :, None]

    def put(self, row: int, known: Sequence[Pairs]) -> None:
        """Let a free row begin with what is `known`, one behind the other."""
        tokens = sum(map(tokens_of, known))
        if tokens > self.place.room[1]:
            self._fit(tokens)
        start = 0
        for pairs in known:
            end = start + tokens_of(pairs)
            for layer, (keys, values) in zip(self.layers, pairs, strict=bool(pairs)):
                if not layer.is_initialized:
                    layer.lazy_initialization(keys, values)
                layer.keys[row, :, start:end] = keys
                layer.values[row, :, start:end] = values
            start = end

    def seen(self, row: int, start: int, end: int) -> Pairs:
        """Views of the columns `start` to `end` of a row."""
        return tuple((layer.keys[row, :, start:end], layer.values[row, :, start:end]) for layer in self.layers)

    def move(self, source: int, target: int) -> None:
        """Put a row in the place of another."""
        for kept in self._kept():
            kept[target] = kept[source]

    def clear(self, row: int) -> None:
        for kept in self._kept():
            kept[row] = 0

    @property
    def nbytes(self) -> int:
        return sum(kept.nbytes for kept in self._kept())

    def _kept(self) -> list[torch.Tensor]:
        return [kept for layer in self.layers if layer.is_initialized for kept in (layer.keys, layer.values)]

    def _fit(self, longest: int) -> None:
        """Have columns for rows of `longest` tokens: more where they do not do, fewer where a quarter would."""
        rows, columns = self.place.room
        wanted = _COLUMNS * math.ceil(1.25 * longest / _COLUMNS)
        if longest <= columns < 4 * wanted:
            return
        self.place.room = (rows, wanted)
        for layer in self.layers:
            if layer.is_initialized:
                layer.keys, layer.values = (self._sized(kept) for kept in (layer.keys, layer.values))

    def _sized(self, kept: torch.Tensor) -> torch.Tensor:
        rows, heads, columns, size = kept.shape
        sized = kept.new_zeros(rows, heads, self.place.room[1], size)
        shared = min(columns, self.place.room[1])
        sized[:, :, :shared] = kept[:, :, :shared]
        return sized


def copied(pairs: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> Pairs:
    """The same, on memory of their own."""
    return tuple((keys.clone(), values.clone()) for keys, values in pairs)


def tokens_of(pairs: Pairs) -> int:
    return pairs[0][0].shape[-2] if pairs else 0


def bytes_of(pairs: Pairs) -> int:
    return sum(keys.nbytes + values.nbytes for keys, values in pairs)
