"""Int8 for the weights of an ONNX graph alone: activations stay in fp32.

Where activations are int8 too, a difference in the last bit of fp32, which any two processors have, moves some of
them by a whole step of 256, and the outputs by far more than rounding. Weights alone give the same on every
processor, and in a browser. Each weight is an int8 and a scale, multiplied out when the graph is opened (by
constant folding), so that it runs as fast as fp32; rows of an embedding only where they are looked up.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

_LARGEST = 127
_FEWEST = 1024  # numbers: of fewer there is nothing to save


def write_int8_weights(graph: Path, file: Path, kept: Collection[str]) -> None:
    """`graph` in fp32 -> `file`, but for the weights of the nodes `kept`. A scale for each output of a product,
    and for each row of an embedding. Raises OSError."""
    import onnx

    model = onnx.load(graph)
    weights = {one.name: one for one in model.graph.initializer}
    packed: set[str] = set()
    nodes: list[Any] = []
    for node in model.graph.node:
        place = _WEIGHTS.get(node.op_type)
        name = node.input[place] if place is not None else ""
        if place is None or node.name in kept or not _worthwhile(weights.get(name)):
            nodes.append(node)
            continue
        if name not in packed:
            nodes += _pack(model.graph, weights[name], node)
            packed.add(name)
        nodes += _looked_up(node, name) if node.op_type == "Gather" else [_unpacked(node, place, name)]
    _drop_unused(model.graph, nodes, packed)
    onnx.save(model, file)


_WEIGHTS = {"MatMul": 1, "Gemm": 1, "Gather": 0}
"""Which input of a node is its weight."""


def _worthwhile(weight: Any) -> bool:
    import onnx

    return (
        weight is not None
        and weight.data_type == onnx.TensorProto.FLOAT
        and len(weight.dims) == 2
        and np.prod(weight.dims) >= _FEWEST
    )


def _pack(graph: Any, weight: Any, node: Any) -> list[Any]:
    """Add int8 and scales of `weight`. Returns the nodes that multiply them out; none for an embedding."""
    from onnx import helper, numpy_helper

    exact = numpy_helper.to_array(weight)
    across = _across(node)
    scale = np.abs(exact).max(axis=across, keepdims=True) / _LARGEST
    scale = np.where(scale > 0, scale, 1).astype(np.float32)
    graph.initializer.append(
        numpy_helper.from_array(np.rint(exact / scale).astype(np.int8), f"{weight.name}_int8")
    )
    graph.initializer.append(numpy_helper.from_array(scale, f"{weight.name}_scale"))
    if node.op_type == "Gather":
        return []
    return [
        helper.make_node("Cast", [f"{weight.name}_int8"], [f"{weight.name}_cast"], to=1),
        helper.make_node("Mul", [f"{weight.name}_cast", f"{weight.name}_scale"], [f"{weight.name}_fp32"]),
    ]


def _across(node: Any) -> int:
    """The axis whose numbers share a scale: the inputs of a product, the numbers of a row."""
    turned = node.op_type == "Gemm" and any(one.name == "transB" and one.i for one in node.attribute)
    return 1 if turned or node.op_type == "Gather" else 0


def _unpacked(node: Any, place: int, name: str) -> Any:
    node.input[place] = f"{name}_fp32"
    return node


def _looked_up(node: Any, name: str) -> list[Any]:
    """Rows and their scales, and their product."""
    from onnx import helper

    (out,), places = node.output, node.input[1]
    return [
        helper.make_node("Gather", [f"{name}_int8", places], [f"{out}_int8"], name=node.name, axis=0),
        helper.make_node("Gather", [f"{name}_scale", places], [f"{out}_scale"], axis=0),
        helper.make_node("Cast", [f"{out}_int8"], [f"{out}_cast"], to=1),
        helper.make_node("Mul", [f"{out}_cast", f"{out}_scale"], [out]),
    ]


def _drop_unused(graph: Any, nodes: list[Any], packed: set[str]) -> None:
    """Take `nodes` for those of the graph, and drop of the `packed` weights those in fp32 that no node reads."""
    read = {name for node in nodes for name in node.input}
    unused = [one for one in graph.initializer if one.name in packed - read]
    for one in unused:
        graph.initializer.remove(one)
    del graph.node[:]
    graph.node.extend(nodes)
