"""Who asks: a request without its body, and whether it comes from a page of a stranger in a browser on the same
machine, which may ask under a name of its own that leads here (DNS rebinding)."""

import re
from dataclasses import dataclass

from starlette.types import Scope

from trimtab.errors import UsageError
from trimtab.serving.http.settings import HttpSettings, address_of, is_loopback

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(?::\d{1,5})?")
_OWN_SITES = frozenset({"none", "same-origin"})


@dataclass(frozen=True, slots=True)
class Head:
    """A request without its body. `server`: the address on this machine that it came to."""

    path: str
    server: str
    headers: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, scope: Scope) -> "Head":
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
        return cls(scope["path"], str((scope.get("server") or ("",))[0]), headers)

    def all(self, name: str) -> tuple[str, ...]:
        return tuple(value for header, value in self.headers if header == name)

    def one(self, name: str) -> str:
        """The value of a header that stands there once; "" where it does not, or more than once."""
        found = self.all(name)
        return found[0] if len(found) == 1 else ""


def require_host(head: Head, settings: HttpSettings) -> None:
    """Raises UsageError TT-N010 for a name that is not this server's. Its own address is no name that somebody
    could lead here."""
    asked = head.one("host")
    match = _HOST.fullmatch(asked)
    host = match[1].strip("[]").lower() if match else ""
    if not (host in settings.hosts or _is_own(host, head.server)):
        raise UsageError("TT-N010", host=asked[:80])


def require_origin(head: Head, settings: HttpSettings) -> None:
    """Raises UsageError TT-N011 for what a page of another origin sends; programs send no origin."""
    host = head.one("host").lower()
    for origin in head.all("origin"):
        if origin.lower() not in (f"http://{host}", f"https://{host}"):
            raise UsageError("TT-N011", origin=origin[:80])
    if any(site.lower() not in _OWN_SITES for site in head.all("sec-fetch-site")):
        raise UsageError("TT-N011", origin="-")


def _is_own(host: str, server: str) -> bool:
    """The address that was asked, in numbers; or localhost, where that is this machine to itself."""
    if is_loopback(server):
        return is_loopback(host)
    return address_of(host) is not None and address_of(host) == address_of(server)
