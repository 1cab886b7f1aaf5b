"""The verb serve: a service with its adapters, behind HTTP. What is unsafe or cannot be listened at is refused
before anything is loaded."""

import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.artifacts import glance, weight_bytes
from trimtab.errors import UsageError
from trimtab.heavy import heavy_imports
from trimtab.methods import PRECISIONS
from trimtab.serving.http.settings import HttpSettings
from trimtab.serving.letting_in import base_name, require_served_name
from trimtab.serving.limits import Limits

if TYPE_CHECKING:
    from trimtab.methods import Precision
    from trimtab.serving.facts import ServedAdapter
    from trimtab.serving.service import Service

_PACKAGES = ("fastapi", "uvicorn", "prometheus_client")


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeRequest:
    """`adapters`: (name, folder) of each; `pinned`: names of those that stay in memory; `precision`: what all
    compute in, None = what they were trained in, which must be one."""

    model: str
    adapters: tuple[tuple[str, str], ...] = ()
    pinned: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    settings: HttpSettings = field(default_factory=HttpSettings)
    precision: "Precision | None" = None
    trust_remote_code: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadyServer:
    """A service at its address, which answers once it is `run`. `first`: adapters that are loaded at once."""

    url: str
    base: str
    adapters: "tuple[ServedAdapter, ...]"
    first: tuple[str, ...]
    service: "Service"
    settings: HttpSettings
    taken: socket.socket

    def run(self) -> None:
        """Answer until SIGTERM or Ctrl-C, in the main thread; then end what is in flight. Raises what loading the
        first adapters raises."""
        from trimtab.serving.http.run import HttpServer

        with self.service:
            HttpServer(self.service, self.settings, self.taken, self.first).run()


def serve(request: ServeRequest) -> ReadyServer:
    """A service for `request`, ready to be run. Raises UsageError TT-N030, TT-N040 to TT-N048, TT-P019, and what
    `Service` and its `register` raise of the model and the adapters."""
    settings = request.settings.require_safe()
    if request.precision not in (None, *PRECISIONS):
        raise UsageError("TT-P019", precision=request.precision, known=", ".join(PRECISIONS))
    for name, _ in request.adapters:
        require_served_name(name, base_name(request.model))
    if any(find_spec(package) is None for package in _PACKAGES):
        raise UsageError("TT-N046")
    with heavy_imports():
        from trimtab.serving.http.sockets import bound, url_of
        from trimtab.serving.service import Service
    with ExitStack() as undone:
        taken = undone.enter_context(bound(settings))
        service = undone.enter_context(
            Service(
                request.model,
                request.limits,
                precision=request.precision,
                trust_remote_code=request.trust_remote_code,
            )
        )
        for name, folder in request.adapters:
            service.register(name, Path(folder).expanduser())
        for name in request.pinned:
            service.pin(name)
        undone.pop_all()
    return ReadyServer(
        url=url_of(taken),
        base=request.model,
        adapters=service.adapters,
        first=_first(request, service.adapters),
        service=service,
        settings=settings,
        taken=taken,
    )


def _first(request: ServeRequest, adapters: "Sequence[ServedAdapter]") -> tuple[str, ...]:
    """Those that memory is given for, pinned ones before others; what does not fit leaves its room to the next."""
    folders, left = dict(request.adapters), request.limits.adapter_bytes
    first: list[str] = []
    for adapter in sorted(adapters, key=lambda one: not one.pinned):
        own = _own_bytes(Path(folders[adapter.name]).expanduser())
        if own <= left:
            left -= own
            first.append(adapter.name)
    return tuple(first)


def _own_bytes(folder: Path) -> int:
    """Of weights that are not the base's; a head alone, whose file is a whole model, takes next to none."""
    from trimtab.evaluation.adapter_set import is_head_alone

    return 0 if is_head_alone(glance(folder)) else weight_bytes(folder)
