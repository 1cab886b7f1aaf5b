"""Whether the fields of a dataclass that was read from a file hold what their types say. Leaves out mappings."""

import types
from dataclasses import fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def misfit(value: Any) -> str:
    """The name of the first field of a dataclass whose value is not of its type, "" where all are."""
    hints = get_type_hints(type(value))
    return next((f.name for f in fields(value) if not _is(getattr(value, f.name), hints[f.name])), "")


def _is(value: object, hint: Any) -> bool:
    """A whole number is a float too, true and false are no numbers."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return isinstance(value, str | int) and value in inner
    if origin in (Union, types.UnionType):
        return any(_is(value, one) for one in inner)
    if origin is tuple:
        return isinstance(value, tuple) and _are(value, inner)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if is_dataclass(hint) or hint is bool:
        return isinstance(value, hint)  # type: ignore[arg-type]
    return isinstance(value, hint) and not isinstance(value, bool)


def _are(values: tuple[object, ...], hints: tuple[Any, ...]) -> bool:
    if len(hints) == 2 and hints[1] is Ellipsis:
        return all(_is(value, hints[0]) for value in values)
    return len(values) == len(hints) and all(map(_is, values, hints))
