"""The page in this process, in a folder of its own."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from page_asked import ADDRESS, KEY, Asked
from trimtab.app.web.app import make_page
from trimtab.app.web.children import Children
from trimtab.app.web.settings import PageSettings
from trimtab.app.web.site import Site


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """A client without the key."""
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path / "home"))
    folder = tmp_path / "work"
    folder.mkdir()
    settings = PageSettings(folders=(folder.resolve(),), port=8123, key=KEY)
    site = Site(settings, children=Children(tmp_path / "page"))
    client = TestClient(make_page(site), base_url=ADDRESS, raise_server_exceptions=False)
    return Asked(site, client, folder)


@pytest.fixture
def page(stranger: Asked) -> Asked:
    """One that was let in."""
    stranger.client.cookies.set(stranger.site.settings.cookie, KEY)
    return stranger


@pytest.fixture
def reviews(page: Asked) -> str:
    """A small data set in the folder: 60 rows, two labels."""
    rows = [f"{'a fine' if n % 2 else 'a poor'} film number {n},{'good' if n % 2 else 'bad'}" for n in range(60)]
    (page.folder / "reviews.csv").write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return "./reviews.csv"
