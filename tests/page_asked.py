"""The page in this process, asked as a browser would ask, and children that have said this or that."""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from httpx import Response
from starlette.testclient import TestClient

from trimtab.app.web.children import EVENTS, Child
from trimtab.app.web.site import Site

KEY = "the-key-of-the-page-in-tests"
ADDRESS = "http://127.0.0.1:8123"
HTMX = {"hx-request": "true"}


@dataclass(frozen=True)
class Asked:
    """A client, what it asks, and the folder that may be read."""

    site: Site
    client: TestClient
    folder: Path

    def get(self, path: str, **headers: str) -> Response:
        return self.client.get(path, headers=headers)

    def part(self, path: str) -> str:
        """What htmx gets."""
        answer = self.client.get(path, headers=HTMX)
        assert answer.status_code == 200, answer.text
        return answer.text

    def post(self, path: str, **fields: str) -> Response:
        """A form of a page of ours."""
        data = {"token": self.site.settings.form_token} | fields
        return self.client.post(path, data=data, headers={"origin": ADDRESS}, follow_redirects=False)

    def child(
        self, *events: dict[str, object], words: tuple[str, ...] = ("train",), kind: str = "train", pid: int = 0
    ) -> Child:
        """A child that is over (or is process `pid`) and has said these events."""
        place = self.site.children._folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{len(events):06x}"
        place.mkdir(parents=True)
        write_events(place, events)
        facts = {
            "id": place.name, "kind": kind, "title": "m × d", "words": words, "out": "runs/one", "folder": "",
            "started_at": time.time(), "pid": pid or 2**22 - 1, "pid_started": time.time(),
        }  # fmt: skip
        (place / "child.json").write_text(json.dumps(facts))
        return self.site.children.named(place.name)


def write_events(place: Path, events: Iterable[dict[str, object]]) -> None:
    lines = (json.dumps({"at": 1000.0 + number} | event) + "\n" for number, event in enumerate(events))
    with (place / EVENTS).open("a", encoding="utf-8") as file:
        file.writelines(lines)
