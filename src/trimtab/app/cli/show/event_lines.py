"""Events as JSON, one object a line, for a page or a program that follows a training or a bake-off."""

import json

from trimtab.study.jsonable import jsonable


def event_line(event: object, language: str = "en") -> str:
    """`event` (any of training/events.py, study/bakeoff.py, or a Message) as one line without its line break:
    "event" is the name of its class, the rest its fields under their own names. Messages are told in `language`;
    numbers are finite or null. ASCII alone, so that no mark in a name can end the line."""
    return json.dumps({"event": type(event).__name__, **jsonable(event, language)}, allow_nan=False)
