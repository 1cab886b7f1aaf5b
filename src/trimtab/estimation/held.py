"""What the weights of a strategy take while it trains: all in its precision, but for matrices in few bits."""

from dataclasses import dataclass, replace
from functools import lru_cache

from trimtab.methods import BasePrecision, Strategy
from trimtab.methods.base_precision import NF4_BLOCK, matrix_bytes
from trimtab.models.spec import ModelSpec

# Of a number, by the arrays that bitsandbytes 0.50 makes on a CPU; measured on a matrix of 4,096 x 4,096 in bf16.
_PACKING_BYTES: dict[BasePrecision, int] = {"same": 0, "nf4": 14, "int8": 10}
BYTES = {"fp32": 4, "bf16": 2, "fp16": 2, "unknown": 4}


@dataclass(frozen=True, slots=True)
class _Packed:
    """Numbers of all quantised matrices by layer, of the largest one, and the bytes of all."""

    by_layer: tuple[int, ...] = ()
    largest: int = 0
    held_bytes: int = 0


def held_bytes(strategy: Strategy, spec: ModelSpec, outputs: int) -> int:
    """Bytes of all weights, exact; masters left out."""
    packed = _packed(strategy, spec)
    plain = strategy.total_parameters(spec, outputs) - sum(packed.by_layer)
    return plain * BYTES[strategy.precision] + packed.held_bytes


def layer_held_bytes(strategy: Strategy, spec: ModelSpec, layer: int) -> int:
    """Bytes of the base's weights in one layer."""
    packed = strategy.quantised(spec, layer)
    plain = spec.layer(layer).layer_parameters - sum(x.inputs * x.outputs for x in packed)
    return plain * BYTES[strategy.precision] + sum(matrix_bytes(strategy.base_precision, x) for x in packed)


def unpacked_numbers(strategy: Strategy, spec: ModelSpec) -> tuple[int, int]:
    """Numbers unpacked in one forward pass, and in forward and backward together: once more where gradients pass,
    and once more with recompute."""
    by_layer = _packed(strategy, spec).by_layer
    forward = sum(by_layer[strategy.cached_layers(spec) :])
    again = sum(by_layer[max(0, strategy.lowest_layer(spec)) :]) if by_layer else 0
    return forward, forward + again * (2 if strategy.recompute else 1)


def unpacked_bytes(strategy: Strategy, spec: ModelSpec) -> int:
    """Bytes of the largest quantised matrix while it is multiplied: unpacked, in NF4 with its scales in fp32. One
    at a time is."""
    most = _packed(strategy, spec).largest
    scales = 4 * -(-most // NF4_BLOCK) if strategy.base_precision == "nf4" else 0
    return most * BYTES[strategy.precision] + scales


def packing_bytes(strategy: Strategy, spec: ModelSpec) -> int:
    """Bytes that packing the largest matrix takes, on the CPU."""
    return _packed(strategy, spec).largest * _PACKING_BYTES[strategy.base_precision]


def _packed(strategy: Strategy, spec: ModelSpec) -> _Packed:
    if strategy.base_precision == "same":
        return _NOTHING
    return _packed_of(strategy.what_is_trained, strategy.base_precision, spec)


_NOTHING = _Packed()


@lru_cache(maxsize=256)
def _packed_of(what: Strategy, base: BasePrecision, spec: ModelSpec) -> _Packed:
    """Kept, since every cut of the batch asks for the same."""
    strategy = replace(what, base_precision=base)
    layers = [strategy.quantised(spec, layer) for layer in range(spec.layers)]
    return _Packed(
        by_layer=tuple(sum(x.inputs * x.outputs for x in linears) for linears in layers),
        largest=max((x.inputs * x.outputs for linears in layers for x in linears), default=0),
        held_bytes=sum(matrix_bytes(base, x) for linears in layers for x in linears),
    )
