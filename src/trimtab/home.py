"""Where Trimtab keeps its own files, how a file or a folder is written so that a crash leaves the old or the new,
never half, and how much is kept of what could be made again.

Leaves out: model and data caches (theirs are the hub's), and the files of a run (in the folder the user
names).
"""

import contextlib
import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_FREE_SHARE = 0.05  # of a disk, which is left to others
_LEFT_SECONDS = 24 * 3600  # after which nobody is at a build any more


def cache_folder() -> Path:
    """$TRIMTAB_HOME, else ~/.cache/trimtab. Not created here: looking must leave no trace."""
    chosen = os.environ.get("TRIMTAB_HOME")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "trimtab"


def write_atomically(path: Path, text: str) -> None:
    """Write `text` (UTF-8) as `file_atomically` does; its owner alone may read it. Raises OSError."""
    with file_atomically(path, mode=0o600) as file:
        file.write(text.encode("utf-8"))


@contextmanager
def file_atomically(path: Path, *, mode: int = 0o644) -> Iterator[BinaryIO]:
    """A new file beside `path`, which is flushed to the disk and becomes `path` when the block ends; where it ends
    with an error, nothing is left of it and `path` is as it was. `mode`: who may read it. Raises OSError, which
    names `path` where the system named no file: of a full disk it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(beside).chmod(mode)
        os.replace(beside, path)
    except BaseException as error:
        Path(beside).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def folder_atomically(out: Path) -> Iterator[Path]:
    """A new folder beside `out`, which becomes `out` when the block ends; where it ends with an error, nothing is
    left of it. `out` is not there yet, or is an empty folder. Raises OSError."""
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        yield beside
        beside.chmod(0o755)  # mkdtemp makes it for its owner alone
        if out.is_dir():
            out.rmdir()
        beside.rename(out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def make_room(
    folder: Path, needed_bytes: int, *, facts: str, most_bytes: int, most_seconds: float | None = None
) -> None:
    """Delete of the entries of `folder`, which could be made again, the least recently used until `needed_bytes`
    more are within `most_bytes` and what the disk has; before that whatever was not used for `most_seconds`,
    and what builds that were killed have left. An entry is a folder that holds the file `facts`; its own time of
    change says when it was used. Raises OSError ENOSPC where there is never room."""
    folder.mkdir(parents=True, exist_ok=True)
    _delete_leftovers(folder)
    used = {entry: entry.stat().st_mtime for entry in folder.iterdir() if (entry / facts).is_file()}
    sizes = {entry: _size(entry) for entry in used}
    for entry in sorted(used, key=used.__getitem__):
        old = most_seconds is not None and used[entry] < time.time() - most_seconds
        if not old and sum(sizes.values()) + needed_bytes <= most_bytes and _has_room(folder, needed_bytes):
            break
        shutil.rmtree(entry, ignore_errors=True)
        del sizes[entry]
    if not _has_room(folder, needed_bytes):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def _delete_leftovers(folder: Path) -> None:
    """What a build that was killed has left beside, once nobody can be at it any more."""
    for beside in folder.glob(".*"):
        with contextlib.suppress(FileNotFoundError):  # another process has just finished it
            touched = [path.stat().st_mtime for path in (beside, *beside.glob("*"))]
            if max(touched) < time.time() - _LEFT_SECONDS:
                shutil.rmtree(beside, ignore_errors=True)


def _size(entry: Path) -> int:
    return sum(file.stat().st_size for file in entry.iterdir())


def _has_room(folder: Path, needed_bytes: int) -> bool:
    usage = shutil.disk_usage(folder)
    return usage.free - needed_bytes >= _FREE_SHARE * usage.total
