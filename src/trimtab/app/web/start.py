"""Start the page: a socket on this machine alone, a key, a browser; then answer until Ctrl-C.

Trainings that it started go on when it ends.
"""

import contextlib
import socket
import subprocess
import threading
import webbrowser
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from trimtab.app.web.settings import PageSettings, chosen_folders
from trimtab.errors import TrimtabError, UsageError

if TYPE_CHECKING:
    from trimtab.app.web.site import Site

_PACKAGES = ("fastapi", "uvicorn")
_MOST_PORT = 65535
_LAST_SECONDS = 2
_CONNECTIONS = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadyPage:
    """A page at its address, which answers once it is `run`. `address` lets whoever has it in."""

    settings: PageSettings
    taken: socket.socket

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.port}"

    @property
    def address(self) -> str:
        return f"{self.url}/?key={self.settings.key}"

    def run(self) -> None:
        """Answer until SIGTERM or Ctrl-C, in the main thread."""
        from uvicorn import Config

        from trimtab.app.web.app import make_page
        from trimtab.app.web.server import PageServer
        from trimtab.app.web.site import Site

        site = Site(self.settings)
        config = Config(
            make_page(site),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=_LAST_SECONDS,
        )
        _warm(site)
        server = PageServer(config, site.closing)
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again once it has closed
            server.run(sockets=[self.taken])


def ready_page(*, port: int, folders: tuple[str, ...], language: str) -> ReadyPage:
    """Raises UsageError TT-W109 without the packages, TT-W110 for a folder that there is not, TT-W124 for a port
    that there cannot be, TT-N045 for one that cannot be had."""
    if any(find_spec(package) is None for package in _PACKAGES):
        raise UsageError("TT-W109")
    if not 0 <= port <= _MOST_PORT:
        raise UsageError("TT-W124", port=port, most=_MOST_PORT)
    settings = PageSettings(folders=chosen_folders(folders), port=port, language=language)
    from trimtab.serving.http.sockets import bound

    taken = bound(settings.http)
    taken.listen()  # a browser that is quicker than the page waits
    return ReadyPage(settings=replace(settings, port=taken.getsockname()[1]), taken=taken)


def open_page(address: str) -> None:
    """In the browser of whoever sits here, where there is one; what it prints is not ours."""
    with contextlib.suppress(webbrowser.Error, OSError, subprocess.SubprocessError):
        webbrowser.open(address)


def _warm(site: "Site") -> None:
    """Have the facts of the first plan at hand before it is asked for."""
    from trimtab.app.web.forms import PlanForm

    def first() -> None:
        with contextlib.suppress(TrimtabError):
            site.facts.plan(PlanForm.of({}).request(site.folders))

    threading.Thread(target=first, daemon=True).start()
