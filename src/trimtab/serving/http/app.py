"""make_app: the routes, behind the gate, before a service. An ASGI application that any server may run."""

from collections.abc import Callable
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from trimtab.errors import UsageError
from trimtab.serving.http import (
    routes_admin,
    routes_classify,
    routes_embed,
    routes_health,
    routes_models,
    routes_write,
)
from trimtab.serving.http.bodies import ErrorBody
from trimtab.serving.http.desk import Desk, Door
from trimtab.serving.http.errors import answer_to, invalid, unrouted
from trimtab.serving.http.gate import OPEN_PATHS, Gate
from trimtab.serving.http.metrics import Metrics
from trimtab.serving.http.observed import Observed, Traffic, seen_of
from trimtab.serving.http.settings import HttpSettings
from trimtab.serving.service import Service

_ROUTES = (routes_classify, routes_embed, routes_write, routes_models, routes_admin, routes_health)
_REFUSALS: dict[int | str, dict[str, object]] = {
    "4XX": {"model": ErrorBody, "description": "Refused; the error says why and what to do."},
    "5XX": {"model": ErrorBody, "description": "Busy, closing, or failed."},
}


def make_app(
    service: Service,
    settings: HttpSettings,
    *,
    traffic: Traffic | None = None,
    ready: Callable[[], bool] = lambda: True,
) -> FastAPI:
    """`service` over HTTP. `traffic`: where it is told that no more is taken, and tells what is in flight;
    `ready`: whether what was named at the start is in memory. Raises UsageError as `HttpSettings.require_safe`."""
    settings.require_safe()
    metrics, traffic = Metrics(service), traffic or Traffic()
    desk = Desk(service=service, settings=settings, metrics=metrics, traffic=traffic, ready=ready)
    outer = Middleware(Observed, metrics=metrics, traffic=traffic, send_seconds=settings.send_seconds)
    app = FastAPI(
        title="Trimtab",
        version=version("trimtab"),
        docs_url=None,  # pages that load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        middleware=[outer, Middleware(Gate, settings=settings, traffic=traffic)],
    )
    for routes in _ROUTES:
        for door in routes.doors(desk):
            _open(app, door)
    app.add_exception_handler(RequestValidationError, _refuse_fields)
    app.add_exception_handler(HTTPException, _refuse_route)
    return app


def _open(app: FastAPI, door: Door) -> None:
    keyed: dict[str, object] = {"security": [{"key": []}]} if door.path not in OPEN_PATHS else {}
    app.add_api_route(
        door.path,
        door.answer,
        methods=[door.method],
        status_code=door.status,
        response_model=door.gives,
        response_model_exclude_none=door.sparse,
        responses=_REFUSALS,
        openapi_extra=keyed or None,
    )


async def _refuse_fields(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _refused(request, invalid(error))


async def _refuse_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = _refused(request, unrouted(error, request.method))
    response.headers.update(error.headers or {})  # which methods there are
    return response


def _refused(request: Request, error: UsageError) -> Response:
    seen = seen_of(request.scope)
    seen.code = error.code
    return answer_to(error, seen.id, seen.language)
