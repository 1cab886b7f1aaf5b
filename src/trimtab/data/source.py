"""Where data comes from: a file, a folder of splits, or the built-in demo."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trimtab.data.demo import DEMO, demo_table
from trimtab.data.readers import SUFFIXES
from trimtab.data.table import Table, open_table
from trimtab.errors import DataError

SplitName = Literal["train", "dev", "test"]

_SPLIT_OF_STEM: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "dev": "dev",
    "validation": "dev",
    "valid": "dev",
    "val": "dev",
    "test": "test",
}
_SHARD = re.compile(r"(.+?)-\d{5}-of-\d{5}")


@dataclass(frozen=True, kw_only=True)
class Source:
    """What was found. A split given in several shards has several tables; `ignored` are files left unread."""

    name: str
    train: tuple[Table, ...]
    dev: tuple[Table, ...] = ()
    test: tuple[Table, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def tables(self) -> tuple[Table, ...]:
        return self.train + self.dev + self.test


def find_source(source: str, suffixes: tuple[str, ...] = SUFFIXES) -> Source:
    """Open `source`: a path, or "demo"; files with one of `suffixes`. Raises DataError: absent, refused, empty, no
    train split."""
    if source == DEMO:
        return Source(name=DEMO, train=(demo_table(),))
    path = Path(source).expanduser()
    if path.is_dir():
        return _folder(path, suffixes)
    if not path.exists():
        raise DataError("TT-D001", path=source)
    return Source(name=path.stem, train=(open_table(path, suffixes),))


def held_out(folder: Path, suffixes: tuple[str, ...] = SUFFIXES) -> Iterator[tuple[SplitName, tuple[Table, ...]]]:
    """The test split of a folder and then its dev split, where it has them, each opened when its turn comes; train
    is left alone. Raises DataError as `find_source`."""
    found = _split_files(_entries(folder), suffixes)
    for split in ("test", "dev"):
        if found[split]:
            _refuse_two_files(split, found[split])
            yield split, _opened(found[split], suffixes)


def _opened(paths: list[Path], suffixes: tuple[str, ...]) -> tuple[Table, ...]:
    return tuple(open_table(path, suffixes) for path in paths)


def _folder(folder: Path, suffixes: tuple[str, ...]) -> Source:
    """`train-00000-of-00002` and its like are read as one; any other second file for a split is an error, since
    either could be the one that is meant."""
    entries = _entries(folder)
    found = _split_files(entries, suffixes)
    if not found["train"]:
        names = ", ".join(entry.name for entry in entries) or "-"
        raise DataError("TT-D021", path=str(folder), files=names)
    for split, paths in found.items():
        _refuse_two_files(split, paths)
    used = {path for paths in found.values() for path in paths}
    return Source(
        name=folder.resolve().name,
        train=_opened(found["train"], suffixes),
        dev=_opened(found["dev"], suffixes),
        test=_opened(found["test"], suffixes),
        ignored=tuple(entry.name for entry in entries if entry not in used),
    )


def _entries(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _split_files(entries: list[Path], suffixes: tuple[str, ...]) -> dict[SplitName, list[Path]]:
    """Files named after a split (validation, valid and val mean dev); a file alone is train, whatever its name."""
    readable = [entry for entry in entries if entry.is_file() and entry.suffix.lower() in suffixes]
    found: dict[SplitName, list[Path]] = {"train": [], "dev": [], "test": []}
    for path in readable:
        split = _SPLIT_OF_STEM.get(_stem(path))
        if split:
            found[split].append(path)
    if len(readable) == 1 and not any(found.values()):
        found["train"] = readable
    return found


def _stem(path: Path) -> str:
    shard = _SHARD.fullmatch(path.stem)
    return (shard[1] if shard else path.stem).lower()


def _refuse_two_files(split: str, paths: list[Path]) -> None:
    series = {(_stem(path), path.suffix) for path in paths}
    shards = all(_SHARD.fullmatch(path.stem) for path in paths)
    if len(paths) > 1 and not (shards and len(series) == 1):
        raise DataError("TT-D022", split=split, files=", ".join(path.name for path in paths))
