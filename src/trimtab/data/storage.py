"""A DataSpec as JSON and back, for a cache of what has been checked and counted before."""

from functools import cache
from typing import TYPE_CHECKING

from trimtab.data.spec import DataSpec

if TYPE_CHECKING:
    from pydantic import TypeAdapter


def to_json(spec: DataSpec) -> str:
    """All fields, the problems with their messages included. `from_json(to_json(spec)) == spec`."""
    return _adapter().dump_json(spec).decode()


def from_json(text: str) -> DataSpec:
    """Raises ValueError where `text` is not what `to_json` of this version writes: count again then."""
    return _adapter().validate_json(text)


@cache
def _adapter() -> "TypeAdapter[DataSpec]":
    from pydantic import TypeAdapter

    return TypeAdapter(DataSpec)
