"""Checkpoints: complete or not there at all.

    checkpoints/step-00000120/state.safetensors   masters, optimiser states, random generator
                              best.safetensors    masters of the best evaluation so far
                              progress.json       counters, history, and what must be the same to go on
                              manifest.json       sha256 and size of each file; written last

A checkpoint is written in a hidden folder, synced, and renamed. Loading takes the newest whose manifest holds
and passes over damaged ones, saying so. The two newest whole ones are kept. safetensors and JSON
only: nothing here can run.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from trimtab.artifacts import sha256_of
from trimtab.errors import BadInput, Message, message
from trimtab.training.files import sync_file, sync_folder
from trimtab.training.run import LossPoint
from trimtab.training.tensors import write_tensors

_KEEP = 2
_STATE, _BEST, _PROGRESS, _MANIFEST = (
    "state.safetensors",
    "best.safetensors",
    "progress.json",
    "manifest.json",
)


@dataclass(kw_only=True)
class Progress:
    """How far a training is. Mutable: the loop's own counters, saved with every checkpoint. `stage_ends`: the
    steps after which the stages before this one ended; `stopped_early`: this one."""

    micro_batch: int
    step: int = 0
    samples: int = 0
    tokens: int = 0
    seconds: float = 0.0
    evaluate_seconds: float = 0.0
    prefix_seconds: float = 0.0
    prefix_bytes: int = 0
    prefix_built: bool = False
    loss_sum: float = 0.0
    loss_count: int = 0
    best_metric: float | None = None
    best_step: int = 0
    untrained_metric: float | None = None
    without_gain: int = 0
    stopped_early: bool = False
    loss_scale: float = 1.0
    peak_memory_bytes: int = 0
    history: list[LossPoint] = field(default_factory=list)
    stage_ends: list[int] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A loaded checkpoint. `identity` is what must be equal for a resume to be the same training."""

    path: Path
    progress: Progress
    identity: Mapping[str, str]
    tensors: dict[str, torch.Tensor]


class Checkpoints:
    """The checkpoints in one folder, as one process sees them.

    It remembers which ones it has written itself or read through, and does not read them again at every save: of
    a large model that is gigabytes. What an earlier process left is read once before it counts as whole. Final.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._whole: dict[Path, bool] = {}

    def save(
        self,
        progress: Progress,
        identity: Mapping[str, str],
        tensors: dict[str, torch.Tensor],
        best: dict[str, torch.Tensor] | Path,
    ) -> Path:
        """Write a checkpoint of `progress.step` and return its path.

        `best` is the best weights, or the file of an older checkpoint that holds them (linked, not copied).
        Raises OSError (a full disk) with the older checkpoints untouched.
        """
        final = self.folder / f"step-{progress.step:08d}"
        temporary = self.folder / f".{final.name}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            _write(temporary, progress, identity, tensors, best)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
        sync_folder(self.folder)
        self._whole.pop(final, None)
        if not isinstance(best, Path) or self._whole.get(best.parent):
            self._whole[final] = True  # all of it written here, or linked to what was known to be whole
        self._prune()
        return final

    def newest(self) -> tuple[Checkpoint | None, tuple[Message, ...]]:
        """The newest whole checkpoint (None where there is none), and one message for every damaged one passed
        over on the way."""
        passed: list[Message] = []
        for path in reversed(_complete(self.folder)):
            damage = _damage(path)
            self._whole[path] = damage is None
            if damage is not None:
                passed.append(message("TT-T020", path=str(path), why=damage))
                continue
            try:
                progress, identity = _read_progress(path / _PROGRESS)
            except (TypeError, KeyError):
                why = message("TT-T055", file=_PROGRESS)
                passed.append(message("TT-T020", path=str(path), why=why))
                continue
            tensors = load_file(path / _STATE)
            return Checkpoint(path=path, progress=progress, identity=identity, tensors=tensors), tuple(passed)
        return None, tuple(passed)

    def _prune(self) -> None:
        """Remove what is older than the newest whole ones, and what a kill left half-written."""
        whole, old = 0, []
        for path in reversed(_complete(self.folder)):
            if whole == _KEEP:
                old.append(path)
            else:
                whole += self._is_whole(path)
        for path in (*old, *self.folder.glob(".step-*.tmp")):
            shutil.rmtree(path, ignore_errors=True)
            self._whole.pop(path, None)

    def _is_whole(self, path: Path) -> bool:
        if path not in self._whole:
            self._whole[path] = _damage(path) is None
        return self._whole[path] and _damage(path, read=False) is None


def require_same(saved: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Refuse to go on where something differs. Raises BadInput TT-T021 naming what differs."""
    changed = sorted(name for name in {*saved, *now} if saved.get(name) != now.get(name))
    if changed:
        raise BadInput("TT-T021", changed=reduce(_listed, (_change(name, saved, now) for name in changed)))


def best_file(path: Path) -> Path:
    """The best weights of a checkpoint."""
    return path / _BEST


def load_best(path: Path) -> dict[str, torch.Tensor]:
    """The best weights of a checkpoint, as master/NAME tensors."""
    return load_file(path / _BEST)


def remove_all(folder: Path) -> None:
    """Delete every checkpoint, once the training they would resume is finished; nothing else."""
    for path in (*_complete(folder), *folder.glob(".step-*.tmp")):
        shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):  # not empty: somebody else's files, or not there
        folder.rmdir()


def size_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.iterdir())


def _write(
    folder: Path,
    progress: Progress,
    identity: Mapping[str, str],
    tensors: dict[str, torch.Tensor],
    best: dict[str, torch.Tensor] | Path,
) -> None:
    """The four files of a checkpoint, synced."""
    hashes = {_STATE: write_tensors(folder / _STATE, tensors)}
    if isinstance(best, Path):
        _link(best, folder / _BEST)
        hashes[_BEST] = _entries(best.parent)[_BEST]["sha256"]  # as written, not as it may be by now
    else:
        hashes[_BEST] = write_tensors(folder / _BEST, best)
    content = {"progress": asdict(progress), "identity": dict(identity)}
    (folder / _PROGRESS).write_text(json.dumps(content), encoding="utf-8")
    sync_file(folder / _PROGRESS)
    hashes[_PROGRESS] = sha256_of(folder / _PROGRESS)
    _write_manifest(folder, hashes)


def _read_progress(file: Path) -> tuple[Progress, dict[str, str]]:
    content = json.loads(file.read_text(encoding="utf-8"))
    plain = content["progress"]
    plain["history"] = [LossPoint(**point) for point in plain["history"]]
    return Progress(**plain), content["identity"]


def _write_manifest(path: Path, hashes: Mapping[str, str]) -> None:
    entries = {name: {"bytes": (path / name).stat().st_size, "sha256": sha} for name, sha in hashes.items()}
    manifest = path / _MANIFEST
    manifest.write_text(json.dumps({"format": 1, "files": entries}, indent=1), encoding="utf-8")
    sync_file(manifest)
    sync_folder(path)


def _entries(path: Path) -> dict[str, dict[str, Any]]:
    """What the manifest says of each file: "bytes" and "sha256"."""
    return json.loads((path / _MANIFEST).read_text(encoding="utf-8"))["files"]


def _damage(path: Path, *, read: bool = True) -> Message | None:
    """What is wrong with a checkpoint, or None. Where it is not `read`, only what is seen at first
    sight: a file that is missing, or not as long as the manifest says."""
    try:
        entries = _entries(path)
        for name in (_STATE, _BEST, _PROGRESS):
            file = path / name
            if not file.exists():
                return message("TT-T051", file=name)
            if file.stat().st_size != int(entries[name]["bytes"]):
                expected = int(entries[name]["bytes"])
                return message("TT-T052", file=name, bytes=file.stat().st_size, expected=expected)
            if read and sha256_of(file) != entries[name]["sha256"]:
                return message("TT-T053", file=name)
    except (OSError, ValueError, KeyError, TypeError):
        return message("TT-T054", file=_MANIFEST)
    return None


def _complete(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step-*") if path.is_dir()) if folder.is_dir() else []


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


_WORDS = {  # other: versions
    "model": "TT-T063",
    "data": "TT-T064",
    "strategy": "TT-T065",
    "threads": "TT-T066",
    "loss": "TT-C130",
}


def _change(name: str, saved: Mapping[str, str], now: Mapping[str, str]) -> Message:
    what = message(_WORDS[name]) if name in _WORDS else message("TT-T067", name=name.removesuffix(" version"))
    return message("TT-T062", what=what, before=_short(saved.get(name)), now=_short(now.get(name)))


def _listed(earlier: Message, later: Message) -> Message:
    return message("TT-T061", earlier=earlier, later=later)


def _short(value: str | None) -> str | Message:
    if value is None:
        return message("TT-T068")
    return value if len(value) <= 40 else f"{value[:12]}…"
