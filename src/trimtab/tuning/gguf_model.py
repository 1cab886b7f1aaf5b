"""An exported folder with its GGUF file -> the model, its weights taken out of their blocks.

Unlike `gguf.locate_unpacked`, which knows nothing but the file, the folder has the model's own config.json, so
that nothing of it is lost; and no second copy is kept. Header and config come from somebody else: before any
memory is taken the one is held against the size of the file, the other against the header. Leaves out weights that
stay in their blocks while the model runs: that is llama.cpp's work.
"""

import math
from collections.abc import Iterator
from importlib import util
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedModel
from transformers.initialization import no_init_weights

from trimtab.errors import ModelError
from trimtab.methods import Precision
from trimtab.models import load_config
from trimtab.models.config import shape_from
from trimtab.models.gguf_header import BLOCKS, GgufTensor, read_gguf_header
from trimtab.models.gguf_layout import ROPE_FACTORS, PackedTensor, language_tensors
from trimtab.tuning.load import DTYPES, quiet_transformers

MODEL_FILE = "model.gguf"
_NUMBERS_AT_A_TIME = 2**21


def open_gguf_model(
    folder: Path,
    *,
    pad_token_id: int | None = None,
    precision: Precision = "fp32",
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """The language model in `folder`/model.gguf, of the class and settings of `folder`/config.json, on the CPU,
    ready to be evaluated. Takes the memory of its weights in `precision` and one tensor's rows.

    Raises ModelError: what `load_config` and `shape_from` raise, TT-M004 no file, TT-M070 a file that is damaged,
    TT-C400 a family that is not written, TT-C407 without the package gguf, TT-C412 a file that does not hold what
    the config describes.
    """
    path = folder / MODEL_FILE
    if not path.is_file():
        raise ModelError("TT-M004", path=str(folder), file=MODEL_FILE)
    if util.find_spec("gguf") is None:
        raise ModelError("TT-C407", path=str(path))
    spec = shape_from(load_config(folder, trust_remote_code=trust_remote_code), str(folder))
    wanted = language_tensors(spec, "f32")
    found = {tensor.name: tensor for tensor in read_gguf_header(path).tensors}
    _require_same(path, wanted, found)
    model = _empty(folder, precision, trust_remote_code)
    parameters = dict(model.named_parameters())
    _require_all(path, wanted, parameters)
    for tensor in wanted:
        _fill(parameters[tensor.source], path, found[tensor.name], tensor.heads)
    if pad_token_id is not None:
        model.config.pad_token_id = pad_token_id
    return model.eval()


def _require_same(path: Path, wanted: tuple[PackedTensor, ...], found: dict[str, GgufTensor]) -> None:
    shapes = {tensor.name: tensor.shape for tensor in wanted}
    for name in sorted(shapes.keys() | found.keys() - {ROPE_FACTORS}):
        if name not in shapes or name not in found or found[name].shape != shapes[name]:
            raise ModelError("TT-C412", path=str(path), what=name[:80])
        if found[name].shape[-1] % BLOCKS[found[name].type][0]:
            raise ModelError("TT-C412", path=str(path), what=name[:80])


def _empty(folder: Path, precision: Precision, trust_remote_code: bool) -> PreTrainedModel:
    """The model with weights that are not set; what its class computes for itself (rotary frequencies) is."""
    with quiet_transformers(), no_init_weights():
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code, local_files_only=True)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            config, dtype=DTYPES[precision], trust_remote_code=trust_remote_code
        )
        model.tie_weights()
        if (folder / "generation_config.json").is_file():
            model.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
    return model


def _require_all(path: Path, wanted: tuple[PackedTensor, ...], parameters: dict[str, torch.nn.Parameter]) -> None:
    """Every parameter is filled: memory that was not set would be weights."""
    shapes = {tensor.source: tensor.shape for tensor in wanted}
    for name in sorted(shapes.keys() ^ parameters.keys()):
        raise ModelError("TT-C412", path=str(path), what=name[:80])
    for name, shape in shapes.items():
        if tuple(parameters[name].shape) != shape:
            raise ModelError("TT-C412", path=str(path), what=name[:80])


@torch.no_grad()
def _fill(parameter: torch.nn.Parameter, path: Path, tensor: GgufTensor, heads: int) -> None:
    target = parameter.view(-1, tensor.shape[-1]) if len(tensor.shape) > 1 else parameter[None]
    if heads:
        rows = torch.cat([torch.from_numpy(part) for part in _rows(path, tensor)])
        parameter.copy_(side_by_side(rows.view(tensor.shape), heads))
        return
    start = 0
    for part in _rows(path, tensor):
        target[start : start + len(part)].copy_(torch.from_numpy(part))
        start += len(part)


def _rows(path: Path, tensor: GgufTensor) -> Iterator[np.ndarray]:
    """The numbers of a tensor, float32 (rows, width), some rows at a time."""
    import gguf

    width = tensor.shape[-1]
    rows, step = math.prod(tensor.shape[:-1]), max(1, _NUMBERS_AT_A_TIME // width)
    numbers, nbytes = BLOCKS[tensor.type]
    row_bytes = width // numbers * nbytes
    with path.open("rb") as file:
        file.seek(tensor.begin)
        for start in range(0, rows, step):
            raw = np.fromfile(file, np.uint8, min(step, rows - start) * row_bytes).reshape(-1, row_bytes)
            yield gguf.dequantize(raw, gguf.GGMLQuantizationType(tensor.type)).reshape(-1, width)


def interleaved(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """Queries or keys as llama.cpp's rotary embedding of Llama wants them: of the rows of each head (heads x
    width, inputs), or of a bias, the two halves alternate. `side_by_side` undoes it."""
    return rows.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)


def side_by_side(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """As transformers wants them: the first halves of a head's pairs of rows, then the second ones."""
    return rows.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)
