"""Bytes of a model in ONNX before it is written, from its shape. Pure.

int8: a byte a number of every matrix and table, 4 + 1 for the scale and the zero point of each column of a matrix;
int4: half a byte, and 4.5 bytes a block (scale in fp32, zero point in 4 bits) of matrices and tables; fp32: 4
bytes; biases, norms, pooler and head stay in fp32; the graph itself takes some 8 kB a layer. Known error: below 1
% on MiniLM-L6 (int8 23.4 MB, int4 15.2 MB) and its students.
"""

from trimtab.compression.wanted import Bits
from trimtab.models.spec import ModelSpec

_GRAPH_BYTES = 8_000  # a layer: nodes and names
_SCALE_BYTES, _ZERO_BYTES = 4, 1


def onnx_bytes(spec: ModelSpec, parameters: int, bits: Bits | None = None, block: int = 32) -> int:
    """Of the model of `spec` with `parameters` numbers, its head among them; `bits` None = fp32."""
    layers = [spec.layer(number) for number in range(spec.layers)]
    linears = [linear for layer in layers for linear in layer.linears]
    tables = spec.embedding_parameters - 2 * spec.hidden  # without their norm
    matrices = sum(linear.inputs * linear.outputs for linear in linears) + tables
    channels = sum(linear.outputs for linear in linears)
    rest = 4 * (parameters - matrices) + _GRAPH_BYTES * spec.layers
    pooler = spec.hidden**2 if spec.pooler else 0  # in int8 a matrix like the others
    packed = {
        None: 4.0 * matrices,
        "q8": matrices + (_SCALE_BYTES + _ZERO_BYTES) * channels - 3 * pooler,
        "q4": matrices * (0.5 + (_SCALE_BYTES + 0.5) / block),
    }
    return round(packed[bits] + rest)
