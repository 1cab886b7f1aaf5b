"""The step `export --to openvino`: a model as OpenVINO reads it, of one that transformers or ONNX Runtime opens.

A model in fp32 gives the same numbers. Of one in few bits the bits stay, and OpenVINO makes the activations int8
in its own way, so that a floor holds it. On an EPYC with VNNI, MiniLM-L6 on one thread, 32 tokens: int8 weights
alone 2.6 ms (ONNX Runtime 5.4), static ranges 2.4 (2.4), int4 2.7 (3.9); but 7.0 where ranges are measured while
it runs (2.1; fp32 4.9), which is why that is refused. Leaves out quantising by OpenVINO's own tools (nncf).
"""

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from trimtab.artifacts import Engine
from trimtab.compression.onnx_folder import write_beside
from trimtab.compression.onnx_graph import require_packages, write_graph
from trimtab.compression.recipe import Made, Making, Recipe, Steps
from trimtab.compression.steps.quantize import QuantizeStep
from trimtab.compression.wanted import Floor, OpenVino
from trimtab.errors import ModelError, UsageError, message
from trimtab.evaluation import Artifact
from trimtab.evaluation.onnx_model import ONNX_FILE
from trimtab.evaluation.openvino_model import (
    OPENVINO_FILE,
    WEIGHTS_FILE,
    import_openvino,
    installed,
    last_line,
)

_MEASURED_RANGES = "DynamicQuantizeLinear"


class OpenVinoStep(Recipe):
    """Final."""

    floor: ClassVar[Floor | None] = QuantizeStep.floor
    engines: ClassVar[tuple[Engine, ...]] = ("transformers", "onnx")

    def __init__(self, wanted: OpenVino) -> None:
        self._wanted = wanted

    @property
    def wanted(self) -> OpenVino:
        return self._wanted

    def check(self) -> None:
        """Raises ModelError TT-C701 without openvino, TT-C003 without the packages for ONNX."""
        if not installed():
            raise ModelError("TT-C701")
        require_packages()

    def make(self, making: Making) -> Steps:
        """Raises what `write_graph` raises, ModelError TT-C702 for a graph that measures ranges while it runs,
        TT-C703 where OpenVINO cannot read the graph, UsageError TT-C011 for one in few bits without data;
        OSError."""
        begun = time.monotonic()
        if self._in_few_bits(making):
            _require_fast(making)
            if making.corpus is None:
                raise UsageError("TT-C011", step=f"{self._wanted.step} {' '.join(self._wanted.words)}")
        parent = making.open()
        with _graph(making, parent) as graph:
            _convert(graph, making.folder)
        size = sum((making.folder / name).stat().st_size for name in (OPENVINO_FILE, WEIGHTS_FILE))
        yield message("TT-C020", size=size, seconds=time.monotonic() - begun)
        write_beside(parent, making.folder, "openvino")
        return Made()

    def same_numbers(self, making: Making) -> bool:
        return not self._in_few_bits(making)

    def _in_few_bits(self, making: Making) -> bool:
        return making.facts.engine == "onnx" and _in_few_bits(_read(making.parent / ONNX_FILE))


@contextmanager
def _graph(making: Making, parent: Artifact) -> Iterator[Path]:
    """The ONNX graph: of the parent, or one for as long as it is needed."""
    if parent.facts.engine == "onnx":
        yield making.parent / ONNX_FILE
        return
    with tempfile.TemporaryDirectory(prefix=".graph-", dir=making.folder.parent) as name:
        file = Path(name) / ONNX_FILE
        write_graph(parent, making.before.rows.encoded, file)
        yield file


def _convert(graph: Path, folder: Path) -> None:
    openvino = import_openvino()
    try:
        read = openvino.Core().read_model(graph)
    except Exception as error:  # RuntimeError and others, by what went wrong
        raise ModelError("TT-C703", file=str(graph), why=last_line(error)) from error
    try:
        openvino.save_model(read, folder / OPENVINO_FILE, compress_to_fp16=False)
    except RuntimeError as error:  # "iostream error" is all it says of what the system refused
        full = shutil.disk_usage(folder).free < graph.stat().st_size
        number = errno.ENOSPC if full else errno.EIO
        raise OSError(number, os.strerror(number), str(folder)) from error


def _read(file: Path) -> Any:
    """Without weights that lie outside."""
    import onnx

    return onnx.load(file, load_external_data=False).graph


def _in_few_bits(graph: Any) -> bool:
    """Whether a graph has a matrix of whole numbers."""
    import onnx

    whole = onnx.TensorProto
    few = (whole.INT8, whole.UINT8, whole.INT4, whole.UINT4)
    return any(one.data_type in few and len(one.dims) > 1 for one in graph.initializer)


def _require_fast(making: Making) -> None:
    """Raises ModelError TT-C702."""
    if any(node.op_type == _MEASURED_RANGES for node in _read(making.parent / ONNX_FILE).node):
        raise ModelError("TT-C702", folder=str(making.parent), parent=making.facts.came_from)
