"""/admin/adapters: let adapters in and out, pin and list them, while the server runs.

With a key alone, and from the one folder that the server was told of. What blocks runs in a thread (these
routes are no coroutines): a load stands in no other request's way.
"""

from typing import Any

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from trimtab.errors import UsageError
from trimtab.serving.facts import ServedAdapter
from trimtab.serving.http.bodies import AdapterCard, AdapterList, LetInBody, PinBody
from trimtab.serving.http.desk import Desk, Door, noted
from trimtab.serving.letting_in import folder_inside, require_served_name

_ALL, _ONE = "/admin/adapters", "/admin/adapters/{name}"


def doors(desk: Desk) -> tuple[Door, ...]:
    def with_key(request: Request) -> None:
        noted(request).letting_in = True
        if not desk.settings.keys:
            raise UsageError("TT-N017")

    keyed = Depends(with_key)
    return (*_doors_of_all(desk, keyed), *_doors_of_one(desk, keyed))


def _doors_of_all(desk: Desk, keyed: Any) -> tuple[Door, ...]:
    def list_adapters(_: None = keyed) -> AdapterList:
        """All that are registered, and what lies in the folder."""
        return AdapterList(data=[card(one) for one in desk.service.adapters], folder=_names_in(desk))

    def let_in(body: LetInBody, request: Request, _: None = keyed) -> AdapterCard:
        """Let a folder of the folder of adapters answer to a name."""
        return card(_let_in(desk, body, request))

    return (
        Door("GET", _ALL, list_adapters, AdapterList),
        Door("POST", _ALL, let_in, AdapterCard, 201),
    )


def _doors_of_one(desk: Desk, keyed: Any) -> tuple[Door, ...]:
    service = desk.service

    def load(name: str, request: Request, _: None = keyed) -> AdapterCard:
        """Have a registered adapter in memory now."""
        return card(service.load(desk.adapter(name, request).name))

    def unload(name: str, request: Request, _: None = keyed) -> AdapterCard:
        """Let its memory go; it stays registered, and is loaded again when it is asked."""
        return card(service.unload(desk.adapter(name, request).name))

    def pin(name: str, body: PinBody, request: Request, _: None = keyed) -> AdapterCard:
        """Whether it is never evicted."""
        return card(service.pin(desk.adapter(name, request).name, body.pinned))

    def forget(name: str, request: Request, _: None = keyed) -> Response:
        """Unload it and let it answer no more."""
        service.forget(desk.adapter(name, request).name)
        noted(request).model = None
        desk.metrics.forget(name)
        return Response(status_code=204)

    return (
        Door("POST", f"{_ONE}/load", load, AdapterCard),
        Door("POST", f"{_ONE}/unload", unload, AdapterCard),
        Door("POST", f"{_ONE}/pin", pin, AdapterCard),
        Door("DELETE", _ONE, forget, None, 204),
    )


def _let_in(desk: Desk, body: LetInBody, request: Request) -> ServedAdapter:
    """Register and load it; it is gone again where that fails. Raises UsageError TT-N018, TT-N030, TT-U101, what
    `folder_inside` raises, and what `Service.register` and `load` do."""
    service, settings = desk.service, desk.settings
    name = require_served_name(body.name, desk.base)
    if settings.adapters_folder is None:
        raise UsageError("TT-N018")
    service.register(name, folder_inside(body.folder or name, settings.adapters_folder, settings.most_bytes))
    noted(request).model = name
    try:
        if body.load:
            service.load(name)
        return service.pin(name, body.pinned)
    except Exception:
        service.forget(name)  # what cannot be loaded must not be asked
        noted(request).model = None
        raise


def card(adapter: ServedAdapter) -> AdapterCard:
    """An adapter as those who run the server see it."""
    return AdapterCard(
        name=adapter.name, task=adapter.task, method=adapter.method, labels=list(adapter.labels),
        columns=list(adapter.columns), file_bytes=adapter.file_bytes, state=adapter.state, pinned=adapter.pinned,
        own_bytes=adapter.own_bytes, in_flight=adapter.in_flight,
    )  # fmt: skip


def _names_in(desk: Desk) -> list[str]:
    folder = desk.settings.adapters_folder
    if folder is None or not folder.is_dir():
        return []
    return sorted(child.name for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
