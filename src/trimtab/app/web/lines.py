"""The lines that a child has written since they were last read."""

from collections.abc import Iterator
from pathlib import Path

_PIECE = 1 << 22


class Lines:
    """Of one file, which grows. A line that has not ended yet is left for the next time."""

    def __init__(self, path: Path) -> None:
        self._path, self._read, self._rest = path, 0, b""

    def fresh(self) -> Iterator[bytes]:
        """Piece by piece: a long training has written hundreds of megabytes."""
        while piece := self._piece():
            self._read += len(piece)
            *lines, self._rest = (self._rest + piece).split(b"\n")
            yield from lines

    def _piece(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                return file.read(_PIECE)
        except OSError:
            return b""
