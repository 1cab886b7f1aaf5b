"""Weights into GGUF's blocks so that what the layer computes is kept, rather than each weight.

Rounding one weight after the other, each rounding error is made good by the weights of its row that are still to
be rounded, as far as the inputs of the layer go together (GPTQ: Frantar and others 2022, arXiv 2210.17323,
algorithm 1; columns in their order, scales taken block by block as they are reached). The file is an ordinary one:
only the choice of the numbers differs from the format's own rounding to nearest.

Blocks are 32 numbers of a row (ggml-common.h): a scale as a half, of some kinds the least number too, then the
codes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch

BLOCK = 32
_DAMPING = 1e-3  # of the mean square of the inputs, added to each
_MOST_DAMPING = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockFormat:
    """number = scale * (code - zero) + least. `bits` of a code; codes run from 0 to `highest`, in Q8_0, whose are
    signed, from -highest."""

    bits: int
    highest: int
    zero: int = 0
    has_least: bool = False

    @property
    def lowest(self) -> int:
        return -self.highest if self.bits == 8 else 0


# By the number of the kind in ggml.h.
FORMATS: Mapping[int, BlockFormat] = MappingProxyType(
    {
        8: BlockFormat(bits=8, highest=127),
        2: BlockFormat(bits=4, highest=15, zero=8),
        3: BlockFormat(bits=4, highest=15, has_least=True),
        6: BlockFormat(bits=5, highest=31, zero=16),
        7: BlockFormat(bits=5, highest=31, has_least=True),
    }
)


@dataclass(frozen=True, slots=True)
class _Grid:
    """Of one block of every row: scale and least number, (rows, 1), halves held as floats."""

    scale: torch.Tensor
    least: torch.Tensor

    @classmethod
    def of(cls, block: torch.Tensor, form: BlockFormat) -> "_Grid":
        """The format's own choice: the block's extreme number is one of the grid."""
        if form.has_least:
            least = block.amin(1, keepdim=True)
            return cls(_half((block.amax(1, keepdim=True) - least) / form.highest), _half(least))
        extreme = block.gather(1, block.abs().argmax(1, keepdim=True))
        scale = extreme.abs() / form.highest if form.bits == 8 else -extreme / form.zero
        return cls(_half(scale), torch.zeros_like(extreme))

    def codes(self, numbers: torch.Tensor, form: BlockFormat) -> torch.Tensor:
        """numbers (rows, n) -> the nearest codes, as floats."""
        steps = torch.where(self.scale == 0, 0.0, (numbers - self.least) / self.scale)
        return (steps + form.zero).round_().clamp_(form.lowest, form.highest)

    def numbers(self, codes: torch.Tensor, form: BlockFormat) -> torch.Tensor:
        return self.scale * (codes - form.zero) + self.least


def kept_outputs(weights: torch.Tensor, factors: Sequence[torch.Tensor], kind: int) -> torch.Tensor:
    """Blocks of `weights`, float32 (outputs, inputs), as bytes, uint8 (outputs, bytes of a row). `factors`: of the
    moments of n inputs each (`inverse_factor`), whole blocks, one after the other through all inputs; what stands
    in different ones is not made good by each other."""
    form, start = FORMATS[kind], 0
    parts: list[torch.Tensor] = []
    for factor in factors:
        parts += _group(weights[:, start : start + len(factor)].clone(), factor, form)
        start += len(factor)
    assert start == weights.shape[1], "factors are of all inputs"
    return torch.cat(parts, 1)


def inverse_factor(moment: torch.Tensor) -> torch.Tensor:
    """Upper Cholesky factor of the inverse of `moment`, the sum of x x^T over inputs x, float32 (n, n): damped
    until there is one. Where there is none at all (inputs that are no numbers), as if inputs were unrelated."""
    share = _DAMPING
    while share <= _MOST_DAMPING:
        damped = moment.clone()
        damped.diagonal().add_(share * float(moment.diagonal().mean()) or 1.0)
        lower, failed = torch.linalg.cholesky_ex(damped)
        factor, failed_again = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
        if not (int(failed) or int(failed_again)) and bool(factor.isfinite().all()):
            return factor
        share *= 10
    return torch.eye(len(moment))


def _group(weights: torch.Tensor, factor: torch.Tensor, form: BlockFormat) -> list[torch.Tensor]:
    """Packed blocks of one group of inputs, column by column of blocks. `weights` is used up."""
    packed: list[torch.Tensor] = []
    for start in range(0, weights.shape[1], BLOCK):
        end = start + BLOCK
        block, within = weights[:, start:end], factor[start:end, start:end]
        grid = _Grid.of(block, form)
        codes, errors = torch.empty_like(block), torch.empty_like(block)
        for place in range(BLOCK):
            column = block[:, place : place + 1]
            codes[:, place : place + 1] = code = grid.codes(column, form)
            error = (column - grid.numbers(code, form)) / within[place, place]
            errors[:, place : place + 1] = error
            block[:, place:] -= error * within[place, place:]
        weights[:, end:] -= errors @ factor[start:end, end:]
        packed.append(_packed(codes, grid, form))
    return packed


def _packed(codes: torch.Tensor, grid: _Grid, form: BlockFormat) -> torch.Tensor:
    """One block of every row as bytes, uint8 (rows, bytes of a block)."""
    halves = [grid.scale, grid.least] if form.has_least else [grid.scale]
    parts = [half.half().view(torch.uint8) for half in halves]
    if form.bits == 8:
        return torch.cat([*parts, codes.to(torch.int8).view(torch.uint8)], 1)
    whole = codes.to(torch.uint8)
    if form.bits == 5:
        parts.append(_fifth_bits(whole))
    low = whole & 15
    parts.append(low[:, : BLOCK // 2] | low[:, BLOCK // 2 :] << 4)
    return torch.cat(parts, 1)


def _fifth_bits(codes: torch.Tensor) -> torch.Tensor:
    """Bit i of 4 bytes, the first byte first, is the fifth bit of code i."""
    places = torch.arange(8, dtype=torch.uint8)
    return ((codes >> 4).view(-1, 4, 8) << places).sum(2, dtype=torch.uint8)


def _half(numbers: torch.Tensor) -> torch.Tensor:
    return numbers.half().float()
