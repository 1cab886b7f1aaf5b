"""Who is let in: by host, origin, key and form token; and what answers say to a browser."""

import re

import pytest
from starlette.testclient import TestClient

from page_asked import ADDRESS, KEY
from trimtab.app.web.settings import HOST


def test_it_is_bound_to_this_machine_alone() -> None:
    assert HOST == "127.0.0.1"


def test_a_stranger_sees_nothing_but_the_refusal_and_the_style(stranger) -> None:
    for path in ("/plan", "/runs", "/ledger", "/cost/train", "/compare", "/nothing"):
        answer = stranger.get(path)
        assert answer.status_code == 401, path
        assert "TT-W111" in answer.text and str(stranger.folder) in answer.text
    assert stranger.get("/static/page.css").status_code == 200


def test_the_address_with_the_key_lets_in_once_and_leaves_no_key_behind(stranger) -> None:
    answer = stranger.client.get(f"/plan?goal=time&key={KEY}", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/plan?goal=time")
    cookie = answer.headers["set-cookie"].lower()
    assert "samesite=strict" in cookie and "httponly" in cookie and "trimtab-8123" in cookie
    assert stranger.get("/runs").status_code == 200


@pytest.mark.parametrize("key", ["", "wrong", KEY[:-1], KEY + "x", "钥匙"])
def test_another_key_does_not(stranger, key: str) -> None:
    assert stranger.get(f"/plan?key={key}").status_code == 401
    assert "set-cookie" not in stranger.get(f"/plan?key={key}").headers


def test_the_key_never_leads_to_another_host(stranger) -> None:
    answer = stranger.client.get(f"//evil.example/?key={KEY}", follow_redirects=False)
    assert re.match(r"/(?!/)", answer.headers["location"])


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8123", "127.0.0.1.evil.example", "", "0.0.0.0:8123"]
)
def test_another_host_is_refused(page, host: str) -> None:
    """DNS rebinding: a page of a stranger asks under a name of its own that leads here."""
    answer = page.get("/plan", host=host)
    assert answer.status_code == 421 and "TT-N010" in answer.text


def test_own_names_are_not(page) -> None:
    for host in ("127.0.0.1:8123", "localhost:8123"):
        assert page.get("/runs", host=host).status_code == 200, host


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_what_a_page_of_another_origin_sends_is_refused(page, headers: dict[str, str]) -> None:
    data = {"token": page.site.settings.form_token, "pick": "head:"}
    assert page.client.post("/runs", data=data, headers=headers).status_code == 403
    assert page.client.get("/runs", headers=headers).status_code == 403
    assert not page.site.children.all("train")


def test_a_form_without_its_token_writes_nothing(page) -> None:
    for data in ({}, {"token": "x"}, {"token": KEY}, {"token": page.site.settings.form_token[:-1]}):
        answer = page.client.post("/runs", data=data | {"pick": "head:"}, headers={"origin": ADDRESS})
        assert answer.status_code == 403 and "TT-W112" in answer.text
    as_json = page.client.post("/runs", json={"token": page.site.settings.form_token})
    assert as_json.status_code == 403
    assert not page.site.children.all("train")


def test_the_token_alone_is_no_key(stranger) -> None:
    data = {"token": stranger.site.settings.form_token, "pick": "head:"}
    assert stranger.client.post("/runs", data=data).status_code == 401


def test_a_form_that_is_too_long_is_refused_before_it_is_read(page) -> None:
    fields = {"token": page.site.settings.form_token, "out": "x" * (1 << 17)}
    answer = page.client.post("/runs", data=fields)
    assert answer.status_code == 413 and "TT-W113" in answer.text
    many = "&".join(f"f{n}=1" for n in range(500))
    kind = {"content-type": "application/x-www-form-urlencoded"}
    assert page.client.post("/runs", content=many, headers=kind).status_code == 403


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE"])
def test_other_methods_are_not_spoken(page, method: str) -> None:
    assert page.client.request(method, "/plan").status_code == 405


def test_nothing_is_written_by_being_looked_at(page) -> None:
    for path in ("/runs/x/stop", "/runs/x/resume", "/compare/x/stop"):
        assert page.get(path).status_code in (404, 405), path


@pytest.mark.parametrize("path", ["/plan", "/runs", "/nothing", "/static/page.css"])
def test_every_answer_forbids_other_scripts_styles_and_frames(page, path: str) -> None:
    headers = page.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http:" not in policy
    assert "script-src 'self'" in policy and "frame-ancestors 'none'" in policy and "form-action 'self'" in policy
    assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert ("immutable" in headers["cache-control"]) == path.startswith("/static")


def test_pages_hold_no_script_style_or_address_of_others(page) -> None:
    for path in ("/plan", "/runs", "/compare", "/ledger", "/cost/train"):
        text = page.get(path).text
        assert not re.search(r"<script(?![^>]* src=\"/static/)", text)
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", text)
        assert not re.search(r"(src|href|action)=\"(https?:)?//", text)


def test_there_is_no_list_of_a_folder_and_no_file_but_ours(page) -> None:
    for path in (
        "/static/",
        "/static",
        "/static/..%2fapp.py",
        "/static/../gate.py",
        "/static/%2e%2e/words.toml",
        "/static/x",
    ):
        assert page.get(path).status_code == 404, path


def test_a_fault_of_ours_says_nothing_of_the_inside(page, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("/secret/place")

    monkeypatch.setattr("trimtab.app.web.pages.ledger.ledger", broken)
    client = TestClient(
        page.client.app, base_url=ADDRESS, raise_server_exceptions=False, cookies=page.client.cookies
    )
    answer = client.get("/ledger")
    assert answer.status_code == 500 and "TT-W137" in answer.text and "secret" not in answer.text
