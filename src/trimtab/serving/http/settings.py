"""HttpSettings: what an HTTP server is told. Frozen values, no web framework."""

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from trimtab.errors import UsageError, system_reason

_LEAST_KEY = 16  # characters


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpSettings:
    """`keys`: any of them opens everything; none = no key is asked for. `hosts`: names that requests may ask for,
    beside the server's own address. `adapters_folder`: from which adapters are loaded at run time. `most_bytes`:
    of an adapter's files. `body_seconds`: from the first byte of a body to the last; `head_seconds`: of what
    stands before it; `keep_alive_seconds`: that an idle connection stays open, longer than clients keep theirs, so
    that none is closed as it is used; `send_seconds`: that a client may leave a piece of an answer untaken;
    `drain_seconds`: for what is in flight when the server is stopped. `connections`: open at once."""

    host: str = "127.0.0.1"
    port: int = 8000
    keys: tuple[str, ...] = field(default=(), repr=False)
    hosts: tuple[str, ...] = ()
    adapters_folder: Path | None = None
    most_bytes: int = 1 << 30
    body_bytes: int = 1 << 20
    body_seconds: float = 10.0
    head_seconds: float = 10.0
    keep_alive_seconds: int = 75
    send_seconds: float = 30.0
    json_depth: int = 16
    deadline_seconds: float = 30.0
    drain_seconds: float = 30.0
    connections: int = 1024

    def require_safe(self) -> "HttpSettings":
        """These. Raises UsageError TT-N040, TT-N042, TT-N044, TT-N048 for what would let strangers in."""
        if not self.keys and not is_loopback(self.host):
            raise UsageError("TT-N040", host=self.host)
        for key in self.keys:
            if len(key) < _LEAST_KEY or not key.isascii() or not key.isprintable() or " " in key:
                raise UsageError("TT-N042", found=len(key), least=_LEAST_KEY)
        folder = self.adapters_folder
        if folder is not None and not self.keys:
            raise UsageError("TT-N044", folder=str(folder))
        if folder is not None and not folder.is_dir():
            raise UsageError("TT-N048", folder=str(folder))
        return self


def is_loopback(host: str) -> bool:
    """Whether no other machine reaches `host`. A name may come to mean anything, but for localhost."""
    found = address_of(host)
    return host == "localhost" if found is None else found.is_loopback


def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """`host` as an address, of IPv4 where it is one within IPv6; None = a name."""
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return None
    return (isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped) or found


def read_keys(path: Path) -> tuple[str, ...]:
    """A key a line; empty lines are none. Raises UsageError TT-N041, TT-N042 for a file without one."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("TT-N041", path=str(path), reason=system_reason(error)) from error
    keys = tuple(line.strip() for line in lines if line.strip())
    if not keys:
        raise UsageError("TT-N042", found=0, least=_LEAST_KEY)
    return keys
