"""A socket at an address, and where it is reached."""

import socket

from trimtab.errors import UsageError, system_reason
from trimtab.serving.http.settings import HttpSettings


def bound(settings: HttpSettings) -> socket.socket:
    """A socket at the address; nothing is taken yet. Raises UsageError TT-N045."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    taken = socket.socket(family, socket.SOCK_STREAM)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((settings.host, settings.port))
    except OSError as error:
        taken.close()
        reason = system_reason(error)
        raise UsageError("TT-N045", host=settings.host, port=settings.port, reason=reason) from error
    return taken


def url_of(taken: socket.socket) -> str:
    """Where a socket is reached."""
    host, port, *_ = taken.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
