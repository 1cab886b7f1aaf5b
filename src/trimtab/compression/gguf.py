"""A language model as a GGUF file, which llama.cpp and its relatives run: written tensor by tensor from
safetensors.

What the file holds is planned from headers alone (`models.gguf_plan`), its size known to the byte before a weight
is read. Of the weights some megabytes are in memory at a time, of queries and keys of Llama one matrix. Blocks are
made by the package gguf, the format's own arithmetic. Leaves out: K-quants and importance matrices (llama.cpp's
own quantiser reads the f16 or f32 file), and adapters (merge first).
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib import util
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from safetensors import safe_open

from trimtab.artifacts.facts import ADAPTER_CONFIG, NAME, glance
from trimtab.compression.calibration import InputMoments
from trimtab.compression.gguf_blocks import FORMATS, inverse_factor, kept_outputs
from trimtab.errors import ModelError
from trimtab.home import file_atomically
from trimtab.models import ModelSource
from trimtab.models.gguf_header import ALIGNMENT, F32
from trimtab.models.gguf_layout import BF16, GgufKind, PackedTensor
from trimtab.models.gguf_plan import GgufPlan, plan_gguf
from trimtab.models.weights_header import read_header, weight_files
from trimtab.tuning.gguf_model import MODEL_FILE, interleaved

Packer = Callable[[np.ndarray], bytes]  # float32 (rows, width) -> their bytes in the file

_LANGUAGE = ("instruct", "text")
_NUMBERS_AT_A_TIME = 2**21
_ROW = 4096  # numbers that the quantiser takes as one row; it is slow on short ones
_LARGEST_HALF = 65504.0
# What a folder keeps beside the file: transformers' tokenizer and config, so that nothing has to be reconstructed.
_BESIDE = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "chat_template.jinja", "vocab.json", "merges.txt", "tokenizer.model",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class GgufFile:
    """A file that was written. `kept`: names of the matrices that are in F16, because their rows are no whole
    blocks of `kind`."""

    path: Path
    kind: GgufKind
    nbytes: int
    kept: tuple[str, ...]


def export_gguf(
    source: ModelSource | Path,
    folder: Path,
    kind: GgufKind,
    *,
    finer: frozenset[str] = frozenset(),
    moments: InputMoments | None = None,
) -> GgufFile:
    """`write_gguf` into `folder`, with the config and the tokenizer files beside it: all that `open_gguf_model`
    and a tokenizer are opened from. artifact.json is the caller's. Raises as that does."""
    written = write_gguf(source, folder / MODEL_FILE, kind, finer=finer, moments=moments)
    for name in _BESIDE:
        file = _source(source).folder / name
        if file.is_file():
            shutil.copyfile(file, folder / name)
    return written


def write_gguf(
    source: ModelSource | Path,
    target: Path,
    kind: GgufKind,
    *,
    finer: frozenset[str] = frozenset(),
    moments: InputMoments | None = None,
) -> GgufFile:
    """Write a whole language model, a ModelSource or the folder of one, as the file `target`, which is whole or
    not there; one that was there is replaced.

    `finer`: matrices that get more bits (`gguf_layout.FINER`). With `moments` (`calibration.input_moments`) the
    matrices of the layers are rounded so that their outputs are kept, else every number to the nearest; the file
    has the same size.

    Raises ModelError: what `plan_gguf` raises, TT-C401 an artifact of another task, TT-C402 an adapter, TT-C406 a
    number that the kind does not hold, TT-C407 without the package gguf, TT-C411 too little space; OSError.
    """
    model = _source(source)
    _require_whole_language_model(model.folder)
    if util.find_spec("gguf") is None:
        raise ModelError("TT-C407", path=str(target))
    plan = plan_gguf(model, kind, finer)
    _require_space(target, plan.nbytes)
    with file_atomically(target) as file, ExitStack() as opened:
        stored = _stored(model.folder, opened)
        file.write(plan.header)
        for tensor in plan.tensors:
            _write_tensor(file, tensor, _packer(tensor, moments), stored, model.name, plan)
    return GgufFile(path=target, kind=kind, nbytes=plan.nbytes, kept=plan.kept)


def _source(source: ModelSource | Path) -> ModelSource:
    return source if isinstance(source, ModelSource) else ModelSource(folder=source, name=str(source))


def _require_whole_language_model(folder: Path) -> None:
    if (folder / NAME).is_file():
        facts = glance(folder)
        if facts.task not in _LANGUAGE:
            raise ModelError("TT-C401", folder=str(folder), task=facts.task)
    if (folder / ADAPTER_CONFIG).is_file():
        raise ModelError("TT-C402", folder=str(folder))


def _require_space(target: Path, need: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target.parent).free
    if free < need:
        raise ModelError("TT-C411", path=str(target), need=need, free=free)


def _stored(folder: Path, opened: ExitStack) -> dict[str, Any]:
    """The open safetensors file of every tensor; the files are mapped, not read."""
    found: dict[str, Any] = {}
    for path in weight_files(folder):
        file = opened.enter_context(safe_open(path, framework="pt"))
        found |= {tensor.name: file for tensor in read_header(path)}
    return found


def _packer(tensor: PackedTensor, moments: InputMoments | None) -> Packer:
    known = moments.of(tensor.source) if moments is not None and tensor.type in FORMATS else ()
    if not known:
        return partial(_nearest, kind=tensor.type)
    factors = [inverse_factor(moment) for moment in known]
    return lambda numbers: kept_outputs(torch.from_numpy(numbers), factors, tensor.type).numpy().tobytes()


def _write_tensor(
    file: BinaryIO, tensor: PackedTensor, packer: Packer, stored: dict[str, Any], name: str, plan: GgufPlan
) -> None:
    written = 0
    for numbers in _numbers(tensor, stored):
        _require_held(numbers, tensor, name, plan.kind)
        written += file.write(packer(numbers))
    assert written == tensor.nbytes, "the plan knows every size"
    file.write(bytes(-written % ALIGNMENT))


def _numbers(tensor: PackedTensor, stored: dict[str, Any]) -> Iterator[np.ndarray]:
    """The numbers of a tensor in the order of the file, float32 (rows, width), some rows at a time."""
    width = tensor.shape[-1]
    if not tensor.source:
        yield np.array(tensor.values, np.float32)[None]
        return
    part = stored[tensor.source].get_slice(tensor.source)
    if tensor.heads:  # the mapped file, reordered: a copy of this one matrix
        part = interleaved(stored[tensor.source].get_tensor(tensor.source), tensor.heads)
    if len(tensor.shape) == 1:
        yield part[:].float().numpy()[None]
        return
    step = max(1, _NUMBERS_AT_A_TIME // width // 128) * 128
    for start in range(0, tensor.shape[0], step):
        yield part[start : start + step].float().numpy()


def _require_held(numbers: np.ndarray, tensor: PackedTensor, name: str, kind: GgufKind) -> None:
    """Scales of blocks are halves too."""
    limit = np.finfo(np.float32).max if tensor.type in (F32, BF16) else _LARGEST_HALF
    lowest, highest = float(numbers.min()), float(numbers.max())
    for value in (lowest, highest):
        if not abs(value) <= limit:  # NaN is not
            raise ModelError("TT-C406", name=name, tensor=tensor.source[:80], value=f"{value:.4g}", kind=kind)


def _nearest(numbers: np.ndarray, kind: int) -> bytes:
    """Blocks of a tensor's rows. A block lies within a row, so rows may be laid end to end first."""
    import gguf

    wide = numbers.reshape(-1, _ROW) if numbers.size % _ROW == 0 else numbers
    packed: np.ndarray = gguf.quantize(wide, gguf.GGMLQuantizationType(kind))
    return packed.tobytes()
