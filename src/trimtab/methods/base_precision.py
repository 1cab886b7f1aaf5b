"""BasePrecision: in how many bits the frozen matrices of the layers are stored. The torch half is
tuning/quantised.py.

NF4: 4 bits a number, a scale for every 64, the scales themselves in 8 bits with an fp32 scale for every 256 of
them ("double quantisation": Dettmers et al. 2023, arXiv 2305.14314). int8: 8 bits a number, an fp32 scale for each
row of a matrix (the weights' half of LLM.int8(): Dettmers et al. 2022, arXiv 2208.07339). Leaves out what the
rounding costs in quality.
"""

from collections.abc import Callable, Mapping
from typing import Literal

from trimtab.models.spec import Linear

BasePrecision = Literal["same", "int8", "nf4"]  # "same" = as everything else, in the strategy's own precision
QUANTISED: tuple[BasePrecision, ...] = ("nf4", "int8")
QUANTISER = "bitsandbytes"  # the package that does it

NF4_BLOCK = 64  # numbers that share a scale
_SCALES_BLOCK = 256  # scales that share one
_FP32 = 4
_NF4_CODE_BYTES = (16 + 256) * _FP32  # beside every matrix: the values of 4 bits, and those of its scales' 8


def matrix_bytes(base: BasePrecision, linear: Linear) -> int:
    """Bytes of a quantised matrix with its scales, exact, its bias left out."""
    return _BYTES[base](linear)


def _nf4(linear: Linear) -> int:
    numbers = linear.inputs * linear.outputs
    scales = -(-numbers // NF4_BLOCK)
    mean = _FP32  # of the scales, taken from each before it is rounded
    return -(-numbers // 2) + scales + _FP32 * -(-scales // _SCALES_BLOCK) + mean + _NF4_CODE_BYTES


def _int8(linear: Linear) -> int:
    return linear.inputs * linear.outputs + _FP32 * linear.outputs


_BYTES: Mapping[BasePrecision, Callable[[Linear], int]] = {"nf4": _nf4, "int8": _int8}
