"""make_page: the routes behind the gate. An ASGI application that any server may run."""

import logging
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Scope

from trimtab.app.web.gate import PageGate
from trimtab.app.web.pages.compare import ComparePage
from trimtab.app.web.pages.cost import QUESTIONS, CostPage
from trimtab.app.web.pages.ledger import LedgerPage
from trimtab.app.web.pages.plan import PlanPage
from trimtab.app.web.pages.runs import RunsPage
from trimtab.app.web.site import Site, is_fragment
from trimtab.errors import TrimtabError, UsageError

_FOREVER = "public, max-age=31536000, immutable"  # its address holds its hash
_NOWHERE = ("TT-W130", "TT-W135", "TT-W136")


def make_page(site: Site) -> FastAPI:
    """All sections."""
    gate = Middleware(PageGate, settings=site.settings, refusal=lambda *told: _refusal(site, *told))
    page = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False, middleware=[gate])
    for path, answer in _reads(site).items():
        page.add_api_route(path, answer, methods=["GET", "HEAD"], response_model=None)
    for path, answer in _writes(site).items():
        page.add_api_route(path, answer, methods=["POST"], response_model=None)
    page.add_exception_handler(TrimtabError, lambda request, error: _told(site, request, error))
    page.add_exception_handler(HTTPException, lambda request, error: _unrouted(site, request, error))
    page.add_exception_handler(Exception, lambda request, error: _failed(site, request, error))
    return page


def _reads(site: Site) -> dict[str, Any]:
    runs, compare, cost = RunsPage(site), ComparePage(site), CostPage(site)
    return {
        "/": _first,
        "/plan": PlanPage(site).show,
        "/runs": runs.show,
        "/runs/lists": runs.rows,
        "/runs/{id}": runs.run,
        "/runs/{id}/live": runs.live,
        "/runs/{id}/report": runs.report,
        "/compare": compare.show,
        "/compare/page": compare.page,
        "/compare/{id}": compare.one,
        "/compare/{id}/live": compare.live,
        "/ledger": LedgerPage(site).show,
        "/cost": _first_cost,
        **{f"/cost/{name}": _asking(cost, name) for name in QUESTIONS},
        "/static/{name}": _static(site),
    }


def _writes(site: Site) -> dict[str, Any]:
    runs, compare = RunsPage(site), ComparePage(site)
    return {
        "/runs": runs.start,
        "/runs/{id}/stop": runs.stop,
        "/runs/{id}/resume": runs.resume,
        "/compare": compare.start,
        "/compare/{id}/stop": compare.stop,
        "/compare/{id}/resume": compare.resume,
    }


def _first(request: Request) -> Response:
    return RedirectResponse("/plan", status_code=303)


def _first_cost(request: Request) -> Response:
    return RedirectResponse("/cost/train", status_code=303)


def _asking(cost: CostPage, name: str) -> Any:
    def answer(request: Request) -> Response:
        return cost.show(request, name)

    return answer


def _static(site: Site) -> Any:
    def answer(name: str) -> Response:
        found = site.files.get(name)
        if found is None:
            raise UsageError("TT-W136")
        return Response(found.body, media_type=found.type, headers={"cache-control": _FOREVER})

    return answer


def _told(site: Site, request: Request, error: Exception) -> Response:
    """What a room refuses, as a page."""
    assert isinstance(error, TrimtabError)
    status = 404 if error.code in _NOWHERE else 400
    return _page_of(site, request, error, 200 if is_fragment(request) else status)


def _unrouted(site: Site, request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _page_of(site, request, UsageError("TT-W136"), error.status_code)


def _failed(site: Site, request: Request, error: Exception) -> Response:
    """A fault of ours: the log has it, the page does not."""
    logging.getLogger("trimtab.page").error("failed", exc_info=error)
    return _page_of(site, request, TrimtabError("TT-W137", kind=type(error).__name__), 500)


def _refusal(site: Site, scope: Scope, error: TrimtabError, status: int) -> Response:
    return _page_of(site, Request(scope), error, status)


def _page_of(site: Site, request: Request, error: TrimtabError, status: int) -> Response:
    template = "refusal.html" if is_fragment(request) else "refused.html"
    return site.show(request, template, status=status, refusal=error, section="")
