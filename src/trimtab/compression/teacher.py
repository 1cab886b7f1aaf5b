"""A teacher's outputs for the rows of a training, asked for once and kept in a file beside the run.

    teacher-<key>.f32    float32 (places, outputs), row by row; mapped, not read

The key says whose outputs they are, and for what: a resumed run finds them, and one on other data does not. The
file is written beside and renamed: it is there whole or not at all. Leaves out language models, whose outputs over
a vocabulary are too many to keep.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from trimtab.data import Split
from trimtab.data.spec import EVALUATION_TOKENS, Example
from trimtab.errors import ModelError
from trimtab.evaluation import Artifact
from trimtab.evaluation.predict import row_batches
from trimtab.training.events import Event
from trimtab.training.files import sync_file, sync_folder

_WINDOW = 4096  # rows that are tokenised, and whose outputs are held, at once


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherAsked(Event):
    """The teacher has answered `rows` of all `total` rows; at once where they were kept from before."""

    rows: int
    total: int
    seconds: float


@dataclass(frozen=True, slots=True)
class TeacherOutputs:
    """Outputs in a file: `outputs` numbers for every place (`Objective.places`)."""

    path: Path
    outputs: int

    def open(self) -> np.ndarray:
        """float32 (places, outputs), mapped. NaN where the teacher cut a word off."""
        return np.memmap(self.path, np.float32, mode="r").reshape(-1, self.outputs)


def teacher_hash(teacher: Artifact) -> str:
    """Identity of an artifact: its files, and its base where that computes too."""
    facts = teacher.facts
    weights = facts.base.weights_sha256 if facts.adapter else ""
    plain = json.dumps([weights, facts.files, facts.strategy.max_length, facts.prefixes.query])
    return hashlib.sha256(plain.encode()).hexdigest()


def kept_outputs(teacher: Artifact, width: int, split: Split, fingerprint: str, folder: Path) -> TeacherOutputs:
    """Where the outputs of `teacher` for `split` lie or will lie. `width`: how many numbers they are;
    `fingerprint`: of the data that the split is of."""
    named = f"{teacher_hash(teacher)}\0{fingerprint}\0{split.name}\0{len(split)}\0{width}"
    return TeacherOutputs(folder / f"teacher-{hashlib.sha256(named.encode()).hexdigest()[:16]}.f32", width)


def ask(teacher: Artifact, split: Split, kept: TeacherOutputs) -> Iterator[TeacherAsked]:
    """Have the teacher answer every row, where that has not been done. Raises ModelError TT-C110 where an answer
    is not finite, OSError with nothing left behind."""
    start, total = time.perf_counter(), len(split)
    if kept.path.is_file():
        yield TeacherAsked(rows=total, total=total, seconds=0.0)
        return
    kept.path.parent.mkdir(parents=True, exist_ok=True)
    beside = kept.path.with_name(f".{kept.path.name}.{os.getpid()}")
    rows, examples = 0, iter(split)
    try:
        with beside.open("wb") as file:
            while window := list(islice(examples, _WINDOW)):
                file.write(np.ascontiguousarray(_answers(teacher, window, kept.outputs)).data)
                rows += len(window)
                yield TeacherAsked(rows=rows, total=total, seconds=time.perf_counter() - start)
        sync_file(beside)
        beside.replace(kept.path)
        sync_folder(kept.path.parent)
    finally:
        beside.unlink(missing_ok=True)


@torch.inference_mode()
def _answers(teacher: Artifact, window: list[Example], width: int) -> np.ndarray:
    """float32 (places, width) of some rows."""
    objective, model = teacher.objective, teacher.model.eval()
    max_length = teacher.facts.strategy.max_length
    collator = objective.collator(teacher.tokenizer, max_length).beside(teacher.facts.strategy)
    encoded, device = teacher.encode(window), next(model.parameters()).device
    found = np.full((objective.place_count(encoded), width), np.nan, np.float32)
    for rows in row_batches(encoded.loads, EVALUATION_TOKENS, max_length):
        inputs = {name: x.to(device) for name, x in collator.batch(encoded, rows).items()}
        given = objective.given(model, inputs, objective.targets(encoded, collator, rows).to(device))
        if not given.isfinite().all():
            raise ModelError("TT-C110", folder=str(teacher.folder))
        found[objective.places(encoded, collator, rows)] = given.float().cpu().numpy()
    return found
