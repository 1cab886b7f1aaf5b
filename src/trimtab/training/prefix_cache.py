"""The frozen prefix, run once: states of every token at the lowest trained layer, kept in files and found again.

    FOLDER/KEY/states.bin    (tokens, width) numbers, row after row as in `Encoded.ids`
               facts.json    how many of which kind, and their sum; read first

KEY is made of everything that decides the numbers: the weights of the lower part as they are in memory, the shape
of the model, tokens and token types, the layer, number format, threads and library versions. So what is found
under it is what would be computed, whatever run computed it. A folder is written beside and renamed when it is
whole; what is found is held to its sum, and a row is computed again to compare.

Leaves out which part of the model is run (`tuning.upper_part`) and when it pays (`estimation.prefix`).
"""

import hashlib
import json
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import nn
from transformers import PreTrainedModel

from trimtab.data.spec import EVALUATION_TOKENS
from trimtab.data.token_store import let_go
from trimtab.estimation.prefix import HELD_BYTES, KEPT_BYTES
from trimtab.evaluation.encode import Collator, Encoded
from trimtab.evaluation.predict import device_of, row_batches
from trimtab.evaluation.states import States, raw, read_into
from trimtab.home import folder_atomically, make_room
from trimtab.models.spec import ModelSpec
from trimtab.tuning import lower_states, structure

_STATES, _FACTS = "states.bin", "facts.json"
_CHUNK_TOKENS = 1 << 14
_HASHED = 1 << 18
_WORDS = {2: np.uint16, 4: np.uint32}
# Of a config, what says nothing about the lower part.
_OF_THE_TOP = {"_name_or_path", "architectures", "id2label", "label2id", "problem_type", "transformers_version"}
_DTYPES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


@dataclass(frozen=True, slots=True)
class Built:
    """So many tokens of `of` have their states."""

    tokens: int
    of: int


@dataclass(frozen=True, slots=True)
class _Facts:
    tokens: int
    width: int
    dtype: str
    total: int


def sequences_of(encoded: Encoded) -> Encoded:
    """What goes through the model one by one: rows, or their texts."""
    return encoded if encoded.apart is None else encoded.texts


def key_of(model: PreTrainedModel, spec: ModelSpec, depth: int, encoded: Encoded, collator: Collator) -> str:
    """What the states of `encoded` at layer `depth` of `model`, which is whole, are kept under."""
    digest = hashlib.sha256()
    kind = {
        "class": type(structure.backbone(model)).__name__,
        "config": {name: value for name, value in model.config.to_dict().items() if name not in _OF_THE_TOP},
        "depth": depth,
        "padding": [collator.left, collator.max_length, collator.pad_token_id, collator.token_types],
        "computed": [torch.__version__, transformers.__version__, torch.get_num_threads(), str(device_of(model))],
        "processor": torch.backends.cpu.get_cpu_capability(),
    }
    digest.update(json.dumps(kind, sort_keys=True, default=str).encode())
    for module in (*structure.below_layers(model, spec), *structure.layers(model, spec)[:depth]):
        _hash_module(digest, module)
    sequences = sequences_of(encoded)
    for array, numbers in ((sequences.ids, np.int32), (sequences.starts, np.int64), (sequences.seconds, np.int32)):
        for first in range(0, len(array), _HASHED):  # the same, whatever whole numbers they are kept in
            digest.update(np.ascontiguousarray(array[first : first + _HASHED], numbers).data)
            let_go(array)
    return digest.hexdigest()[:40]


def _hash_module(digest: Any, module: nn.Module) -> None:
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        if tensor.numel():
            digest.update(raw(tensor.detach().cpu().contiguous()))


def build(
    model: PreTrainedModel, spec: ModelSpec, depth: int, encoded: Encoded, collator: Collator, folder: Path
) -> Iterator[Built]:
    """Run the lower part of `model`, which is whole, over `encoded`, and keep what it gives in `folder`. Raises
    OSError where it cannot be written; nothing is left of it then."""
    sequences = sequences_of(encoded)
    model.eval()
    with folder_atomically(folder) as beside, (beside / _STATES).open("w+b", buffering=0) as file:
        done, sink = 0, None
        for rows, states in _runs(model, spec, depth, sequences, collator):
            sink = sink or _sink(file, len(sequences.ids), states[0].shape[1], states[0].dtype)
            sink.put(sequences.starts[rows].tolist(), states)
            done += int(sequences.lengths_of(rows).sum())
            yield Built(done, len(sequences.ids))
        assert sink is not None, "there are rows"
        facts = _Facts(len(sequences.ids), sink.width, _DTYPES[sink.dtype], sink.finish() % 2**64)
        (beside / _FACTS).write_text(json.dumps({"format": 1, **asdict(facts)}), encoding="utf-8")


@torch.no_grad()
def _runs(
    model: PreTrainedModel, spec: ModelSpec, depth: int, sequences: Encoded, collator: Collator
) -> Iterator[tuple[np.ndarray, list[torch.Tensor]]]:
    """Rows of each batch, and the states of each, (tokens, width) on the CPU."""
    device = device_of(model)
    for batch in row_batches(sequences.lengths, EVALUATION_TOKENS, collator.max_length):
        rows = batch[sequences.lengths_of(batch) > 0]  # of a text without tokens there is nothing
        if not len(rows):
            continue
        inputs = {name: x.to(device) for name, x in collator.batch(sequences, rows).items()}
        states, _ = lower_states(model, spec, depth, inputs)
        states = states.cpu()
        width = states.shape[1]
        counts = sequences.lengths_of(rows).tolist()
        firsts = [width - count if collator.left else 0 for count in counts]
        cut = [
            row[first : first + count].contiguous()
            for row, first, count in zip(states, firsts, counts, strict=True)
        ]
        yield rows, cut


class _Sink(ABC):
    """Abstract. Takes states in any order of rows, writes them in the order of tokens."""

    def __init__(self, file: Any, tokens: int, width: int, dtype: torch.dtype) -> None:
        self._file, self.tokens, self.width, self.dtype = file, tokens, width, dtype
        _reserve(file, tokens * width * dtype.itemsize)

    @abstractmethod
    def put(self, firsts: list[int], states: list[torch.Tensor]) -> None:
        """`firsts`: which token each of `states` begins with."""

    @abstractmethod
    def finish(self) -> int:
        """All are there. Returns their sum."""


class _InMemory(_Sink):
    """Few enough to be put in order first. Final."""

    def __init__(self, file: Any, tokens: int, width: int, dtype: torch.dtype) -> None:
        super().__init__(file, tokens, width, dtype)
        self._held = torch.empty(tokens, width, dtype=dtype)

    def put(self, firsts: list[int], states: list[torch.Tensor]) -> None:
        for first, found in zip(firsts, states, strict=True):
            self._held[first : first + len(found)] = found

    def finish(self) -> int:
        _write(self._file, self._held)
        return _sum(self._held)


class _OnDisk(_Sink):
    """Row by row. Final."""

    def __init__(self, file: Any, tokens: int, width: int, dtype: torch.dtype) -> None:
        super().__init__(file, tokens, width, dtype)
        self._total = 0

    def put(self, firsts: list[int], states: list[torch.Tensor]) -> None:
        for first, found in zip(firsts, states, strict=True):
            self._file.seek(first * self.width * self.dtype.itemsize)
            _write(self._file, found)
            self._total += _sum(found)

    def finish(self) -> int:
        return self._total


def _sink(file: Any, tokens: int, width: int, dtype: torch.dtype) -> _Sink:
    kind = _InMemory if tokens * width * dtype.itemsize <= HELD_BYTES else _OnDisk
    return kind(file, tokens, width, dtype)


def _reserve(file: Any, size: int) -> None:
    """Have a full disk say so now, where the system can."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, max(1, size))


def _write(file: Any, rows: torch.Tensor) -> None:
    left = raw(rows)
    while left:
        left = left[file.write(left) :]


def _sum(rows: torch.Tensor) -> int:
    """Of the numbers as whole ones: whatever the order of rows, what is torn or half-written has another."""
    return int(np.frombuffer(raw(rows), _WORDS[rows.element_size()]).sum(dtype=np.uint64))


def find(folder: Path, encoded: Encoded) -> States | None:
    """The states in `folder`; None where there are none, or they are damaged, which are deleted."""
    try:
        plain = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        facts = _Facts(**{name: plain[name] for name in _Facts.__slots__})
        found = _read(folder / _STATES, facts)
        if facts.tokens != len(sequences_of(encoded).ids):
            raise ValueError(facts.tokens)
        os.utime(folder)  # what was used last is deleted last
    except (OSError, ValueError, KeyError, TypeError):
        shutil.rmtree(folder, ignore_errors=True)
        return None
    return found


def _read(path: Path, facts: _Facts) -> States:
    """Raises ValueError where the sum is another, OSError where the file ends early."""
    dtype = next(dtype for dtype, name in _DTYPES.items() if name == facts.dtype)
    states = States(facts.tokens, facts.width, dtype, path.open("rb", buffering=0))
    if states.bytes != path.stat().st_size:
        raise ValueError(states.bytes)
    if states.bytes <= HELD_BYTES:
        held = torch.empty(facts.tokens, facts.width, dtype=dtype)
        read_into(states.file, held)
        states, total = replace(states, held=held), _sum(held)
    else:
        total = sum(_sum(piece) for piece in _pieces(states))
    if total % 2**64 != facts.total:
        raise ValueError(total)
    return states


def _pieces(states: States) -> Iterator[torch.Tensor]:
    for first in range(0, states.tokens, _CHUNK_TOKENS):
        rows = torch.empty(min(_CHUNK_TOKENS, states.tokens - first), states.width, dtype=states.dtype)
        read_into(states.file, rows)
        yield rows


def require_room(folder: Path, needed: int) -> None:
    """Room for `needed` bytes more, as `home.make_room`. Raises OSError where there never is."""
    make_room(folder, needed, facts=_FACTS, most_bytes=KEPT_BYTES)
