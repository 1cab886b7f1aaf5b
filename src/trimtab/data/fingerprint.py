"""One hash for the bytes of files and the choices made on them."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

_CHUNK_BYTES = 1 << 20


def content_hash(files: Iterable[Path], choices: str = "") -> str:
    """SHA-256 (hex) over every file's name, size and bytes, in the order given, and then over `choices`.

    Streams; where a file lies does not matter, what it is called does. Raises OSError.
    """
    whole = hashlib.sha256()
    for path in files:
        whole.update(f"{path.name}\0{path.stat().st_size}\0".encode("utf-8", "surrogateescape"))
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                whole.update(chunk)
    whole.update(choices.encode())
    return whole.hexdigest()
