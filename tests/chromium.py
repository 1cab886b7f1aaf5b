"""A headless Chromium that reaches this machine alone, driven through chromedriver, and a folder served to it."""

import base64
import contextlib
import json
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

BINARIES = ("chromium", "chromedriver")
missing = [name for name in BINARIES if shutil.which(name) is None]
_SCRIPT_MS = 300_000


class Page:
    """A window, asked over WebDriver."""

    def __init__(self, session: str) -> None:
        self._session = session

    def ask(self, path: str, said: dict[str, Any] | None = None) -> Any:
        """What chromedriver answers to `said`; None = it is asked, not told."""
        body = None if said is None else json.dumps(said).encode()
        headers = {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(self._session + path, body, headers)) as answer:
            return json.load(answer)["value"]

    def open(self, address: str) -> None:
        self.ask("/url", {"url": address})

    def run(self, script: str, *values: object) -> Any:
        """What an async function body returns or resolves to."""
        wrapped = (
            "const done = arguments[arguments.length - 1], given = Array.from(arguments).slice(0, -1);"
            f"(async (...values) => {{ {script} }})(...given)"
            ".then((value) => done({value}), (error) => done({error: String(error)}));"
        )
        found = self.ask("/execute/async", {"script": wrapped, "args": list(values)})
        assert "error" not in found, found["error"]
        return found.get("value")

    def click(self, selector: str) -> None:
        """As a mouse does: what is covered or not there is an error."""
        self.ask(f"{self._element(selector)}/click", {})

    def type(self, selector: str, text: str) -> None:
        """Key by key, into what is there already."""
        self.ask(f"{self._element(selector)}/value", {"text": text})

    def press(self, *keys: str) -> None:
        """Keys one after the other, wherever the focus is. WebDriver's own codes: "\ue004" is Tab."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self.ask("/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def picture(self, file: Path) -> None:
        """What the window shows, as a PNG, with all that is below it."""
        told = {"cmd": "Page.captureScreenshot", "params": {"captureBeyondViewport": True, "format": "png"}}
        file.write_bytes(base64.b64decode(self.ask("/goog/cdp/execute", told)["data"]))

    def complaints(self) -> list[str]:
        """What the console says in warning since this was last called: a script or style that was refused, say."""
        return [one["message"] for one in self.ask("/se/log", {"type": "browser"})]

    def _element(self, selector: str) -> str:
        found = self.ask("/element", {"using": "css selector", "value": selector})
        return "/element/" + next(iter(found.values()))

    def requests(self) -> list[str]:
        """Every address the window asked for since this was last called; its workers' are not seen."""
        events = (json.loads(one["message"])["message"] for one in self.ask("/se/log", {"type": "performance"}))
        return [one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"]


@contextlib.contextmanager
def window(
    *, width: int = 1000, height: int = 800, language: str = "en-US", phone: bool = False
) -> Iterator[Page]:
    """A window of its own, and of nobody else's data."""
    with _driver() as address:
        options: dict[str, Any] = {
            "args": [
                "--headless=new",
                "--no-sandbox",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                f"--window-size={width},{height}",
                f"--lang={language}",
                f"--accept-lang={language}",
            ]
        }
        if phone:
            options["mobileEmulation"] = {"deviceMetrics": {"width": width, "height": height, "pixelRatio": 2}}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"performance": "ALL"}}
        started = Page(address).ask("/session", {"capabilities": {"alwaysMatch": wanted}})
        page = Page(f"{address}/session/{started['sessionId']}")
        page.ask("/timeouts", {"script": _SCRIPT_MS})
        try:
            yield page
        finally:
            urllib.request.urlopen(urllib.request.Request(page._session, method="DELETE")).close()


@contextlib.contextmanager
def served(folder: Path, asked: list[str] | None = None) -> Iterator[str]:
    """The address of `folder`, on a server that knows no more of it than any; `asked`: gets every path."""

    class Quiet(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if asked is not None:
                asked.append(self.path)
            super().do_GET()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def _driver() -> Iterator[str]:
    started = subprocess.Popen(
        ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert started.stdout is not None
        port = next(
            line.rsplit(" ", 1)[1].rstrip(".\n") for line in started.stdout if "successfully on port" in line
        )
        yield f"http://127.0.0.1:{port}"
    finally:
        started.terminate()
        started.wait(timeout=20)


def wait_until(page: Page, script: str, seconds: float = 60.0) -> None:
    """Until `script` returns something true."""
    end = time.monotonic() + seconds
    while not page.run(script):
        assert time.monotonic() < end, f"not within {seconds} s: {script}"
        time.sleep(0.05)
