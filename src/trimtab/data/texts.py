"""Values as texts: of a cell in a table, and of the inputs a finished model is asked about."""

import hashlib
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from trimtab.data.columns import choose_text_columns
from trimtab.data.encoding import detect_encoding
from trimtab.data.table import open_table
from trimtab.errors import DataError, system_reason

_LISTED_FILES = 10


def cell_text(value: object) -> str:
    """A cell as text: strings as they are (lone surrogates, which no tokenizer takes, become U+FFFD), null
    and NaN empty, numbers printed. Raises TypeError for a list or an object."""
    if isinstance(value, str):
        return value if value.isascii() else _without_surrogates(value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, list | dict | tuple | bytes):
        raise TypeError
    return str(value)


def text_key(texts: Sequence[str]) -> int:
    """64-bit hash of the texts without surrounding white space. Two different rows of a million share a key
    with a chance of 3 in 100 million."""
    return stripped_key([text.strip() for text in texts])


def stripped_key(texts: Sequence[str]) -> int:
    """As `text_key`, of texts that have no white space around them."""
    joined = "\0".join(texts)
    return int.from_bytes(hashlib.blake2b(joined.encode(), digest_size=8).digest(), "little")


def read_texts(source: str, columns: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The inputs of a prediction, one tuple of texts a row, streamed; labels are neither needed nor read.

    `source` is a table (csv, tsv, json, jsonl, parquet), a .txt file with one text a line, or "-" for lines
    on standard input. A line of a pair holds its two texts with a tab between. `columns` are the text columns
    the model was trained on; a table that lacks them raises DataError naming the columns it has. Blank lines
    are empty texts, so that every line has its answer.
    """
    if source == "-":
        yield from _split_lines(_stdin_lines(), "-", max(len(columns), 1))
        return
    path = Path(source).expanduser()
    if path.is_dir():
        files = sorted(file.name for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
        raise DataError("TT-D082", path=source, files=", ".join(files[:_LISTED_FILES]) or "-")
    if not path.is_file():
        raise DataError("TT-D001", path=source)
    if path.suffix.lower() == ".txt":
        yield from _split_lines(_file_lines(path), path.name, max(len(columns), 1))
        return
    table = open_table(path)
    names = choose_text_columns(table, columns)
    for number, values in table.rows():
        try:
            yield tuple(cell_text(values.get(name)) for name in names)
        except TypeError as error:
            raise DataError("TT-D035", path=path.name, row=number, column=", ".join(names)) from error


def read_single_texts(source: str, column: str) -> Iterator[str]:
    """As `read_texts`, one text a row: of a table those of `column`, or of its own text column where it has
    none such; of a cell that holds a list of texts the first."""
    path = Path(source).expanduser()
    if source == "-" or not path.is_file() or path.suffix.lower() == ".txt":
        yield from (text for (text,) in read_texts(source))
        return
    table = open_table(path)
    name = column if column in table.columns else choose_text_columns(table, ())[0]
    for number, values in table.rows():
        value = values.get(name)
        first = value[0] if isinstance(value, list | tuple) and value else value
        try:
            yield cell_text(first)
        except TypeError as error:
            raise DataError("TT-D035", path=path.name, row=number, column=name) from error


def _split_lines(lines: Iterator[str], file: str, texts: int) -> Iterator[tuple[str, ...]]:
    for number, line in enumerate(lines, start=1):
        parts = tuple(line.split("\t")) if texts == 2 else (line,)
        if len(parts) != texts:
            raise DataError("TT-D080", path=file, row=number, count=len(parts))
        yield parts


def _file_lines(path: Path) -> Iterator[str]:
    try:
        encoding = detect_encoding(path)
        with path.open(encoding=encoding.codec, errors=encoding.errors) as file:
            for line in file:
                yield line.removesuffix("\n")
    except OSError as error:
        raise DataError("TT-D007", path=str(path), reason=system_reason(error)) from error


def _stdin_lines() -> Iterator[str]:
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8").removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError as error:
            raise DataError("TT-D081", row=number) from error


def _without_surrogates(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
