"""Nothing passes the gate that should not: host, origin, key, size, time, depth; on every route there is."""

import asyncio
import json
import time
from collections.abc import Iterator

import pytest
from fastapi.routing import APIRoute
from http_served import BEARER, KEY, URL, client_of, code_of, place, settings
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as some
from starlette.testclient import TestClient
from starlette.types import Message

from trimtab.errors import UsageError
from trimtab.serving.http.app import make_app
from trimtab.serving.http.gate import Head, nesting, require_host, require_key, require_origin
from trimtab.serving.http.settings import HttpSettings
from trimtab.serving.service import Service

SMALL = {"body_bytes": 2048, "body_seconds": 0.2}


@pytest.fixture(scope="module")
def service() -> Service:
    return place().service("mood")


@pytest.fixture(scope="module")
def client(service: Service) -> TestClient:
    return client_of(service, adapters_folder=place().cards, **SMALL)


def routes(client: TestClient) -> Iterator[tuple[str, str]]:
    """Method and path of all there are, from the router's own table; {name} is an adapter."""
    for route in client.app.routes:  # type: ignore[attr-defined]
        for method in sorted(route.methods):
            yield method, route.path.replace("{name:path}", "mood").replace("{name}", "mood")


def test_the_table_of_routes_is_what_these_tests_see(client: TestClient) -> None:
    known = set(routes(client))
    assert {("POST", "/v1/classify"), ("DELETE", "/admin/adapters/mood"), ("GET", "/openapi.json")} <= known
    assert len(known) == len(client.app.routes) + 1  # HEAD of the one that is not ours
    ours = [route for route in client.app.routes if isinstance(route, APIRoute)]
    assert len(ours) == len(known) - 2


@pytest.mark.parametrize("sent", [None, "", "Bearer", "Bearer wrong", f"bearer  {KEY}x", f"Basic {KEY}", KEY])
def test_every_route_but_health_asks_for_the_key(service: Service, client: TestClient, sent: str | None) -> None:
    headers = {} if sent is None else {"authorization": sent}
    stranger = TestClient(client.app, base_url=URL, headers=headers, raise_server_exceptions=False)
    bodies = set()
    for method, path in (*routes(client), ("GET", "/nothing"), ("GET", "/health/"), ("GET", "//health")):
        answer = stranger.request(method, path)
        if path == "/health":
            assert answer.status_code == 200
        else:
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"] == "Bearer"
            bodies.add(answer.text)
    assert len(bodies - {""}) == 1  # nothing tells what there is
    assert [one.name for one in service.adapters] == ["mood"]


def test_any_of_several_keys_opens_and_a_key_given_twice_does_not() -> None:
    two = HttpSettings(keys=("first-key-of-the-two", "second-key-of-the-two"))
    for key in two.keys:
        require_key(_head(authorization=f"Bearer {key}"), two)
    twice = Head("/v1/models", "127.0.0.1", (("authorization", f"Bearer {two.keys[0]}"),) * 2)
    with pytest.raises(UsageError, match="TT-N012"):
        require_key(twice, two)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "127.0.0.1@evil", "",
     "10.0.0.7", "0.0.0.0", "127.0.0.1:80:80", "localhost:99999999", "[::1", "exa mple", "LOCALHOST.", "127.1\n"],
)  # fmt: skip
def test_another_host_name_is_refused_on_every_route(client: TestClient, host: str) -> None:
    """What a browser sends when a name of a stranger leads to this machine."""
    for method, path in (("GET", "/health"), ("POST", "/v1/classify"), ("POST", "/admin/adapters"), ("GET", "/x")):
        if host.isprintable():
            assert code_of(client.request(method, path, headers={"host": host})) == (403, "TT-N010"), host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "localhost:1", "LocalHost", "[::1]:8000"])
def test_this_machine_is_asked_by_its_own_names(client: TestClient, host: str) -> None:
    assert client.get("/health", headers={"host": host}).status_code == 200


def test_elsewhere_its_address_and_the_names_it_was_given_are_asked() -> None:
    given = HttpSettings(host="0.0.0.0", keys=(KEY,), hosts=("api.example",))
    for host, server in (
        ("192.0.2.7:8000", "192.0.2.7"), ("api.example", "192.0.2.7"), ("API.example:443", "192.0.2.7"),
        ("[2001:db8::7]", "2001:db8:0:0::7"), ("192.0.2.7", "::ffff:192.0.2.7"), ("localhost", "::ffff:127.0.0.1"),
    ):  # fmt: skip
        require_host(_head(server=server, host=host), given)
    for host in ("192.0.2.8", "localhost", "127.0.0.1", "www.api.example", "api.example.evil.example"):
        with pytest.raises(UsageError, match="TT-N010"):
            require_host(_head(server="192.0.2.7", host=host), given)


@pytest.mark.parametrize(
    "origin",
    ["null", "http://evil.example", "https://127.0.0.1:8001", "http://localhost:8000", "", "file://", "http://[",
     "http://127.0.0.1:8000.evil.example"],
)  # fmt: skip
def test_pages_of_others_are_refused(client: TestClient, origin: str) -> None:
    for path in ("/v1/classify", "/admin/adapters", "/health"):
        assert code_of(client.post(path, headers={"origin": origin}, json={})) == (403, "TT-N011")


def test_a_page_of_its_own_address_may_ask_and_no_other_is_told_that_it_may(client: TestClient) -> None:
    mine = client.get("/health", headers={"origin": URL, "sec-fetch-site": "same-origin"})
    assert mine.status_code == 200 and "access-control-allow-origin" not in mine.headers
    for site in ("cross-site", "same-site"):
        with pytest.raises(UsageError, match="TT-N011"):
            require_origin(Head("/", "127.0.0.1", (("sec-fetch-site", site),)), HttpSettings())
    assert client.options("/v1/classify", headers={"origin": URL}).status_code == 405


def test_a_form_is_no_request(client: TestClient) -> None:
    """What a page can send to another origin without asking first."""
    body = json.dumps({"model": "mood", "input": "good"})
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a", ""):
        refused = client.post("/v1/classify", content=body, headers={"content-type": kind})
        assert code_of(refused) == (415, "TT-N016")
    kind = {"content-type": "application/json; charset=utf-8"}
    assert client.post("/v1/classify", content=body, headers=kind).status_code == 200


def test_a_body_is_capped_before_it_is_parsed(client: TestClient) -> None:
    long = client.post("/v1/classify", json={"model": "mood", "input": "a" * 3000})
    assert code_of(long) == (413, "TT-N013") and long.headers["connection"] == "close"
    pieces = client.post(
        "/v1/classify", content=iter([b"[" * 500] * 50), headers={"content-type": "application/json"}
    )
    assert code_of(pieces) == (413, "TT-N013")


@pytest.mark.parametrize(
    "body", ["[" * 1000, '{"a":' * 17 + "1" + "}" * 17, '{"input":' + "[" * 16 + "]" * 16 + "}"]
)
def test_a_body_is_not_nested_deep(client: TestClient, body: str) -> None:
    refused = client.post("/v1/classify", content=body, headers={"content-type": "application/json"})
    assert code_of(refused) == (422, "TT-N015")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"nul", b"[]", b'"text"', b'{"model":"mood","input":NaN}', b"\xff\xfe{\x00}\x00", b"\xff{}",
     b"{}\x00", b'{"model":"mood","input":"\\ud800"}', b'{"model":' + b"9" * 1500 + b"}"],
)  # fmt: skip
def test_what_is_no_json_of_ours_is_refused(client: TestClient, body: bytes) -> None:
    refused = client.post("/v1/classify", content=body, headers={"content-type": "application/json"})
    assert code_of(refused)[0] == 422, refused.text


_json = some.recursive(
    some.none() | some.booleans() | some.text(alphabet='[]{}"\\\n\u0101a', max_size=8) | some.integers(),
    lambda inner: (
        some.lists(inner, max_size=3) | some.dictionaries(some.text('[]{}"\\a', max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)


@hypothesis_settings(max_examples=150, deadline=None)
@given(_json, some.booleans())
def test_nesting_is_that_of_the_parsed_value(value: object, ascii_only: bool) -> None:
    def depth(one: object) -> int:
        inner = one.values() if isinstance(one, dict) else one if isinstance(one, list) else None
        return 0 if inner is None else 1 + max(map(depth, inner), default=0)

    assert nesting(json.dumps(value, ensure_ascii=ascii_only).encode(), 1000) == depth(value)


@pytest.mark.parametrize("body", [b'"' + b'\\"' * 500_000, b'"' * 1_000_000, b"\\" * 1_000_000, b"[]" * 500_000])
def test_nesting_takes_time_in_proportion_to_the_body(body: bytes) -> None:
    began = time.process_time()
    nesting(body, 16)
    assert time.process_time() - began < 2  # quadratic would be hours


async def _call(app: object, messages: list[tuple[float, Message]], path: str = "/v1/classify") -> list[Message]:
    """What an application sends where it receives `messages`, each after so many seconds; then nothing more."""
    waiting, sent = iter(messages), []

    async def receive() -> Message:
        seconds, message = next(waiting, (60.0, {"type": "http.disconnect"}))
        await asyncio.sleep(seconds)
        return message

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    headers += [(name.encode(), value.encode()) for name, value in BEARER.items()]
    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": headers, "server": ("127.0.0.1", 8000), "client": ("127.0.0.1", 1), "scheme": "http",
        "http_version": "1.1", "asgi": {"version": "3.0", "spec_version": "2.3"}, "root_path": "",
    }  # fmt: skip
    await app(scope, receive, send)  # type: ignore[operator]
    return sent


def _part(body: bytes, more: bool = True) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


def test_a_body_that_drips_in_is_given_up(service: Service) -> None:
    app = make_app(service, settings(**SMALL))
    start, body = asyncio.run(_call(app, [(0.05, _part(b" "))] * 40))
    assert start["status"] == 408 and b"TT-N014" in body["body"]
    assert (b"connection", b"close") in start["headers"]


def test_a_client_that_goes_before_its_body_is_there_is_told_nothing(service: Service) -> None:
    app = make_app(service, settings())
    assert asyncio.run(_call(app, [(0, _part(b"{")), (0, {"type": "http.disconnect"})])) == []


def _head(server: str = "127.0.0.1", path: str = "/v1/models", **headers: str) -> Head:
    return Head(path, server, tuple(headers.items()))
