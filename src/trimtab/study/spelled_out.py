"""A verb that is written for one request object, called with the fields of that request as arguments.

So a field that a verb may be asked with is declared once, with its type and default, in study/request.py.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

Asked = ParamSpec("Asked")
Request = TypeVar("Request")
Answer = TypeVar("Answer")


def spelled_out(
    request_type: Callable[Asked, Request],
) -> Callable[[Callable[[Request], Answer]], Callable[Asked, Answer]]:
    """For a verb of one request: the same verb, called as `request_type` is. Types and `help()` say the same."""

    def spelled(verb: Callable[[Request], Answer]) -> Callable[Asked, Answer]:
        @wraps(verb)
        def called(*args: Asked.args, **kwargs: Asked.kwargs) -> Answer:
            try:
                arguments = signature.bind(*args, **kwargs)
            except TypeError as error:  # in the words of the verb, not of a class that its caller never saw
                raise TypeError(f"{verb.__name__}() {error}") from None
            return verb(request_type(*arguments.args, **arguments.kwargs))

        answer = inspect.signature(verb).return_annotation
        signature = inspect.signature(request_type).replace(return_annotation=answer)
        called.__signature__ = signature  # type: ignore[attr-defined]  # what inspect and help() read
        return called

    return spelled
