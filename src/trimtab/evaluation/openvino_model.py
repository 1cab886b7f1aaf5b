"""An openvino_model.xml (and .bin, its weights) that is called as the transformers class it was exported from, in
OpenVINO on the CPU.

OpenVINO chooses numbers by the processor: where that has bf16, fp32 would be computed in bf16. Here it is not.
Where weights are in few bits it makes activations int8, a range for every 32 of them, which is what makes it fast.
Its files have the names that Optimum Intel looks for. Leaves out training, other devices, and graphs that make
words.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import util
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, PretrainedConfig
from transformers.utils import ModelOutput

from trimtab.errors import ArtifactError
from trimtab.evaluation.onnx_model import require_known
from trimtab.hardware.cpu import allowed_cores
from trimtab.models.sentence import PoolingKind

OPENVINO_FILE = "openvino_model.xml"
WEIGHTS_FILE = "openvino_model.bin"
PACKAGE = "openvino"
NUMBERS = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 32}
_TELEMETRY = "openvino_telemetry"
_TOLD = 300  # characters of what OpenVINO says


class OpenVinoModel(nn.Module):
    """Inputs int64 (rows, width) by name; those that the graph does not take are left out. Outputs by name, fp32.
    `forward` raises ArtifactError TT-C002 where OpenVINO cannot compute them. Final."""

    def __init__(self, folder: Path, threads: int, config: PretrainedConfig, pooling: PoolingKind) -> None:
        super().__init__()
        self._file = folder / OPENVINO_FILE
        self._compiled = _compiled(self._file, threads)
        self._takes = [one.any_name for one in self._compiled.inputs]
        self._gives = [one.any_name for one in self._compiled.outputs]
        require_known(self._takes, self._gives, self._file)
        self.config = config
        self.sentence_pooling = pooling

    def forward(self, **inputs: torch.Tensor) -> ModelOutput:
        fed = {name: inputs[name].contiguous().numpy() for name in self._takes}
        try:
            # A request of its own: one that is shared would be refused to a second thread.
            found = self._compiled.create_infer_request().infer(fed)
        except Exception as error:  # RuntimeError, TypeError and others, by what went wrong
            raise ArtifactError("TT-C002", file=str(self._file), why=last_line(error)) from error
        return ModelOutput({name: torch.from_numpy(found[name]) for name in self._gives})


def open_openvino(folder: Path, pooling: PoolingKind | None, threads: int = 0) -> OpenVinoModel:
    """The model of a folder with openvino_model.xml, .bin and config.json. `threads` 0 = all cores this
    process may use.

    Raises ArtifactError TT-C700 without the package openvino, TT-C002 where it refuses the files.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    return OpenVinoModel(folder, threads, config, pooling or "mean")


def installed() -> bool:
    """Whether OpenVINO can be imported."""
    return util.find_spec(PACKAGE) is not None


def import_openvino() -> Any:
    """The module. It reports every import over the network where openvino_telemetry is installed, which pip does
    with it; where that cannot be imported it goes without, and so it is hidden meanwhile."""
    with _hidden(_TELEMETRY):
        import openvino
    return openvino


def last_line(error: Exception) -> str:
    """What OpenVINO says last is what is wrong; before it come places in its source."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1].strip()[:_TOLD]


def _compiled(file: Path, threads: int) -> Any:
    if not installed():
        raise ArtifactError("TT-C700", file=str(file))
    settings = {
        **NUMBERS,
        "INFERENCE_NUM_THREADS": threads or allowed_cores(),
        "NUM_STREAMS": 1,  # all threads on one batch
        "ENABLE_CPU_PINNING": False,  # two processes would be tied to the same cores
    }
    try:
        core = import_openvino().Core()
        return core.compile_model(core.read_model(file, file.with_name(WEIGHTS_FILE)), "CPU", settings)
    except Exception as error:  # RuntimeError for all that is wrong with a file, ImportError for its own libraries
        raise ArtifactError("TT-C002", file=str(file), why=last_line(error)) from error


@contextmanager
def _hidden(name: str) -> Iterator[None]:
    """A module that is not there for imports inside, unless it has been imported already."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # what the import system takes for "not to be had"
    try:
        yield
    finally:
        del sys.modules[name]
