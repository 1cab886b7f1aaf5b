"""A base with an adapter for every task that gives labels, values, entities or vectors; a client of it without a
network; and a service that writes, whose contract is the real one and whose way is the slow one."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import httpx
from starlette.testclient import TestClient

from tiny_artifacts import moved_artifact, tiny_base
from tiny_chat import chat_model
from trimtab.artifacts import sha256_of
from trimtab.evaluation import open_artifact
from trimtab.evaluation.chat import prompt_ids
from trimtab.evaluation.generate import stop_tokens, written_ids
from trimtab.models import ModelSource
from trimtab.serving.facts import Piece, WriteRequest
from trimtab.serving.http.app import make_app
from trimtab.serving.http.run import HttpServer
from trimtab.serving.http.settings import HttpSettings
from trimtab.serving.http.sockets import bound, url_of
from trimtab.serving.service import Service

KEY = "a-key-that-is-long-enough"
BEARER = {"authorization": f"Bearer {KEY}"}
URL = "http://127.0.0.1:8000"
TOPICS = ("law", "medicine", "sports")
CARDS = {
    "mood": {"method": "lora"},
    "topic": {"method": "ia3", "labels": TOPICS},
    "same": {"task": "pair", "labels": ("no", "yes")},
    "many": {"task": "multilabel", "labels": TOPICS},
    "stars": {"task": "regress", "labels": ()},
    "names": {"task": "tag", "labels": ("O", "B-PER", "I-PER")},
    "vector": {"task": "embed"},
}


@dataclass(frozen=True)
class Place:
    """A folder with a base and a folder of adapters."""

    base: ModelSource
    cards: Path

    def service(self, *names: str) -> Service:
        """With the adapters `names`, else all."""
        service = Service(str(self.base.folder))
        for name in names or CARDS:
            service.register(name, self.cards / name)
        return service


@cache
def place() -> Place:
    """Made once a process; nothing may be changed in it."""
    folder = Path(mkdtemp(prefix="trimtab-http-"))
    return made_place(folder, *CARDS)


def made_place(folder: Path, *names: str) -> Place:
    """One of its own, with the adapters `names`."""
    base = tiny_base(folder)
    for seed, name in enumerate(names):
        moved_artifact(folder / "cards" / name, base, seed=seed, **CARDS[name])  # type: ignore[arg-type]
    return Place(base, folder / "cards")


def settings(**changed: object) -> HttpSettings:
    return HttpSettings(**{"keys": (KEY,), **changed})  # type: ignore[arg-type]


def client_of(service: Service, **changed: object) -> TestClient:
    """A client with the key; what the server raises is an answer, as over a network. `changed`: settings."""
    app = make_app(service, settings(**changed))
    return TestClient(app, base_url=URL, headers=BEARER, raise_server_exceptions=False)


def code_of(response: httpx.Response) -> tuple[int, str]:
    """Status and code of an error, whose form is held to on the way."""
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"]
    return response.status_code, error["code"]


def events_of(text: str) -> list[dict[str, Any] | str]:
    """What the events of a stream hold; "[DONE]" as it is."""
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def resealed(folder: Path, **changed: object) -> None:
    """artifact.json says of every file what it is now, and what is `changed`."""
    path = folder / "artifact.json"
    plain = json.loads(path.read_text()) | changed
    names = [name for name, _, _ in plain["files"] if (folder / name).is_file()]
    plain["files"] = [(name, (folder / name).stat().st_size, sha256_of(folder / name)) for name in names]
    path.write_text(json.dumps(plain))


@contextmanager
def running(service: Service, **changed: object) -> Iterator[tuple[HttpServer, httpx.Client, threading.Thread]]:
    """A server in a thread of this process, where no signal reaches it."""
    told = settings(port=0, **changed)
    taken = bound(told)
    server = HttpServer(service, told, taken)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    with httpx.Client(base_url=url_of(taken), headers=BEARER, timeout=20) as client:
        while not _answers(client):
            time.sleep(0.01)
        yield server, client, thread
    server.drain()
    thread.join(10)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/ready").status_code == 200
    except httpx.ConnectError:
        return False


class WritingService(Service):
    """Writes a whole answer and gives it token by token, `pause_seconds` apart. Counts answers that were `begun`
    and `ended`, and of those `given_up` before they were whole."""

    def __init__(self, folder: Path, *, pause_seconds: float = 0.0, fails_after: int | None = None) -> None:
        self.source = chat_model(folder / "chat", positions=256)
        super().__init__(str(self.source.folder))
        self.register("talk", moved_artifact(folder / "talk", self.source, task="instruct"))
        self._artifact = open_artifact(folder / "talk")
        self._pause_seconds, self._fails_after = pause_seconds, fails_after
        self.begun = self.ended = self.given_up = 0

    def write(self, name: str, request: WriteRequest, *, deadline_seconds: float | None = None) -> Iterator[Piece]:
        self.begun += 1
        tokenizer = self._artifact.tokenizer
        prompt = prompt_ids(tokenizer, request.turns) if request.turns else tokenizer(request.text)["input_ids"]
        ends, pad = stop_tokens(tokenizer), int(tokenizer.pad_token_id)
        (ids,) = written_ids(self._artifact.model, [prompt], ends, pad, request.most_tokens)
        said, finished = 0, False
        try:
            for token in ids:
                said += 1
                if self._fails_after is not None and said > self._fails_after:
                    raise RuntimeError("secret words of a prompt")
                time.sleep(self._pause_seconds)
                finish = None if said < len(ids) else "stop" if token in ends else "length"
                finished = finish is not None
                yield Piece(
                    text=tokenizer.decode([token], skip_special_tokens=True) + " ",
                    finish=finish, prompt_tokens=len(prompt), tokens=said,
                )  # fmt: skip
        finally:
            self.ended += 1
            self.given_up += not finished
