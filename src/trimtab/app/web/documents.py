"""Documents that a training or a comparison has written: shown as they are, but able to do nothing."""

from pathlib import Path

from starlette.responses import HTMLResponse, Response

from trimtab.app.web.folders import Folders
from trimtab.errors import UsageError

# They hold their own style; no script of theirs runs, and nothing of theirs reaches anywhere. Ours may frame them.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; frame-ancestors 'self'"
_MOST_BYTES = 64 << 20


def document(folders: Folders, place: str) -> Response:
    """An HTML file in the chosen folders. Raises UsageError TT-W120, TT-W135."""
    found = folders.inside(place)
    try:
        if not found.is_file() or found.stat().st_size > _MOST_BYTES:
            raise UsageError("TT-W135", path=folders.spoken(found))
        text = Path(found).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError("TT-W135", path=folders.spoken(found)) from error
    headers = {"content-security-policy": _POLICY, "x-frame-options": "SAMEORIGIN"}
    return HTMLResponse(text, headers=headers)
