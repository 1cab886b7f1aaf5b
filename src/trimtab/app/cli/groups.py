"""Groups of options: a frozen dataclass whose fields are options, which a verb takes as one parameter."""

import inspect
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import wraps
from typing import TypeVar

Answer = TypeVar("Answer")


def grouped(verb: Callable[..., Answer]) -> Callable[..., Answer]:
    """The verb as Typer is to see it: in the place of a group stand its options, by their own names, in order."""
    signature = inspect.signature(verb)
    groups = {
        name: parameter.annotation
        for name, parameter in signature.parameters.items()
        if isinstance(parameter.annotation, type) and is_dataclass(parameter.annotation)
    }
    members = {name: inspect.signature(group).parameters for name, group in groups.items()}

    @wraps(verb)
    def called(**typed: object) -> Answer:
        for name, group in groups.items():
            typed[name] = group(**{option: typed.pop(option) for option in members[name]})
        return verb(**typed)

    parameters = [
        option
        for name, parameter in signature.parameters.items()
        for option in (members[name].values() if name in groups else (parameter,))
    ]
    called.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {option.name: option.annotation for option in parameters}  # Typer reads both
    return called
