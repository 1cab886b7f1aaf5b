"""What becomes of an error: a status by its code or its class, and the body that OpenAI's clients read.

What went wrong inside is said to the log, and to the client only that something did.
"""

import math
import re
from collections.abc import Mapping

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from trimtab.errors import (
    BadInput,
    Busy,
    DataError,
    Message,
    TrimtabError,
    UsageError,
    message,
)

GONE = 499  # of a client that waits no more; never sent
INSIDE = "TT-N004"
_LONGEST_FIELD = 120
_ALTERNATIVE = re.compile(r"^constrained-|\[")  # which of several types a field may have: words of pydantic

# By code; else by class.
STATUSES: Mapping[object, int] = {
    Busy: 503,
    UsageError: 422,
    DataError: 422,
    "TT-A008": 422,  # another number of texts than the adapter takes
    "TT-A043": 422,  # the base has no head of its own
    "TT-M040": 422,  # the chat template refuses the turns
    "TT-N001": 429,
    "TT-N002": 504,
    "TT-N003": 503,
    "TT-N010": 403,
    "TT-N011": 403,
    "TT-N012": 401,
    "TT-N013": 413,
    "TT-N014": 408,
    "TT-N016": 415,
    "TT-N017": 403,
    "TT-N018": 403,
    "TT-N023": 404,
    "TT-N024": 405,
    "TT-U102": 409,  # an adapter is called so
    "TT-U103": 404,  # none is
}
# Where an adapter is let in, a folder that cannot be used is the fault of the request. Later it is the server's.
STATUSES_OF_LETTING_IN: Mapping[object, int] = {
    **STATUSES,
    BadInput: 422,
    "TT-A023": 404,  # nothing of that name in the folder
    "TT-A005": 409,  # of another base: a tensor missing, of another shape, without a place
    "TT-A027": 409,
    "TT-A028": 409,
    "TT-A041": 409,  # of another base by its hash
    "TT-A042": 409,  # the base is stored otherwise
}
_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    429: "rate_limit_error",
}
_FIELDS: Mapping[str, str] = {"TT-U103": "model", "TT-N021": "model", "TT-N022": "input", "TT-A008": "input"}
_CLOSING = frozenset({408, 413, 503})  # what else the client sends is not read


def status_of(error: Exception, statuses: Mapping[object, int] = STATUSES) -> int:
    """By its code, else by its class or the nearest above it; 500 for what no table knows."""
    if not isinstance(error, TrimtabError):
        return 500
    keys = (error.code, *type(error).__mro__)
    return next((statuses[key] for key in keys if key in statuses), 500)


def answer_to(
    error: Exception, request_id: str, language: str, statuses: Mapping[object, int] = STATUSES
) -> JSONResponse:
    """The response that `error` becomes."""
    status = status_of(error, statuses)
    if status == 500 or not isinstance(error, TrimtabError):
        return _response(status, message(INSIDE, id=request_id), language)
    return _response(status, error.message, language)


def invalid(error: RequestValidationError) -> UsageError:
    """The first field that is wrong, without what stood in it."""
    first, *_ = found = error.errors()
    place = ".".join(str(part) for part in first["loc"][1:] if not _ALTERNATIVE.search(str(part))) or "body"
    field = "".join(mark if mark.isprintable() else "?" for mark in place[:_LONGEST_FIELD])
    return UsageError("TT-N020", field=field, problem=str(first["msg"])[:200], count=len(found))


def unrouted(error: HTTPException, method: str) -> UsageError:
    """No such route, or none that is asked with `method`; a body that is no JSON."""
    if error.status_code == 404:
        return UsageError("TT-N023")
    if error.status_code == 405:
        return UsageError("TT-N024", method=method[:20])
    return UsageError("TT-N020", field="body", problem="Input should be valid JSON", count=1)


def error_body(told: Message, status: int, language: str = "en") -> dict[str, object]:
    """As OpenAI writes errors; `code` is ours."""
    param = told.fact("field") if told.code == "TT-N020" else _FIELDS.get(told.code)
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    text = f"{told.text(language)} {told.next_step(language)}".strip()
    return {"error": {"message": text, "type": kind, "param": param, "code": told.code}}


def _response(status: int, told: Message, language: str) -> JSONResponse:
    response = JSONResponse(error_body(told, status, language), status)
    if status == 401:
        response.headers["www-authenticate"] = "Bearer"
    if status == 429:
        seconds = dict(told.facts).get("retry_seconds", 1)
        response.headers["retry-after"] = str(max(1, math.ceil(float(str(seconds)))))
    if status in _CLOSING:
        response.headers["connection"] = "close"
    return response
