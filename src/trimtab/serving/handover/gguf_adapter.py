"""A LoRA adapter as the GGUF file that llama.cpp loads: pairs beside the tensors of its base file.

general.type is "adapter", adapter.type "lora"; beside a tensor "blk.0.attn_q.weight" stand "....lora_a" (rank x
inputs) and "....lora_b" (outputs x rank), float32. llama.cpp computes W x + (alpha / rank) B A x, with the rank
of the tensors: of rsLoRA, whose scale is alpha / sqrt(rank), adapter.lora.alpha is alpha x sqrt(rank). Rows of
queries and keys of Llama are reordered in the base's file (`models.gguf_layout`); the rows of B are those rows.
Format: llama.cpp's convert_lora_to_gguf.py and src/llama-adapter.cpp. Leaves out adapters on embeddings and heads.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import safe_open

from trimtab import tuning
from trimtab.artifacts import ADAPTER_WEIGHTS, adapter_tensors
from trimtab.errors import ArtifactError
from trimtab.home import file_atomically
from trimtab.methods import Lora
from trimtab.models import ModelSpec
from trimtab.models.gguf_entries import Entry, number, real, text
from trimtab.models.gguf_header import ALIGNMENT, F32
from trimtab.models.gguf_layout import PackedTensor, architecture, language_tensors
from trimtab.models.gguf_plan import header_bytes
from trimtab.serving.handover.facts import Handed, Served
from trimtab.tuning.gguf_model import interleaved

_PREFIX = "base_model.model."
_SIDES = {".lora_A.weight": ".lora_a", ".lora_B.weight": ".lora_b"}
_ALL_F32 = 0  # of llama.h


def write_gguf_adapter(served: Served, handed: Handed, target: Path) -> None:
    """Write the file `target`, which is whole or not there; one matrix is in memory at a time.

    Raises ModelError TT-C400 for a family that llama.cpp's files are not written of; ArtifactError TT-A006 where a
    weight is not finite, TT-A028 for a tensor beside which the base's file has none; OSError.
    """
    part = handed.lora
    assert part is not None, "llama.cpp loads LoRA alone"
    tuning.require_finite(handed.folder)
    tensors = tuple(_placed(handed.folder, served.spec))
    with safe_open(handed.folder / ADAPTER_WEIGHTS, framework="pt") as weights, file_atomically(target) as file:
        file.write(header_bytes(_entries(served.spec, handed.name, part), tensors))
        for tensor in tensors:
            written = file.write(_numbers(weights.get_tensor(tensor.source), tensor.heads))
            assert written == tensor.nbytes, "the header knows every size"
            file.write(bytes(-written % ALIGNMENT))


def llama_alpha(part: Lora) -> float:
    """What adapter.lora.alpha has to be, for the scale that llama.cpp makes of it to be that of the training."""
    return part.alpha * math.sqrt(part.rank) if part.variant == "rslora" else float(part.alpha)


def _entries(spec: ModelSpec, name: str, part: Lora) -> tuple[Entry, ...]:
    return (
        text("general.architecture", architecture(spec)),
        text("general.type", "adapter"),
        text("general.name", name),
        number("general.file_type", _ALL_F32),
        text("adapter.type", "lora"),
        real("adapter.lora.alpha", llama_alpha(part)),
    )


def _placed(folder: Path, spec: ModelSpec) -> Iterator[PackedTensor]:
    """The tensors of the file, in the order of the base's: which of ours each is, whether rows are reordered."""
    found = {tensor.name: tensor.shape for tensor in adapter_tensors(folder)}
    for base in language_tensors(spec, "f32"):
        module = _PREFIX + base.source.removesuffix(".weight")
        for side, suffix in _SIDES.items():
            source = module + side
            if source in found:
                heads = base.heads if suffix == ".lora_b" else 0
                yield PackedTensor(
                    name=base.name + suffix, source=source, shape=found.pop(source), type=F32, heads=heads
                )
    for source in found:
        raise ArtifactError("TT-A028", name=source, folder=str(folder), count=len(found))


def _numbers(matrix: torch.Tensor, heads: int) -> bytes:
    rows = matrix.float()
    return (interleaved(rows, heads) if heads else rows).contiguous().numpy().tobytes()
