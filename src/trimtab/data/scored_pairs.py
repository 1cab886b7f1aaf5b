"""Two texts and a score of how alike they are (task embed): read, checked and cut as a regression over two texts,
then run one by one. Leaves out: queries with positives (embed_forms.py)."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from hashlib import sha256

from trimtab.data.columns import Columns, choose_columns
from trimtab.data.corpus import Corpus, Split
from trimtab.data.spec import Example, Prefixes
from trimtab.data.table import Table
from trimtab.data.texts import cell_text
from trimtab.errors import DataError

FORM = "scored"


def scored_corpus(read: Corpus, prefixes: Prefixes) -> Corpus:
    """`read`, the corpus of a regression, as scored pairs. Raises DataError TT-D145 where it has one text a
    row."""
    _require_two(read.columns, read.files[0])
    return replace(
        read,
        task="embed",
        form=FORM,
        train=scored_split(read.train, prefixes),
        dev=scored_split(read.dev, prefixes),
        test=read.test and scored_split(read.test, prefixes),
        fingerprint=sha256(f"{read.fingerprint} {FORM} {prefixes}".encode()).hexdigest(),
    )


def scored_split(split: Split, prefixes: Prefixes) -> Split:
    """The same rows with both texts behind the prefix of queries: neither is what the other looks for."""
    return replace(split, example=partial(_example, split.columns, prefixes.query), kind="apart")


def scored_columns(table: Table, columns: tuple[str, ...], label_column: str) -> Columns:
    """Those a model was trained on where `table` has them, else its own two texts and score. Raises DataError."""
    known = label_column and {*columns, label_column} <= set(table.columns)
    found = Columns(columns, label_column) if known else choose_columns(table, (), None)
    _require_two(found.texts, table.place(1, "").file)
    return found


def _require_two(columns: tuple[str, ...], path: str) -> None:
    if len(columns) != 2:
        raise DataError("TT-D145", path=path, columns=", ".join(columns))


def _example(columns: tuple[str, ...], prefix: str, values: Mapping[str, object], target: int | float) -> Example:
    return Example(tuple(prefix + cell_text(values.get(name)) for name in columns), float(target))
