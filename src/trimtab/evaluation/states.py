"""States: what the frozen lower part of a model makes of every token, as `training.prefix_cache` keeps it.

One flat array of (tokens, width), row after row without padding, in the order of `Encoded.ids`; small ones are
held in memory, others stay in their file and are read row by row, so that they never count as memory of the
process. Leaves out how they are made."""

from collections.abc import Iterable
from dataclasses import dataclass
from io import FileIO

import torch

Piece = tuple[int, int, int]  # first token, tokens, and where they go in the batch


@dataclass(frozen=True, slots=True)
class States:
    """Of `tokens` tokens, `width` numbers of `dtype` each, in `file`, which is open and unbuffered: it may have
    been deleted since. `held`: the same in memory, (tokens, width)."""

    tokens: int
    width: int
    dtype: torch.dtype
    file: FileIO
    held: torch.Tensor | None = None

    @property
    def bytes(self) -> int:
        return self.tokens * self.width * self.dtype.itemsize

    def laid_out(self, pieces: Iterable[Piece], shape: tuple[int, int]) -> torch.Tensor:
        """States of some stretches of tokens, each from its place in a flattened batch of `shape` (rows, tokens)
        on; 0 elsewhere, which is padding. (rows, tokens, width), on the CPU. Raises OSError where the file ends
        early."""
        found = torch.zeros(shape[0] * shape[1], self.width, dtype=self.dtype)
        for first, count, place in pieces:
            if self.held is not None:
                found[place : place + count] = self.held[first : first + count]
            else:
                self.file.seek(first * self.width * self.dtype.itemsize)
                read_into(self.file, found[place : place + count])
        return found.view(*shape, self.width)


def read_into(file: FileIO, rows: torch.Tensor) -> None:
    """Fill `rows`, contiguous on the CPU, with the next bytes of an unbuffered file. Raises OSError where it ends
    early."""
    left = raw(rows)
    while left:
        got = file.readinto(left)
        if not got:
            raise OSError(f"{file.name}: {len(left)} bytes are missing")
        left = left[got:]


def raw(rows: torch.Tensor) -> memoryview:
    """The bytes of a contiguous tensor on the CPU, as they lie in memory."""
    return memoryview(rows.reshape(-1).view(torch.uint8).numpy().data)
