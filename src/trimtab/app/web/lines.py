"""The lines that a child has written since they were last read."""

from pathlib import Path


class Lines:
    """Of one file, which grows. A line that has not ended yet is left for the next time."""

    def __init__(self, path: Path) -> None:
        self._path, self._read, self._rest = path, 0, b""

    def fresh(self) -> list[bytes]:
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                found = file.read()
        except OSError:
            return []
        self._read += len(found)
        *lines, self._rest = (self._rest + found).split(b"\n")
        return lines
