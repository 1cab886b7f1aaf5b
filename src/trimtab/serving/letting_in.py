"""What an adapter is held to before a stranger's request may load it: its name, where it lies, how large it is.

Nothing of its weights is read. What is in them (pickle, a wrong base, shapes, NaN) is refused where they are
loaded. Leaves out adapters named on the command line: who starts a server may load from anywhere.
"""

import stat
import unicodedata
from pathlib import Path, PurePath

from trimtab.artifacts import require_name
from trimtab.errors import ArtifactError, UsageError

# Of devices, on systems where a folder cannot be called so, and words with a meaning here.
_DEVICES = ("con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)))
_RESERVED = frozenset({*_DEVICES, "base", "default", "none", "null"})


def base_name(base: str) -> str:
    """What clients call the base: of a path its last word, since paths are nobody's business; a hub id as it
    is."""
    path = PurePath(base)
    return path.name if path.is_absolute() or base.startswith((".", "~")) else base


def require_served_name(name: str, base: str) -> str:
    """`name`, where an adapter on `base` can be called so. Raises UsageError TT-U101, TT-N030."""
    if unicodedata.normalize("NFKC", require_name(name)) != name:
        raise UsageError("TT-U101", name=name)  # two names that look alike would be two adapters
    if name.casefold().partition(".")[0] in _RESERVED or name.casefold() == base.casefold():
        raise UsageError("TT-N030", name=name)
    return name


def folder_inside(word: str, adapters: Path, most_bytes: int) -> Path:
    """The folder `word` in the folder `adapters`. Raises UsageError TT-U101 for a word that is no name;
    ArtifactError TT-A023 where there is no such folder, TT-N031 where it or one of its files leads out of
    `adapters`, TT-N033 one that is no ordinary file, TT-N032 more than `most_bytes` of them."""
    inside = adapters.resolve()
    folder = (inside / require_name(word)).resolve()
    if not folder.is_relative_to(inside) or folder == inside:
        raise ArtifactError("TT-N031", name=word)
    if not folder.is_dir():
        known = sorted(child.name for child in inside.iterdir() if child.is_dir() and child.name[0] != ".")
        raise ArtifactError("TT-A023", name=word, folder=adapters.name, known=", ".join(known[:50]) or "-")
    size_bytes = sum(_size_bytes(path, inside) for path in folder.rglob("*"))
    if size_bytes > most_bytes:
        raise ArtifactError("TT-N032", name=word, size=size_bytes, most=most_bytes)
    return folder


def _size_bytes(path: Path, inside: Path) -> int:
    if not path.resolve().is_relative_to(inside):
        raise ArtifactError("TT-N031", name=path.name)
    found = path.stat() if path.exists() else path.lstat()
    if stat.S_ISDIR(found.st_mode):
        return 0
    if not stat.S_ISREG(found.st_mode):  # reading a pipe would wait for ever
        raise ArtifactError("TT-N033", name=path.name)
    return found.st_size
