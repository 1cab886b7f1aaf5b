"""A model.onnx that is called as the transformers class it was exported from, in ONNX Runtime on the CPU.

Leaves out training, and graphs that make words (decoders with a cache).
"""

from collections.abc import Sequence
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers import AutoConfig, PretrainedConfig
from transformers.utils import ModelOutput

from trimtab.errors import ArtifactError, message
from trimtab.hardware.cpu import allowed_cores
from trimtab.models.sentence import PoolingKind

if TYPE_CHECKING:
    import onnxruntime

ONNX_FILE = "model.onnx"
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_OUTPUTS = ("logits", "last_hidden_state")
_ERRORS_ALONE = 3  # how loud ONNX Runtime is


class OnnxModel(nn.Module):
    """Inputs int64 (rows, width) by name; those that the graph does not take are left out. Outputs by name, fp32.
    `forward` raises ArtifactError TT-C002 where ONNX Runtime cannot compute them. Final."""

    def __init__(self, file: Path, threads: int, config: PretrainedConfig, pooling: PoolingKind) -> None:
        super().__init__()
        session = open_session(file, threads)
        self._takes = [one.name for one in session.get_inputs()]
        self._gives = [one.name for one in session.get_outputs()]
        require_known(self._takes, self._gives, file)
        self._file = str(file)
        self.config = config
        self.sentence_pooling = pooling
        self._session = session

    def forward(self, **inputs: torch.Tensor) -> ModelOutput:
        fed = {name: inputs[name].numpy() for name in self._takes}
        try:
            found = self._session.run(self._gives, fed)
        except Exception as error:  # its classes share no base but Exception
            raise ArtifactError("TT-C002", file=self._file, why=_first_line(error)) from error
        return ModelOutput({name: torch.from_numpy(x) for name, x in zip(self._gives, found, strict=True)})


def open_onnx(folder: Path, pooling: PoolingKind | None, threads: int = 0) -> OnnxModel:
    """The model of a folder with model.onnx and config.json. `threads` 0 = all cores this process may use.

    Raises ArtifactError TT-C001 without the package onnxruntime, TT-C002 where it refuses the file.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    return OnnxModel(folder / ONNX_FILE, threads, config, pooling or "mean")


def open_session(file: Path, threads: int = 0) -> "onnxruntime.InferenceSession":
    """ONNX Runtime on one file. Raises as `open_onnx`."""
    if util.find_spec("onnxruntime") is None:
        raise ArtifactError("TT-C001", package="onnxruntime", file=str(file))
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or allowed_cores()  # by itself it takes every core of the machine
    options.log_severity_level = _ERRORS_ALONE
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its classes share no base but Exception
        raise ArtifactError("TT-C002", file=str(file), why=_first_line(error)) from error


def require_known(takes: Sequence[str], gives: Sequence[str], file: Path) -> None:
    """Raises ArtifactError TT-C002 where a graph takes or gives something else than an artifact's."""
    strange = [name for name in takes if name not in _INPUTS]
    strange += [name for name in gives if name not in _OUTPUTS]
    if strange:
        raise ArtifactError("TT-C002", file=str(file), why=message("TT-C033", name=strange[0]))


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
