"""Adapters come in and go out while a server runs: with a key, from one folder, and only what can be served."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from http_served import URL, Place, client_of, code_of, made_place, place, resealed
from safetensors.torch import load_file, save_file
from starlette.testclient import TestClient

from tiny_artifacts import moved_artifact, tiny_base
from tiny_models import tiny_model
from trimtab.errors import UsageError
from trimtab.serving.http.app import make_app
from trimtab.serving.http.settings import HttpSettings
from trimtab.serving.letting_in import require_served_name

ADMIN = "/admin/adapters"
BAD_NAMES = (
    "../../x", "/etc/passwd", "a/b", "..", ".hidden", "CON", "nul.txt", "a\0b", "x" * 300, "__base__", "default",
    "Base", "base-bert", "BASE-BERT", "", " ", "ａ", "a\nb",
)  # fmt: skip


@pytest.fixture
def mine(tmp_path: Path) -> Place:
    """A place that a test may spoil; `mood` is served from it."""
    return made_place(tmp_path, "mood", "topic")


@pytest.fixture
def client(mine: Place) -> TestClient:
    return client_of(mine.service("mood"), adapters_folder=mine.cards, most_bytes=1 << 20)


def names(client: TestClient) -> list[str]:
    return [one["name"] for one in client.get(ADMIN).json()["data"]]


def says(client: TestClient, name: str, text: str = "good film") -> tuple[int, str]:
    answer = client.post("/v1/classify", json={"model": name, "input": text})
    return answer.status_code, answer.json()["data"][0]["label"] if answer.status_code == 200 else ""


def test_an_adapter_comes_in_is_pinned_unloaded_and_goes(client: TestClient) -> None:
    assert client.get(ADMIN).json()["folder"] == ["mood", "topic"]
    made = client.post(ADMIN, json={"name": "law", "folder": "topic", "pinned": True})
    assert made.status_code == 201
    assert (made.json()["state"], made.json()["pinned"], made.json()["method"]) == ("loaded", True, "ia3")
    assert says(client, "law")[0] == 200 and names(client) == ["mood", "law"]
    assert client.post(f"{ADMIN}/law/pin", json={"pinned": False}).json()["pinned"] is False
    assert client.post(f"{ADMIN}/law/unload").json()["state"] == "registered"
    assert says(client, "law")[0] == 200  # loaded again when it is asked
    assert client.post(f"{ADMIN}/law/load").json()["state"] == "loaded"
    assert client.delete(f"{ADMIN}/law").status_code == 204
    assert says(client, "law")[0] == 404 and names(client) == ["mood"]
    assert 'model="law"' not in client.get("/metrics").text


def test_registered_alone_it_is_loaded_when_it_is_asked(client: TestClient) -> None:
    assert client.post(ADMIN, json={"name": "topic", "load": False}).json()["state"] == "registered"
    assert says(client, "topic")[0] == 200


def test_a_name_is_taken_once_and_one_that_is_not_there_is_not_found(client: TestClient) -> None:
    assert code_of(client.post(ADMIN, json={"name": "mood", "folder": "topic"})) == (409, "TT-U102")
    assert code_of(client.post(ADMIN, json={"name": "nothing"})) == (404, "TT-A023")
    for method, path in (("POST", "load"), ("POST", "unload"), ("POST", "pin"), ("DELETE", "")):
        refused = client.request(method, f"{ADMIN}/nobody/{path}".rstrip("/"), json={} if path == "pin" else None)
        assert code_of(refused) == (404, "TT-U103")


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_is_no_path_and_hides_nothing(client: TestClient, name: str) -> None:
    assert code_of(client.post(ADMIN, json={"name": name, "folder": "topic"}))[0] == 422
    assert names(client) == ["mood"]


@pytest.mark.parametrize("name", ["law", "法律", "law-2.1_b", "7"])
def test_other_names_are_taken(name: str) -> None:
    assert require_served_name(name, "base-bert") == name


@pytest.mark.parametrize("word", ["../base-bert", "..", ".", "/etc", "topic/../../base-bert", "topic/", "a\0"])
def test_a_folder_is_a_name_in_the_folder(client: TestClient, word: str) -> None:
    assert code_of(client.post(ADMIN, json={"name": "law", "folder": word}))[0] == 422


def _linked_folder(folder: Path) -> None:
    outside = folder.parents[1] / "outside"
    shutil.move(folder, outside)
    folder.symlink_to(outside)


def _linked_file(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    outside = folder.parents[1] / "outside.safetensors"
    shutil.move(file, outside)
    file.symlink_to(outside)


def _large(folder: Path) -> None:
    with (folder / "more.safetensors").open("wb") as file:
        file.truncate(1 << 40)  # takes no room, and would take an hour to hash


def _pickled(folder: Path) -> None:
    torch.save({}, folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()


def _rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


def _nan(folder: Path) -> None:
    _rewrite(folder, lambda tensors: next(iter(tensors.values())).fill_(float("nan")))


def _shape(folder: Path) -> None:
    _rewrite(folder, lambda tensors: tensors.update({next(iter(tensors)): torch.zeros(3, 3)}))


def _huge_header(folder: Path) -> None:
    (folder / "adapter_model.safetensors").write_bytes((1 << 62).to_bytes(8, "little") + b"{}")


def _cut(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-40])


def _overlapping(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    raw = file.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    plain = json.loads(raw[8 : 8 + size])
    first = next(name for name in plain if name != "__metadata__")
    for name in plain:
        if name != "__metadata__" and plain[name]["shape"] == plain[first]["shape"]:
            plain[name]["data_offsets"] = plain[first]["data_offsets"]
    text = json.dumps(plain).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + size :])


@pytest.mark.parametrize(
    ("spoil", "answer"),
    [
        (_linked_folder, (422, "TT-N031")),
        (_linked_file, (422, "TT-N031")),
        (lambda folder: os.mkfifo(folder / "pipe"), (422, "TT-N033")),
        (_large, (422, "TT-N032")),
        (_pickled, (422, "TT-A020")),
        (_nan, (422, "TT-A006")),
        (_shape, (409, "TT-A027")),
        (_huge_header, (422, "TT-M012")),
        (_cut, (422, "TT-M014")),
        (_overlapping, (422, "TT-M014")),
        (lambda folder: (folder / "artifact.json").write_text("[" * 100_000), (422, "TT-A002")),
        (lambda folder: (folder / "artifact.json").unlink(), (422, "TT-A021")),
    ],
)
def test_what_cannot_be_served_is_refused_and_the_others_go_on(
    mine: Place, client: TestClient, spoil: Callable[[Path], object], answer: tuple[int, str]
) -> None:
    before = says(client, "mood")
    spoil(mine.cards / "topic")
    if (mine.cards / "topic" / "artifact.json").is_file() and answer[1] not in ("TT-A002",):
        resealed((mine.cards / "topic").resolve())
    assert code_of(client.post(ADMIN, json={"name": "topic"})) == answer
    assert names(client) == ["mood"] and says(client, "topic")[0] == 404
    assert says(client, "mood") == before and before[0] == 200


def test_an_adapter_of_another_base_is_a_conflict_that_names_both(mine: Place, tmp_path: Path) -> None:
    other = tiny_model(tmp_path / "base-other", "bert", seed=1)
    moved_artifact(mine.cards / "foreign", other)
    client = client_of(mine.service("mood"), adapters_folder=mine.cards)
    refused = client.post(ADMIN, json={"name": "foreign"})
    assert code_of(refused) == (409, "TT-A041") and names(client) == ["mood"]
    assert "base-other" in refused.text and "base-bert" in refused.text


def test_what_is_registered_at_the_start_and_damaged_later_is_a_failure_of_the_server(mine: Place) -> None:
    """Nobody is told where files lie."""
    client = client_of(mine.service("mood", "topic"))
    _nan(mine.cards / "topic")
    answer = client.post("/v1/classify", json={"model": "topic", "input": "good"})
    assert code_of(answer) == (500, "TT-N004") and str(mine.cards) not in answer.text
    assert says(client, "mood")[0] == 200


def test_without_a_key_nothing_comes_in_and_without_a_folder_neither() -> None:
    app = make_app(place().service("mood"), HttpSettings())
    open_to_all = TestClient(app, base_url=URL, raise_server_exceptions=False)
    for route in app.routes:
        path = route.path.replace("{name}", "mood")  # type: ignore[attr-defined]
        if path.startswith(ADMIN):
            (method,) = route.methods  # type: ignore[attr-defined]
            body = {"name": "law", "pinned": True} if method == "POST" and path == ADMIN else {}
            answer = open_to_all.request(method, path, json=body)
            assert code_of(answer) == (403, "TT-N017"), path
    assert open_to_all.post("/v1/classify", json={"model": "mood", "input": "good"}).status_code == 200
    assert code_of(client_of(place().service("mood")).post(ADMIN, json={"name": "law"})) == (403, "TT-N018")


def test_a_server_that_would_let_strangers_in_does_not_start(tmp_path: Path) -> None:
    service = place().service("mood")
    for refused, code in (
        (HttpSettings(host="0.0.0.0"), "TT-N040"),
        (HttpSettings(host="::"), "TT-N040"),
        (HttpSettings(host="example.org"), "TT-N040"),
        (HttpSettings(keys=("short",)), "TT-N042"),
        (HttpSettings(keys=("with spaces in its middle",)), "TT-N042"),
        (HttpSettings(adapters_folder=tmp_path), "TT-N044"),
        (HttpSettings(adapters_folder=tmp_path / "none", keys=("k" * 16,)), "TT-N048"),
    ):
        with pytest.raises(UsageError, match=code):
            make_app(service, refused)
    for fine in (HttpSettings(host="::1"), HttpSettings(host="localhost"), HttpSettings(host="127.8.8.8")):
        fine.require_safe()
    assert "kkkk" not in repr(HttpSettings(keys=("k" * 16,)))


def test_a_base_folder_is_no_adapter(mine: Place, client: TestClient) -> None:
    tiny_base(mine.cards, "bert")
    assert code_of(client.post(ADMIN, json={"name": "whole", "folder": "base-bert"}))[0] == 422
    assert names(client) == ["mood"]
