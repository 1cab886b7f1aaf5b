"""Desk: what every route works with, and Door: a route, as the tables of routes declare it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

from trimtab.data.spec import Example, Task
from trimtab.errors import UsageError
from trimtab.serving.facts import Answered, ServedAdapter
from trimtab.serving.http.metrics import Metrics
from trimtab.serving.http.observed import Seen, Traffic, seen_of
from trimtab.serving.http.settings import HttpSettings
from trimtab.serving.http.waiting import Deadline, answer_of
from trimtab.serving.letting_in import base_name
from trimtab.serving.service import Service


@dataclass(frozen=True, slots=True)
class Door:
    """A route. `answer` is called with the body, as its annotation has it; `gives` is what it returns,
    without the fields that are None where it is `sparse`."""

    method: str
    path: str
    answer: Callable[..., Any]
    gives: Any
    status: int = 200
    sparse: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Desk:
    """`ready`: whether what was named at the start is in memory."""

    service: Service
    settings: HttpSettings
    metrics: Metrics
    traffic: Traffic
    ready: Callable[[], bool]
    began_at: int = field(default_factory=lambda: int(time.time()))

    @property
    def base(self) -> str:
        """The base's name as clients know it."""
        return base_name(self.service.base)

    def adapter(self, name: str, request: Request) -> ServedAdapter:
        """The adapter that is asked; noted. Raises UsageError TT-U103."""
        found = self.service.adapter(name)
        seen_of(request.scope).model = name
        return found

    async def answers(
        self, name: str, examples: Sequence[Example], request: Request, *, passages: bool = False
    ) -> Answered:
        """What an adapter says. Raises what `Service.ask` and `answer_of` raise."""
        seen_of(request.scope).inputs = len(examples)
        seconds = self.settings.deadline_seconds
        future = self.service.ask(name, examples, passages=passages, deadline_seconds=seconds)
        return await answer_of(future, request.receive, Deadline.after(seconds))


# Where each task is asked.
ROUTE_OF_TASK: dict[Task, str] = {
    "classify": "/v1/classify",
    "pair": "/v1/classify",
    "multilabel": "/v1/classify",
    "regress": "/v1/classify",
    "tag": "/v1/classify",
    "embed": "/v1/embeddings",
    "instruct": "/v1/chat/completions",
    "text": "/v1/completions",
}


def require_task(adapter: ServedAdapter, route: str) -> ServedAdapter:
    """`adapter`, where it is asked at `route`. Raises UsageError TT-N021."""
    if ROUTE_OF_TASK[adapter.task] != route:
        raise UsageError("TT-N021", name=adapter.name, task=adapter.task, route=ROUTE_OF_TASK[adapter.task])
    return adapter


def noted(request: Request) -> Seen:
    """Where a route notes what it learns of a request."""
    return seen_of(request.scope)
