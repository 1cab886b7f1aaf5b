"""PageSettings: what the page is told once: which folders it may read, and its secrets."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from trimtab.errors import UsageError
from trimtab.serving.http.settings import HttpSettings

HOST = "127.0.0.1"


@dataclass(frozen=True, kw_only=True, slots=True)
class PageSettings:
    """`folders`: resolved; all that is read for a request lies in them. `key`: what a browser shows, first in the
    address and from then on in a cookie. `body_bytes`: of a form. `language`: where a browser says nothing."""

    folders: tuple[Path, ...]
    port: int = 0
    language: str = "en"
    body_bytes: int = 1 << 16
    key: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    @property
    def form_token(self) -> str:
        """What stands in every form that writes: known to a page of ours alone, and no key itself."""
        return hmac.new(self.key.encode(), b"form", hashlib.sha256).hexdigest()

    @property
    def cookie(self) -> str:
        """Cookies are kept by host and not by port: two pages at once have two names."""
        return f"trimtab-{self.port}"

    @property
    def http(self) -> HttpSettings:
        return HttpSettings(host=HOST, port=self.port, body_bytes=self.body_bytes)


def chosen_folders(named: tuple[str, ...]) -> tuple[Path, ...]:
    """Each resolved. Raises UsageError TT-W110 for one that is no folder."""
    found = tuple(Path(name).expanduser().resolve() for name in named)
    for name, folder in zip(named, found, strict=True):
        if not folder.is_dir():
            raise UsageError("TT-W110", folder=name)
    return found
