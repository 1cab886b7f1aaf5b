"""A folder of artifacts: what lies in it, by name, and deleting one of them, whole.

An artifact is named by the folder it is in. Links that lead out of a folder of artifacts are not followed. Leaves
out searching deeper than the folder's own children.
"""

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from trimtab.artifacts.facts import ADAPTER_CONFIG, NAME, ArtifactFacts, glance
from trimtab.errors import ArtifactError, Message, UsageError
from trimtab.home import cache_folder

_NAME = re.compile(r"[^\W_][\w.-]{0,63}")
_BESIDE = frozenset({NAME, "README.md", "report.html", "report.json", "request.json", "checkpoints"})
_WEIGHTS = ("*.safetensors", "*.onnx", "*.onnx.data", "*.gguf", "openvino_model.*")
_OWN_LEFTOVER = ".artifact-"  # of a save that was killed


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredArtifact:
    """An artifact on disk. `facts` None: it cannot be used, for the reason `damage`. `size_bytes`: of all its
    files."""

    name: str
    folder: str
    size_bytes: int
    facts: ArtifactFacts | None = None
    damage: Message | None = None


def default_folder() -> Path:
    """Where adapters lie if nothing else is said: `adapters` in Trimtab's own folder ($TRIMTAB_HOME)."""
    return cache_folder() / "adapters"


def require_name(name: str) -> str:
    """`name`, where an adapter can be called so. Raises UsageError TT-U101: a name is no path and hides
    nothing."""
    if not _NAME.fullmatch(name):
        raise UsageError("TT-U101", name=name[:80])
    return name


def stored_artifacts(folder: Path | None = None) -> tuple[StoredArtifact, ...]:
    """The artifacts in a folder, by name; of a folder that is one itself, that. None = the default folder, which
    need not be there. Folders that hold neither an artifact nor an adapter are passed over.

    Raises ArtifactError TT-A022 where there is no such folder.
    """
    place = default_folder() if folder is None else folder
    if not place.is_dir():
        if folder is None:
            return ()
        raise ArtifactError("TT-A022", folder=str(folder))
    if _is_artifact(place):
        return (stored(place),)
    inside = place.resolve()
    return tuple(
        stored(child)
        for child in sorted(place.iterdir(), key=lambda path: path.name)
        if child.is_dir()
        and not child.name.startswith(".")
        and child.resolve().is_relative_to(inside)
        and _is_artifact(child)
    )


def artifact_named(word: str, folder: Path | None = None) -> Path:
    """The folder of an artifact. Where `folder` is given, `word` is a name of its list, and a path only with a
    "/"; else (None = the default folder) a path comes first. Raises ArtifactError TT-A023 with the names there
    are."""
    path = Path(word).expanduser()
    if word and (folder is None or "/" in word) and path.is_dir():
        return path
    place = default_folder() if folder is None else folder
    known = stored_artifacts(place) if place.is_dir() else ()
    found = {one.name: one.folder for one in known} | {Path(one.folder).name: one.folder for one in known}
    if word in found:
        return Path(found[word])
    names = ", ".join(one.name for one in known) or "-"
    raise ArtifactError("TT-A023", name=word[:200], folder=str(place), known=names)


def delete_artifact(folder: Path) -> StoredArtifact:
    """Delete an artifact: out of sight in one step, then file by file. Returns what it was.

    Raises ArtifactError: what `glance` raises of a folder that is none, TT-A024 where `folder` is a link, TT-A025
    where it also holds what no training of Trimtab wrote; OSError where the system refuses, before anything is
    gone.
    """
    known = deletable(folder)
    folder = folder.resolve()  # of "." the name is empty
    gone = Path(tempfile.mkdtemp(prefix=f".deleted-{folder.name}-", dir=folder.parent))
    try:
        folder.rename(gone / folder.name)
    except BaseException:
        gone.rmdir()
        raise
    shutil.rmtree(gone)
    return known


def deletable(folder: Path) -> StoredArtifact:
    """What `delete_artifact` would delete. Raises as it does, and deletes nothing."""
    if folder.is_symlink():
        raise ArtifactError("TT-A024", folder=str(folder), target=str(folder.resolve()))
    facts = glance(folder)
    ours = _BESIDE | {name.partition("/")[0] for name, _, _ in facts.files}
    strange = sorted(
        path.name for path in folder.iterdir() if path.name not in ours and not path.name.startswith(_OWN_LEFTOVER)
    )
    if strange:
        raise ArtifactError("TT-A025", folder=str(folder), found=strange[0], count=len(strange))
    return stored(folder)


def weight_bytes(folder: Path, base: Path | None = None) -> int:
    """Of the files with weights in a folder, and in that of its base."""
    places = [folder] if base is None else [folder, base]
    return sum(file.stat().st_size for place in places for kind in _WEIGHTS for file in place.glob(kind))


def _is_artifact(folder: Path) -> bool:
    return (folder / NAME).is_file() or (folder / ADAPTER_CONFIG).is_file()


def stored(folder: Path) -> StoredArtifact:
    """The artifact in a folder, as far as it can be read."""
    name, size = folder.resolve().name, _size_bytes(folder)
    try:
        return StoredArtifact(name=name, folder=str(folder), size_bytes=size, facts=glance(folder))
    except ArtifactError as error:
        return StoredArtifact(name=name, folder=str(folder), size_bytes=size, damage=error.message)


def _size_bytes(folder: Path) -> int:
    """Of the files themselves: what a link leads to lies elsewhere."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
