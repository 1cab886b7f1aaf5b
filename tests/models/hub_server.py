"""A small Hugging Face hub on 127.0.0.1: the few endpoints that fetching a model uses, over a folder.

It answers as the real one does as far as huggingface_hub looks: repository info and tree, HEAD and GET of a
file with Range, and the error codes of missing things. `seen` lists every request.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer(ThreadingHTTPServer):
    def __init__(self, repositories: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories = repositories
        self.seen: list[str] = []
        self.bytes_sent: dict[str, int] = {}

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serving(repositories: Path) -> Iterator[HubServer]:
    server = HubServer(repositories)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *args: object) -> None:
        pass

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.seen.append(f"{self.command} {path}")
        if path.startswith("/api/models/"):
            self._answer_api(path.removeprefix("/api/models/").split("/"))
        elif path.count("/") >= 5:
            org, name, _, revision, file = path.lstrip("/").split("/", 4)
            self._answer_file(self.server.repositories / org / name, revision, file)
        else:
            self._refuse(404, "EntryNotFound")

    def _answer_api(self, parts: list[str]) -> None:
        folder = self.server.repositories / parts[0] / parts[1]
        if not folder.is_dir():
            return self._refuse(401, "RepoNotFound")
        if parts[2:3] in (["revision"], ["tree"]) and parts[3] not in ("main", COMMIT):
            return self._refuse(404, "RevisionNotFound")
        files = sorted(path.name for path in folder.iterdir())
        if parts[2:3] == ["tree"]:
            return self._send_json(
                [
                    {
                        "type": "file",
                        "path": file,
                        "size": (folder / file).stat().st_size,
                        "oid": _etag(folder / file),
                    }
                    for file in files
                ]
            )
        siblings = [{"rfilename": file} for file in files]
        return self._send_json({"id": "/".join(parts[:2]), "sha": COMMIT, "siblings": siblings})

    def _answer_file(self, folder: Path, revision: str, file: str) -> None:
        if revision not in ("main", COMMIT):
            return self._refuse(404, "RevisionNotFound")
        if not (folder / file).is_file():
            return self._refuse(404, "EntryNotFound")
        content = (folder / file).read_bytes()
        headers = {"ETag": f'"{_etag(folder / file)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        asked = self.headers.get("Range")
        if asked is None:
            return self._send(200, content, headers)
        first, last = asked.removeprefix("bytes=").split("-")
        part = content[int(first) : int(last) + 1 if last else None]
        headers["Content-Range"] = f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}"
        return self._send(206, part, headers)

    def _send_json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, b"", {"X-Error-Code": code, "X-Error-Message": code})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
            file = urlsplit(self.path).path.rsplit("/", 1)[-1]
            self.server.bytes_sent[file] = self.server.bytes_sent.get(file, 0) + len(body)


def _etag(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()
