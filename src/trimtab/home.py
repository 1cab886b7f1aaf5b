"""Where Trimtab keeps its own files, and how a file or a folder is written so that a crash leaves the old or the
new, never half.

Leaves out: model and data caches (theirs are the hub's), and the files of a run (in the folder the user
names).
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


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
