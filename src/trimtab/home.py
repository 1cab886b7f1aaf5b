"""Where Trimtab keeps its own files, and how one is written so that a crash leaves the old or the new, never
half.

Leaves out: model and data caches (theirs are the hub's), and the files of a run (in the folder the user
names).
"""

import os
import tempfile
from pathlib import Path


def cache_folder() -> Path:
    """$TRIMTAB_HOME, else ~/.cache/trimtab. Not created here: looking must leave no trace."""
    chosen = os.environ.get("TRIMTAB_HOME")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "trimtab"


def write_atomically(path: Path, text: str) -> None:
    """Write `text` (UTF-8) beside `path`, flush it to the disk, then rename. Raises OSError, which names `path`
    where the system named no file: of a full disk it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException as error:
        Path(beside).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)
        raise
