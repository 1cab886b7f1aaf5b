"""UpdateRule: how a step changes the trained weights. The pure half: settings, and what it holds and moves.

A new rule is one class here and one function in training/rules.py. The bytes are those of the implementations
there; exams hold the two to each other. States stand beside fp32 masters, which are counted elsewhere.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from trimtab.methods.base_precision import QUANTISER
from trimtab.methods.part import Shape

# What is worked through in pieces on a CPU, so that temporaries stay in the cache, takes so many numbers at once.
PIECE = 2**18
_BLOCK = 256  # numbers that share a scale in bitsandbytes' 8-bit states
_EIGHT_BIT_MOVED = (
    32  # gradient written 4, norm 4, scaled 8; weight, gradient and two bytes read, all but one written
)
_SMALLEST_8BIT = 4096  # numbers; smaller tensors keep states in fp32
_SMALLEST_PAGED = 100_000


@dataclass(frozen=True, kw_only=True, slots=True)
class UpdateRule(ABC):
    """Abstract. A subclass is final: a frozen dataclass of its settings, with these answers.

    `rate_share`: the learning rate to start from, over AdamW's. `library`: the package it needs beside torch, of
    the extra `quant`.
    """

    name: ClassVar[str]
    rate_share: ClassVar[float] = 1.0
    moves_zeros: ClassVar[bool] = True  # also weights that start at 0, as an adapter's do
    library: ClassVar[str] = ""
    gpu_only: ClassVar[bool] = False

    weight_decay: float = 0.01

    @abstractmethod
    def state_bytes(self, shape: Shape) -> int:
        """Bytes that are kept from step to step for a trained tensor of `shape`."""

    def device_bytes(self, shape: Shape) -> int:
        """Of them, those in the memory of the device."""
        return self.state_bytes(shape)

    @abstractmethod
    def moved_bytes(self, *, cpu: bool) -> int:
        """Bytes read and written a trained number in one update, as far as time is concerned: its gradient's
        making and norm included and, except for AdamW, whose kernel does it in passing, its scaling."""

    def step_bytes(self, shape: Shape, *, cpu: bool) -> int:
        """Bytes made while a tensor of `shape` is updated and let go after it."""
        return 0


@dataclass(frozen=True, kw_only=True, slots=True)
class AdamW(UpdateRule):
    """AdamW (Loshchilov and Hutter 2017, arXiv 1711.05101). Two states a number, fp32, in one fused pass. No decay
    on norms and biases, here as in every other rule."""

    name: ClassVar[str] = "adamw"

    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8

    def moved_bytes(self, *, cpu: bool) -> int:
        return 36  # gradient written 4, norm 4, four arrays read and three written

    def state_bytes(self, shape: Shape) -> int:
        return 8 * math.prod(shape)


@dataclass(frozen=True, kw_only=True, slots=True)
class AdamW8bit(UpdateRule):
    """AdamW with both states in 8 bit, in blocks of 256 with an fp32 scale each (Dettmers et al. 2021, arXiv
    2110.02861; bitsandbytes). Tensors below 4,096 numbers keep theirs in fp32."""

    name: ClassVar[str] = "adamw8bit"
    library: ClassVar[str] = QUANTISER

    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8

    def moved_bytes(self, *, cpu: bool) -> int:
        # A CPU searches for the code of each number: measured, 22 ns where moving a byte takes 0.036.
        return 630 if cpu else _EIGHT_BIT_MOVED

    def state_bytes(self, shape: Shape) -> int:
        return _eight_bit_bytes(math.prod(shape))

    def step_bytes(self, shape: Shape, *, cpu: bool) -> int:
        # On a CPU both states, the gradient and two steps of the denominator are there in fp32, a piece at a time.
        return 20 * min(math.prod(shape), PIECE) if cpu else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class PagedAdamW8bit(UpdateRule):
    """AdamW8bit whose larger states lie in memory of the host that a GPU reaches into (Dettmers et al. 2023, arXiv
    2305.14314, section 3)."""

    name: ClassVar[str] = "paged_adamw8bit"
    library: ClassVar[str] = QUANTISER
    gpu_only: ClassVar[bool] = True

    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8

    def moved_bytes(self, *, cpu: bool) -> int:
        return _EIGHT_BIT_MOVED

    def state_bytes(self, shape: Shape) -> int:
        return _eight_bit_bytes(math.prod(shape))

    def device_bytes(self, shape: Shape) -> int:
        numbers = math.prod(shape)
        return _scales_bytes(numbers) if numbers >= _SMALLEST_PAGED else _eight_bit_bytes(numbers)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lion(UpdateRule):
    """Lion (Chen et al. 2023, arXiv 2302.06675): steps of one size, in the sign of a momentum. One state a number,
    fp32. The paper takes learning rates 3 to 10 times smaller than AdamW's and a decay as much larger."""

    name: ClassVar[str] = "lion"
    rate_share: ClassVar[float] = 0.2

    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.99)

    def moved_bytes(self, *, cpu: bool) -> int:
        # On a CPU the six passes of a piece are in the cache: measured, 35, beside gradient, norm and scaling.
        return 51 if cpu else 76

    def state_bytes(self, shape: Shape) -> int:
        return 4 * math.prod(shape)

    def step_bytes(self, shape: Shape, *, cpu: bool) -> int:
        return 4 * (min(math.prod(shape), PIECE) if cpu else math.prod(shape))


@dataclass(frozen=True, kw_only=True, slots=True)
class Adafactor(UpdateRule):
    """Adafactor (Shazeer and Stern 2018, arXiv 1804.04235): of the second moment of a matrix only row and column
    means are kept, and steps are in proportion to the size of the weights. So is its learning rate: 1e-3 for full
    tuning, as in T5 (Raffel et al. 2019, arXiv 1910.10683), where AdamW has 5e-5. What an adapter starts at 0
    hardly moves: after 48 steps of LoRA on MiniLM-L6 its B was 118 times smaller than with AdamW."""

    name: ClassVar[str] = "adafactor"
    moves_zeros: ClassVar[bool] = False
    rate_share: ClassVar[float] = 20.0

    weight_decay: float = 0.0
    beta2_decay: float = -0.8
    smallest_scale: float = 1e-3  # of weights that are near 0, as far as the size of a step goes
    most_update: float = 1.0  # root mean square of an update, before it is scaled

    def moved_bytes(self, *, cpu: bool) -> int:
        return 110  # measured on a CPU: 95, beside gradient, norm and scaling

    def state_bytes(self, shape: Shape) -> int:
        numbers = math.prod(shape)
        return 4 * (numbers // shape[-1] + numbers // shape[-2] if len(shape) > 1 else numbers)

    def step_bytes(self, shape: Shape, *, cpu: bool) -> int:
        return 4 * math.prod(shape)


UPDATE_RULES: tuple[type[UpdateRule], ...] = (AdamW, AdamW8bit, PagedAdamW8bit, Lion, Adafactor)


def _eight_bit_bytes(numbers: int) -> int:
    return 8 * numbers if numbers < _SMALLEST_8BIT else 2 * numbers + _scales_bytes(numbers)


def _scales_bytes(numbers: int) -> int:
    return 2 * 4 * -(-numbers // _BLOCK)
