"""Site: what all pages share: the settings, what is kept in memory, and how a page is shown in a language and a
theme.

Templates escape whatever they print; what is SVG or HTML of ours already says so by its type (`Html`).
"""

import hashlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from trimtab import __version__
from trimtab.app.web.children import Children
from trimtab.app.web.facts import Facts
from trimtab.app.web.folders import Folders
from trimtab.app.web.following import Followers
from trimtab.app.web.settings import PageSettings
from trimtab.app.web.words import TAGS, Voice
from trimtab.errors import LANGUAGES
from trimtab.errors.quantities import format_bytes, format_count, format_seconds, format_share
from trimtab.study.html import Html, visible

THEMES = ("auto", "light", "dark")
SECTIONS = ("plan", "runs", "compare", "ledger", "cost")
_LANGUAGE, _THEME = "trimtab-lang", "trimtab-theme"
_YEAR_SECONDS = 365 * 86_400
_TYPES = {"css": "text/css", "js": "text/javascript", "txt": "text/plain", "svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Look:
    """How one browser wants to see it."""

    language: str
    theme: str
    asked: Mapping[str, str]

    @classmethod
    def of(cls, request: Request, usual: str) -> "Look":
        """Of the address, else of a cookie, else of what the browser prefers, else as the page was started."""
        query, cookies = request.query_params, request.cookies
        preferred = request.headers.get("accept-language", "")[:2].lower()
        language = _first(LANGUAGES, query.get("lang"), cookies.get(_LANGUAGE), preferred, usual)
        theme = _first(THEMES, query.get("theme"), cookies.get(_THEME), "auto")
        asked = {
            cookie: value
            for cookie, name, value in ((_LANGUAGE, "lang", language), (_THEME, "theme", theme))
            if query.get(name) == value
        }
        return cls(language, theme, asked)

    def keep(self, answer: HTMLResponse) -> HTMLResponse:
        for name, value in self.asked.items():
            answer.set_cookie(name, value, max_age=_YEAR_SECONDS, samesite="strict", httponly=True)
        return answer


@dataclass(frozen=True)
class Site:
    """One page server. `closing` is set when it ends: streams end with it."""

    settings: PageSettings
    facts: Facts = field(default_factory=Facts)
    children: Children = field(default_factory=Children)
    followers: Followers = field(default_factory=Followers)
    closing: threading.Event = field(default_factory=threading.Event)

    @cached_property
    def folders(self) -> Folders:
        return Folders(self.settings.folders)

    @cached_property
    def files(self) -> "Mapping[str, Static]":
        """The static files by name: there are no others."""
        folder = resources.files("trimtab.app.web") / "static"
        return {file.name: Static.of(file.name, file.read_bytes()) for file in folder.iterdir() if file.is_file()}

    @cached_property
    def _templates(self) -> Environment:
        made = Environment(
            loader=PackageLoader("trimtab.app.web", "templates"),
            autoescape=select_autoescape(default=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=lambda value: value if isinstance(value, Markup) else visible(value),
        )
        made.filters.update(_FILTERS)
        made.globals.update(sections=SECTIONS, themes=THEMES, languages=LANGUAGES, static=self._address)
        return made

    def voice(self, request: Request) -> Voice:
        return Voice(self.look(request).language)

    def look(self, request: Request) -> Look:
        return Look.of(request, self.settings.language)

    def text(self, request: Request, template: str, **facts: object) -> str:
        """A template in the language of whoever asks."""
        look = self.look(request)
        return self._templates.get_template(template).render(
            t=Voice(look.language),
            tag=TAGS[look.language],
            language=look.language,
            theme=look.theme,
            token=self.settings.form_token,
            version=__version__,
            folder_words=self.folders.words,
            switch=_switches(request),
            **facts,
        )

    def show(self, request: Request, template: str, *, status: int = 200, **facts: object) -> HTMLResponse:
        return self.look(request).keep(HTMLResponse(self.text(request, template, **facts), status_code=status))

    def _address(self, name: str) -> str:
        return f"/static/{name}?{self.files[name].hash}"


@dataclass(frozen=True, slots=True)
class Static:
    """A file of ours. `hash`: of its bytes, in its address, so that a browser may keep it."""

    body: bytes
    type: str
    hash: str

    @classmethod
    def of(cls, name: str, body: bytes) -> "Static":
        kind = _TYPES.get(name.rpartition(".")[2], "application/octet-stream")
        return cls(body, kind, hashlib.sha256(body).hexdigest()[:12])


def is_fragment(request: Request) -> bool:
    """Whether a part of the page is asked for, by htmx, and not the page."""
    headers = request.headers
    return "hx-request" in headers and "hx-history-restore-request" not in headers


def _first(known: tuple[str, ...], *wished: str | None) -> str:
    return next((word for word in wished if word in known), known[0])


def _switches(request: Request) -> Callable[[str, str], str]:
    """The address of the same page with another language or theme."""

    def switch(name: str, value: str) -> str:
        return f"{request.url.path}?{urlencode(dict(request.query_params) | {name: value})}"

    return switch


def _drawn(value: Html) -> Markup:
    assert isinstance(value, Html), "what is not made by `element` is escaped"
    return Markup(value)


_FILTERS: Mapping[str, Callable[..., object]] = {
    "drawn": _drawn,
    "bytes": format_bytes,
    "seconds": format_seconds,
    "count": format_count,
    "share": format_share,
}
