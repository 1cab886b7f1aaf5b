"""Which files the page may read: those in the folders that were chosen when it started, links followed to their
end.

Leaves out reading them.
"""

import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from trimtab.errors import UsageError

_MOST_NAMES = 200
_MOST_LOOKED_AT = 5_000
_DEPTH = 3
_DATA_ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet", ".txt")  # .json may be anything
_SPLITS = ("train.csv", "train.tsv", "train.jsonl", "train.json", "train.parquet", "train.txt")


@dataclass(frozen=True, slots=True)
class Folders:
    """The chosen folders. The first is where names without a folder are looked for."""

    chosen: tuple[Path, ...]

    def inside(self, text: str) -> Path:
        """What `text` names, with no link left in it. Raises UsageError TT-W120 where that lies elsewhere, or
        holds a link that leads elsewhere."""
        try:
            found = (self.chosen[0] / text).resolve()
            good = self.has(found) and all(self.has(child.resolve()) for child in _children(found))
        except (OSError, ValueError, RuntimeError):  # a name too long, a zero in it, a circle of links
            good = False
        if not good:
            raise UsageError("TT-W120", path=text[:200], folders=self.words)
        return found

    def has(self, resolved: Path) -> bool:
        return any(resolved.is_relative_to(folder) for folder in self.chosen)

    @property
    def words(self) -> str:
        return ", ".join(map(str, self.chosen))

    def spoken(self, resolved: Path) -> str:
        """As it is typed on a command line in the first folder; never as a word that means something else."""
        if not resolved.is_relative_to(self.chosen[0]):
            return str(resolved)
        short = str(resolved.relative_to(self.chosen[0]))
        return short if "/" in short and not short.startswith(("~", "-")) else f"./{short}"

    def data_sets(self) -> tuple[str, ...]:
        """Names worth offering: files of rows, and folders with a train split."""
        return self._named(lambda path: path.name.endswith(_DATA_ENDINGS) and path.name not in _SPLITS, _SPLITS)

    def models(self) -> tuple[str, ...]:
        """Folders with a config.json of a model."""
        return self._named(lambda path: False, ("config.json",))

    def holding(self, name: str) -> tuple[Path, ...]:
        """Folders with a file of that name, no link."""
        found = (folder for folder, files in self._walk() if name in files and not (folder / name).is_symlink())
        return tuple(itertools.islice(found, _MOST_NAMES))

    def _named(self, wanted: Callable[[Path], bool], marks: tuple[str, ...]) -> tuple[str, ...]:
        names: list[str] = []
        for folder, files in self._walk():
            own = [name for name in sorted(files) if self.has((folder / name).resolve())]
            if any(mark in own for mark in marks):
                names.append(self.spoken(folder))
            else:
                names += [self.spoken(folder / name) for name in own if wanted(folder / name)]
            if len(names) >= _MOST_NAMES:
                break
        return tuple(names[:_MOST_NAMES])

    def _walk(self) -> Iterator[tuple[Path, list[str]]]:
        """Folders and their files, not deep and not for ever; links to folders and hidden ones are left out."""
        left = _MOST_LOOKED_AT
        for root in self.chosen:
            for place, below, files in os.walk(root):
                left -= 1 + len(files)
                if left < 0:
                    return
                folder = Path(place)
                deep = len(folder.relative_to(root).parts) >= _DEPTH
                below[:] = [] if deep else sorted(name for name in below if not name.startswith((".", "_")))
                yield folder, files


def _children(path: Path) -> Iterator[Path]:
    return path.iterdir() if path.is_dir() else iter(())
