"""One line of JSON an event, on stderr: what was asked of which adapter, how long it took, what came of it.

Never a text that was sent or written: what is logged is named here field by field, names that are not an adapter's
are not among them, and of an error only where it was raised.
"""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

_PLACES = 8  # of an error, the innermost
_LOG = logging.getLogger("trimtab.serving")


def log(event: str, **facts: object) -> None:
    """`facts` that are None are left out."""
    known = {name: value for name, value in facts.items() if value is not None}
    _LOG.info(event, extra={"facts": known})


def log_failure(error: BaseException, request_id: str) -> None:
    """An error that is no answer: its class and where it was raised, not its words, which may be a client's."""
    places = [
        f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)
    ]
    facts = {
        "id": request_id,
        "kind": type(error).__name__,
        "code": getattr(error, "code", None),
        "places": places,
    }
    _LOG.error("failure", extra={"facts": facts})


def log_to(stream: TextIO | None = None) -> None:
    """Have this process log so, uvicorn's own notices among it. None = stderr."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Lines())
    for name in ("trimtab.serving", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
    _LOG.setLevel(logging.INFO)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {"at": at, "level": record.levelname.lower(), "event": record.getMessage()}
        if record.exc_info and record.exc_info[0]:
            line["kind"] = record.exc_info[0].__name__
        return json.dumps(line | getattr(record, "facts", {}), ensure_ascii=False, default=str)
