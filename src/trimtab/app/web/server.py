"""PageServer: uvicorn that tells open streams when it ends, so that it need not wait for them."""

import threading
from types import FrameType

from uvicorn import Config, Server


class PageServer(Server):
    """`closing` is set on the first signal."""

    def __init__(self, config: Config, closing: threading.Event) -> None:
        super().__init__(config)
        self._closing = closing

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._closing.set()
        super().handle_exit(sig, frame)
