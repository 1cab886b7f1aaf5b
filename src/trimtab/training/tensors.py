"""Write a safetensors file tensor by tensor, hashing on the way.

The library's own writer copies every tensor into memory before the first byte is written, which would double
what a checkpoint of full tuning holds. The format is eight bytes of header length, a JSON header, the bytes
(https://github.com/huggingface/safetensors#format); reading stays the library's.
"""

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path

import torch

_NAMES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.uint8: "U8",
}
_ALIGNMENT = 8


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> str:
    """Write `tensors` (any device; dtypes of `_NAMES`) to `path`, sync it, and return the file's sha256.

    Memory: one tensor at a time, and only where it is not a contiguous CPU tensor already. Raises OSError.
    """
    # Widest numbers first, so that every tensor starts at a multiple of its own size.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    digest = hashlib.sha256()
    with path.open("wb") as file:

        def write(data: bytes | memoryview) -> None:
            file.write(data)
            digest.update(data)

        write(_header(ordered))
        for _, tensor in ordered:
            flat = tensor.detach().cpu().contiguous().flatten()
            if flat.numel():
                write(flat.view(torch.uint8).numpy().data)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _header(tensors: list[tuple[str, torch.Tensor]]) -> bytes:
    entries, start = {}, 0
    for name, tensor in tensors:
        end = start + tensor.numel() * tensor.element_size()
        entries[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
        start = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return struct.pack("<Q", len(text)) + text
