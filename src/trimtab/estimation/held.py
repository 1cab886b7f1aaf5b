"""What the weights of a strategy take while it trains: all in its precision, but for matrices in few bits."""

from functools import lru_cache

from trimtab.methods import Strategy
from trimtab.methods.base_precision import NF4_BLOCK, matrix_bytes
from trimtab.models.spec import ModelSpec

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
    numbers = [
        linear.inputs * linear.outputs
        for layer in {0, spec.layers - 1}
        for linear in strategy.quantised(spec, layer)
    ]
    most = max(numbers, default=0)
    scales = 4 * -(-most // NF4_BLOCK) if strategy.base_precision == "nf4" else 0
    return most * BYTES[strategy.precision] + scales
