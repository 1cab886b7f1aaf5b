"""Fewer bits for the weights of an ONNX graph, by ONNX Runtime's own quantisers, or, for int8 weights alone, by
onnx_weights; some nodes may be kept in fp32.

Products of two activations stay in fp32: their ranges change with every text. Leaves out which nodes to keep
(quantizing.py), and graphs beyond one file.
"""

import contextlib
import io
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.compression.onnx_weights import write_int8_weights
from trimtab.compression.wanted import Bits, Quantize, Ranges

if TYPE_CHECKING:
    from onnxruntime.quantization import CalibrationDataReader

Feeds = Iterator[Mapping[str, np.ndarray]]
_HELD_BATCHES = 8  # of activations, before they become a histogram
_OPERATORS = ("MatMul", "Gemm", "Gather")


def write_fewer_bits(
    graph: Path, file: Path, wanted: Quantize, feeds: Callable[[], Feeds], kept: Sequence[str] = ()
) -> None:
    """`graph` in fp32 -> `file` as `wanted`, but for the nodes `kept`. `feeds`: inputs of training texts, to find
    static ranges on. Raises what ONNX Runtime raises of a graph that it cannot read; OSError."""
    with _quiet():
        _WRITERS[wanted.bits, wanted.ranges](graph, file, wanted, feeds, list(kept))


def _dynamic(graph: Path, file: Path, wanted: Quantize, feeds: Callable[[], Feeds], kept: list[str]) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        graph,
        file,
        op_types_to_quantize=list(_OPERATORS),
        per_channel=True,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=[*kept, *_products_of_activations(graph)],
        extra_options={"MatMulConstBOnly": True},
    )


def _static(graph: Path, file: Path, wanted: Quantize, feeds: Callable[[], Feeds], kept: list[str]) -> None:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    quantize_static(
        graph,
        file,
        _reader(feeds()),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=list(_OPERATORS),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=[*kept, *_products_of_activations(graph)],
        calibrate_method=CalibrationMethod.Percentile,
        extra_options={"CalibPercentile": 99.99, "CalibMaxIntermediateOutputs": _HELD_BATCHES},
    )


def _weights_alone(graph: Path, file: Path, wanted: Quantize, feeds: Callable[[], Feeds], kept: list[str]) -> None:
    write_int8_weights(graph, file, kept)


def _int4(graph: Path, file: Path, wanted: Quantize, feeds: Callable[[], Feeds], kept: list[str]) -> None:
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer: Any = MatMulNBitsQuantizer(
        onnx.load(graph),
        bits=4,
        block_size=wanted.block,
        is_symmetric=False,
        accuracy_level=4,  # products in int8, which is what makes it fast
        nodes_to_exclude=kept,
        op_types_to_quantize=("MatMul", "Gather"),
        quant_axes=(("MatMul", 0), ("Gather", 1)),
    )
    quantizer.process()
    onnx.save(quantizer.model.model, file)


_WRITERS: Mapping[tuple[Bits, Ranges], Callable[..., None]] = {
    ("q8", "dynamic"): _dynamic,
    ("q8", "static"): _static,
    ("q8", "none"): _weights_alone,
    ("q4", "dynamic"): _int4,
}


def _reader(feeds: Feeds) -> "CalibrationDataReader":
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def get_next(self) -> Mapping[str, np.ndarray] | None:
            return next(feeds, None)

    return Reader()


def _products_of_activations(graph: Path) -> list[str]:
    import onnx

    read = onnx.load(graph).graph
    weights = {one.name for one in read.initializer}
    return [node.name for node in read.node if node.op_type in _OPERATORS and not weights & set(node.input)]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the quantisers' advice to preprocess, and what they print."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
