"""A csv file of setups as records of cells, one at a time. What the cells mean is not looked at."""

import csv
from collections.abc import Iterator
from pathlib import Path

from trimtab.errors import BadInput, system_reason


def records_of(path: Path) -> Iterator[dict[str, str]]:
    """The cells of each row by column, in order. Raises BadInput TT-W001 to TT-W005 for what is no such table."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from _records(path, csv.DictReader(file, strict=True))
    except OSError as error:
        raise BadInput("TT-W001", path=str(path), reason=system_reason(error)) from error
    except UnicodeDecodeError as error:
        raise BadInput("TT-W003", path=str(path)) from error


def _records(path: Path, records: "csv.DictReader[str]") -> Iterator[dict[str, str]]:
    try:
        if records.fieldnames is not None:
            records.fieldnames = [name.strip() for name in records.fieldnames]
        if "model_key" not in (records.fieldnames or ()):
            columns = ", ".join(records.fieldnames or ()) or "-"
            raise BadInput("TT-W002", path=str(path), columns=columns)
        names = list(records.fieldnames or ())
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise BadInput("TT-W005", path=str(path), columns=", ".join(twice))
        for record in records:
            # cells beyond the header stand under None; absent ones are None
            yield {column: cell or "" for column, cell in record.items() if isinstance(column, str)}
    except csv.Error as error:
        raise BadInput("TT-W004", path=str(path), line=records.line_num) from error
