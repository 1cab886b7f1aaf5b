"""What the weights of a strategy take while it trains: all in its precision, but for matrices in few bits."""

from functools import lru_cache

from trimtab.methods import BasePrecision, Strategy
from trimtab.methods.base_precision import NF4_BLOCK, matrix_bytes
from trimtab.models.spec import ModelSpec

# Of a number, by the arrays that bitsandbytes 0.50 makes on a CPU; measured on a matrix of 4,096 x 4,096 in bf16.
_PACKING_BYTES: dict[BasePrecision, int] = {"same": 0, "nf4": 14, "int8": 10}
BYTES = {"fp32": 4, "bf16": 2, "fp16": 2, "unknown": 4}


@lru_cache(maxsize=4096)
def held_bytes(strategy: Strategy, spec: ModelSpec, outputs: int) -> int:
    """Bytes of all weights, exact; masters left out."""
    packed = [linear for layer in range(spec.layers) for linear in strategy.quantised(spec, layer)]
    plain = strategy.total_parameters(spec, outputs) - sum(x.inputs * x.outputs for x in packed)
    return plain * BYTES[strategy.precision] + sum(matrix_bytes(strategy.base_precision, x) for x in packed)


@lru_cache(maxsize=4096)
def unpacked_numbers(strategy: Strategy, spec: ModelSpec) -> tuple[int, int]:
    """Numbers unpacked in one forward pass, and in forward and backward together: once more where gradients pass,
    and once more with recompute."""
    forward = both = 0
    for layer in range(spec.layers):
        numbers = sum(linear.inputs * linear.outputs for linear in strategy.quantised(spec, layer))
        backward = layer >= strategy.lowest_layer(spec)
        forward += numbers
        both += numbers * (1 + backward * (2 if strategy.recompute else 1))
    return forward, both


@lru_cache(maxsize=4096)
def unpacked_bytes(strategy: Strategy, spec: ModelSpec) -> int:
    """Bytes of the largest quantised matrix while it is multiplied: unpacked, in NF4 with its scales in fp32. One
    at a time is."""
    most = _largest(strategy, spec)
    scales = 4 * -(-most // NF4_BLOCK) if strategy.base_precision == "nf4" else 0
    return most * BYTES[strategy.precision] + scales


@lru_cache(maxsize=4096)
def packing_bytes(strategy: Strategy, spec: ModelSpec) -> int:
    """Bytes that packing the largest matrix takes, on the CPU."""
    return _largest(strategy, spec) * _PACKING_BYTES[strategy.base_precision]


def _largest(strategy: Strategy, spec: ModelSpec) -> int:
    """Numbers in the largest quantised matrix; layers have the same ones, as far as they have them."""
    packed = [*strategy.quantised(spec, 0), *strategy.quantised(spec, spec.layers - 1)]
    return max((linear.inputs * linear.outputs for linear in packed), default=0)
