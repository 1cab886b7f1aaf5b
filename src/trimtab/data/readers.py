"""Rows of a file, streamed: csv, tsv, json, jsonl, parquet, conll, and txt. One function a format; a row is never
split.

Memory holds one row (one megabyte of text for a json array, one batch for parquet), whatever the size of the
file. Lines end at a line feed only: U+2028, U+0085 and \\x0b belong to the texts. What a row means (which
column is the text) is decided elsewhere.
"""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, NoReturn, TextIO

from trimtab.data.encoding import Encoding
from trimtab.errors import DataError, message

MAX_ROW_CHARACTERS = 8 << 20
"""A longer row is a broken file (a quote never closed, no line ends), not a text to learn from."""

_JSON_CHUNK_CHARACTERS = 1 << 20
_PARQUET_BATCH_ROWS = 1024
_LINES_A_BORDER = 20
TEXT_COLUMN = "text"
"""What the only column of a .txt file is called."""


class Row(NamedTuple):
    """One row. `number` counts from 1: rows after the header in csv and tsv (blank ones included), lines in
    jsonl, entries in json and parquet, the first line of a sentence in conll."""

    number: int
    values: Mapping[str, object]


Reader = Callable[[Path, Encoding], Iterator[Row]]


def reader_of(path: Path, encoding: Encoding) -> Reader:
    """The reader for a file's suffix (lower case, one of `SUFFIXES`). Looks into csv, tsv and json files to
    see which delimiter, quoting or layout they use."""
    return _CHOOSERS[path.suffix.lower()](path, encoding)


def _open(path: Path, encoding: Encoding, newline: str) -> TextIO:
    return path.open(encoding=encoding.codec, errors=encoding.errors, newline=newline)


# --- csv and tsv


def _read_delimited(path: Path, encoding: Encoding, *, delimiter: str, quoted: bool) -> Iterator[Row]:
    csv.field_size_limit(MAX_ROW_CHARACTERS)
    number = 0
    with _open(path, encoding, newline="") as file:
        records = csv.reader(
            file, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE, strict=True
        )
        try:
            header = _header(path, next(records, []))
            width = len(header)
            for number, fields in enumerate(records, start=1):
                if len(fields) == width and "\0" not in "".join(fields):
                    yield Row(number, dict(zip(header, fields, strict=True)))
                elif fields:
                    _refuse_fields(path, number, header, fields)
        except csv.Error as error:
            raise DataError(_csv_code(error), path=path.name, row=number + 1) from error


def _header(path: Path, fields: list[str]) -> tuple[str, ...]:
    names = tuple(name.strip() for name in fields)
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError("TT-D018", path=path.name, column=repeated[0])
    return names


def _refuse_fields(path: Path, number: int, header: tuple[str, ...], fields: list[str]) -> NoReturn:
    if len(fields) != len(header):
        raise DataError(
            "TT-D010",
            path=path.name,
            row=number,
            fields=len(fields),
            columns=len(header),
            header=", ".join(header),
        )
    name = next(name for name, field in zip(header, fields, strict=True) if "\0" in field)
    raise DataError("TT-D011", path=path.name, row=number, column=name)


def _csv_code(error: csv.Error) -> str:
    text = str(error)
    if "field limit" in text:
        return "TT-D012"
    return "TT-D013" if "unexpected end" in text else "TT-D014"


def _csv_reader(path: Path, encoding: Encoding) -> Reader:
    """Comma, or the semicolon or tab that some spreadsheets write into a .csv, whichever the header holds
    most."""
    with _open(path, encoding, newline="") as file:
        header = file.readline(MAX_ROW_CHARACTERS)
    return partial(_read_delimited, delimiter=max(",;\t", key=header.count), quoted=True)


def _tsv_reader(path: Path, encoding: Encoding) -> Reader:
    """Quotes are plain characters (as in GLUE's files) where every line then has the header's number of
    fields; otherwise the file was written with csv quoting."""
    with _open(path, encoding, newline="") as file:
        tabs = file.readline().count("\t")
        plain = all(line.count("\t") == tabs or line.isspace() for line in file)
    return partial(_read_delimited, delimiter="\t", quoted=not plain)


# --- json and jsonl


def _read_jsonl(path: Path, encoding: Encoding) -> Iterator[Row]:
    with _open(path, encoding, newline="\n") as file:
        number = 0
        while line := file.readline(MAX_ROW_CHARACTERS + 1):
            number += 1
            if len(line) > MAX_ROW_CHARACTERS:
                raise DataError("TT-D012", path=path.name, row=number)
            if line.isspace():
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                column = getattr(error, "colno", 1)
                raise DataError("TT-D015", path=path.name, row=number, character=column) from error
            yield Row(number, _json_object(path, number, value))


def _read_json_array(path: Path, encoding: Encoding) -> Iterator[Row]:
    """Entries of one array, decoded one by one from a window of the text that moves through the file."""
    decoder = json.JSONDecoder()
    with _open(path, encoding, newline="") as file:
        window = file.read(_JSON_CHUNK_CHARACTERS).lstrip()[1:]
        number = 0
        while True:
            window = window.lstrip()
            if not window or (window == "," and number):
                more = file.read(_JSON_CHUNK_CHARACTERS)
                if not more:
                    raise DataError("TT-D015", path=path.name, row=number + 1, character=1)
                window += more
                continue
            if window[0] == "]":
                return
            start = 1 if window[0] == "," and number else 0
            number += 1
            value, end, window = _next_entry(path, number, file, decoder, window[start:].lstrip())
            yield Row(number, _json_object(path, number, value))
            window = window[end:]


def _next_entry(
    path: Path, number: int, file: TextIO, decoder: json.JSONDecoder, window: str
) -> tuple[object, int, str]:
    """One entry, where it ends in the window, and the window, read on until the entry is whole."""
    while True:
        try:
            value, end = decoder.raw_decode(window)
        except (ValueError, RecursionError) as error:
            if len(window) > MAX_ROW_CHARACTERS:
                raise DataError("TT-D012", path=path.name, row=number) from error
            more = file.read(_JSON_CHUNK_CHARACTERS)
            if not more:
                column = getattr(error, "pos", 0) + 1
                raise DataError("TT-D015", path=path.name, row=number, character=column) from error
            window = (window + more).lstrip()
        else:
            return value, end, window


_KINDS = {
    list: "TT-D090",
    str: "TT-D091",
    int: "TT-D092",
    float: "TT-D092",
    bool: "TT-D093",
    type(None): "TT-D094",
}  # what JSON has besides objects


def _json_object(path: Path, number: int, value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise DataError("TT-D016", path=path.name, row=number, kind=message(_KINDS[type(value)]))
    return value


def _json_reader(path: Path, encoding: Encoding) -> Reader:
    """A .json file is one array, or, as many published sets have it, one object a line."""
    with _open(path, encoding, newline="") as file:
        start = file.read(4096).lstrip()
    return _read_json_array if start.startswith("[") else _read_jsonl


def _jsonl_reader(path: Path, encoding: Encoding) -> Reader:
    return _read_jsonl


# --- parquet


def _read_parquet(path: Path, encoding: Encoding) -> Iterator[Row]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise DataError("TT-D019", path=path.name) from error
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_PARQUET_BATCH_ROWS):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(number, values)
    except (ValueError, OSError, NotImplementedError) as error:  # what Arrow's own errors derive from
        raise DataError("TT-D020", path=path.name, row=number + 1) from error


def _parquet_reader(path: Path, encoding: Encoding) -> Reader:
    return _read_parquet


# --- plain text


@dataclass(frozen=True, slots=True)
class DocumentReader:
    """Reads documents: between blank lines (`apart`), or one a line."""

    apart: bool

    def __call__(self, path: Path, encoding: Encoding) -> Iterator[Row]:
        return _read_documents(path, encoding, apart=self.apart)


def _text_reader(path: Path, encoding: Encoding) -> Reader:
    """Documents between blank lines where such borders are at least a twentieth as many as the lines with text;
    else one a line, so that a stray blank line changes nothing."""
    lines = borders = 0
    blank = False
    with _open(path, encoding, newline="\n") as file:
        while line := file.readline(MAX_ROW_CHARACTERS):
            if line.isspace():
                blank = True
                continue
            borders += blank and lines > 0
            lines += 1
            blank = False
    return DocumentReader(apart=borders > 0 and borders * _LINES_A_BORDER >= lines)


def _read_documents(path: Path, encoding: Encoding, *, apart: bool) -> Iterator[Row]:
    """`apart`: by blank lines. The number of a document is that of its first line."""
    lines: list[str] = []
    number = first = characters = 0
    with _open(path, encoding, newline="\n") as file:
        while line := file.readline(MAX_ROW_CHARACTERS + 1):
            number += 1
            blank = line.isspace()
            if lines and (blank or not apart):
                yield Row(first, {TEXT_COLUMN: "".join(lines).rstrip("\r\n")})
                lines, characters = [], 0
            if blank:
                continue
            first = first if lines else number
            characters += len(line)
            if characters > MAX_ROW_CHARACTERS:
                raise DataError("TT-D012", path=path.name, row=first)
            lines.append(line)
    if lines:
        yield Row(first, {TEXT_COLUMN: "".join(lines).rstrip("\r\n")})


# --- conll


def _read_conll(path: Path, encoding: Encoding) -> Iterator[Row]:
    """A word a line with its tag at the end, a blank line between sentences; a sentence is one row, {tokens,
    tags}, both lists. Columns are separated by tabs or, where a line has none, by spaces; those between word and
    tag are not read. A file of words alone has no tags. Comments are not known: "#" may be a word."""
    with _open(path, encoding, newline="\n") as file:
        start, number = 1, 0
        lines: list[list[str]] = []
        while line := file.readline(MAX_ROW_CHARACTERS + 1):
            number += 1
            if len(line) > MAX_ROW_CHARACTERS:
                raise DataError("TT-D012", path=path.name, row=number)
            fields = line.rstrip("\r\n").split("\t") if "\t" in line else line.split()
            if not "".join(fields).strip() or fields[0] == "-DOCSTART-":
                if lines:
                    yield Row(start, _sentence(lines))
                start, lines = number + 1, []
            elif lines and len(fields) != len(lines[0]):
                facts = {"columns": len(fields), "expected": len(lines[0])}
                raise DataError("TT-D126", path=path.name, row=number, **facts)
            else:
                lines.append(fields)
        if lines:
            yield Row(start, _sentence(lines))


def _sentence(lines: list[list[str]]) -> dict[str, object]:
    words: dict[str, object] = {"tokens": [fields[0] for fields in lines]}
    tags = {"tags": [fields[-1].strip() for fields in lines]} if len(lines[0]) > 1 else {}
    return words | tags


def _conll_reader(path: Path, encoding: Encoding) -> Reader:
    return _read_conll


_CHOOSERS: dict[str, Callable[[Path, Encoding], Reader]] = {
    ".csv": _csv_reader,
    ".tsv": _tsv_reader,
    ".json": _json_reader,
    ".jsonl": _jsonl_reader,
    ".ndjson": _jsonl_reader,
    ".parquet": _parquet_reader,
    ".txt": _text_reader,
    ".conll": _conll_reader,
    ".bio": _conll_reader,
}
PLAIN_SUFFIXES = tuple(_CHOOSERS)
"""Of plain text too, where texts are all that is wanted (task text)."""
SUFFIXES = tuple(suffix for suffix in PLAIN_SUFFIXES if suffix != ".txt")
