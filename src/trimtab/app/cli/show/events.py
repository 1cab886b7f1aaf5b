"""A training as lines of JSON on standard output, one an event, for a program that follows it."""

import re
import sys
import time
from collections.abc import Iterable
from functools import singledispatch
from typing import Any

from trimtab.app.cli.face import Face
from trimtab.app.cli.show.plan import planned_facts
from trimtab.errors import UsageError
from trimtab.study import Planned, Trained
from trimtab.study.jsonable import jsonable

FORMATS = ("jsonl",)


def print_events(face: Face, events: Iterable[object]) -> None:
    """Each as soon as it happens: `event` (its name), `at` (seconds since 1970), and its own facts."""
    for event in events:
        face.print_json({"event": _name(event), "at": time.time(), **_facts(event, face.language)}, indent=None)
        sys.stdout.flush()


def require_format(asked: str) -> None:
    """Raises UsageError TT-W101 for a format that is not spoken."""
    if asked not in FORMATS:
        raise UsageError("TT-W101", asked=asked[:40], known=", ".join(FORMATS))


def _name(event: object) -> str:
    """ "PrefixReady" -> "prefix_ready" """
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()


@singledispatch
def _facts(event: object, language: str) -> dict[str, Any]:
    return jsonable(event, language)


@_facts.register
def _(event: Planned, language: str) -> dict[str, Any]:
    return planned_facts(event, language)


@_facts.register
def _(event: Trained, language: str) -> dict[str, Any]:
    """What report.json says lies in the folder."""
    places = {"artifact_path": event.artifact_path, "report_path": event.report_path}
    return {**places, "rows": jsonable(event.rows, language)}
