"""A model as an ONNX graph in fp32: any number of rows and tokens, outputs as the transformers class names them.

torch writes the graph (torch.onnx, through torch.export). What is ours: the plain attention, of which ONNX Runtime
makes less work than of SDPA's graph; weights in fp32; and that nothing of this machine stays in the file: torch
notes the source line behind every node. `Groups` tells which node belongs to which part of a layer. Leaves out
graphs that make words one by one.
"""

import contextlib
import logging
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trimtab import tuning
from trimtab.errors import ModelError, message
from trimtab.evaluation import Artifact, Encoded
from trimtab.methods import Strategy

PACKAGES = ("onnx", "onnxruntime", "onnxscript")
_SCOPES = "pkg.torch.onnx.name_scopes"
_GROUP = re.compile(r"(?P<layer>.*?\.\d+)\.(?P<part>\w+)")
_MOST_BYTES = 2**31 - 2**20  # of one file of protobuf, with what stands beside the weights
_EXAMPLE_ROWS = 2


@dataclass(frozen=True, slots=True)
class Group:
    """The matrix products of one part of one layer ("encoder.layer.3.attention"), by names of their nodes."""

    name: str
    nodes: tuple[str, ...]


def require_packages() -> None:
    """Raises ModelError TT-C003 where a package for ONNX is missing."""
    for package in PACKAGES:
        if util.find_spec(package) is None:
            raise ModelError("TT-C003", package=package)


def write_graph(artifact: Artifact, rows: Encoded, file: Path) -> tuple[Group, ...]:
    """Write the model of an artifact, in fp32 and merged where it is an adapter that can be, to `file`. The model
    in memory is changed for it. `rows`: examples of what it reads, at least two.

    Raises ModelError TT-C003 without the packages, TT-C014 for tasks that write texts, TT-C016 where torch finds
    no graph; OSError.
    """
    require_packages()
    facts = artifact.facts
    if facts.task in ("instruct", "text"):
        raise ModelError("TT-C014", task=facts.task)
    model = _plain(artifact)
    size = 4 * sum(parameter.numel() for parameter in model.parameters())
    if size > _MOST_BYTES:
        raise ModelError(
            "TT-C016", family=artifact.spec.family, why=message("TT-C018", size=size, most=_MOST_BYTES)
        )
    inputs = artifact.collator.batch(rows, _longest(rows))
    output = "last_hidden_state" if facts.task == "embed" else "logits"
    try:
        graph = _exported(_Tensors(model, list(inputs), output), inputs, output)
    except Exception as error:  # torch.export raises what the model's code raises
        said = str(error.__cause__ or error).strip().partition("\n")[0][:300]
        raise ModelError("TT-C016", family=artifact.spec.family, why=said) from error
    groups = _groups(graph)
    _save(graph, file)
    return groups


def _longest(rows: Encoded) -> Any:
    return rows.widths.argsort(kind="stable")[::-1][:_EXAMPLE_ROWS].copy()


def _plain(artifact: Artifact) -> nn.Module:
    model: Any = artifact.model
    if artifact.facts.adapter and _merges(artifact.facts.strategy):
        tuning.merge(artifact.facts.strategy, model, artifact.spec)
    tuning.unpack(model)
    model.set_attn_implementation("eager")
    model.config.use_cache = False
    return model.float().eval()


def _merges(strategy: Strategy) -> bool:
    return all(part.mergeable for part in strategy.parts if part.adapter)


class _Tensors(nn.Module):
    """A model as torch.export wants it: tensors in, one tensor out."""

    def __init__(self, model: nn.Module, names: list[str], output: str) -> None:
        super().__init__()
        self.model, self._names, self._output = model, names, output

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.model(**dict(zip(self._names, inputs, strict=True)))[self._output]


def _exported(module: nn.Module, inputs: dict[str, torch.Tensor], output: str) -> Any:
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            dynamo=True,
            dynamic_shapes={"inputs": (free,) * len(inputs)},
            input_names=list(inputs),
            output_names=[output],
            external_data=False,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of operators that are not there."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _groups(graph: Any) -> tuple[Group, ...]:
    """Products with weights, by part of a layer, in the order of the graph."""
    weights = {one.name for one in graph.graph.initializer}
    found: dict[str, list[str]] = {}
    for node in graph.graph.node:
        if node.op_type in ("MatMul", "Gemm", "Gather") and weights & set(node.input):
            found.setdefault(_group_of(node), []).append(node.name)
    return tuple(Group(name, tuple(nodes)) for name, nodes in found.items())


def _group_of(node: Any) -> str:
    """Of the innermost module the exporter has noted."""
    noted = next((one.value for one in node.metadata_props if one.key == _SCOPES), "")
    modules = [name for name in re.findall(r"'([^']*)'", noted) if name.startswith("model.")]
    name = (modules[-1] if modules else node.name).removeprefix("model.")
    inside = _GROUP.match(name)
    return f"{inside['layer']}.{inside['part']}" if inside else name


def _save(graph: Any, file: Path) -> None:
    import onnx

    for node in graph.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del graph.graph.value_info[:]  # its own inference does not agree with the names torch gives
    graph.graph.doc_string = graph.doc_string = ""
    onnx.save(graph, file)
