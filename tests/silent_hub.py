"""A hub on 127.0.0.1 that takes connections and never answers: what a network looks like that drops packets."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread


@dataclass(frozen=True)
class SilentHub:
    """`asked` holds every connection that was made."""

    endpoint: str
    asked: list[socket.socket]


@contextmanager
def silent_hub() -> Iterator[SilentHub]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        hub = SilentHub(f"http://127.0.0.1:{server.getsockname()[1]}", [])
        listener = Thread(target=_take, args=(server, hub.asked), daemon=True)
        listener.start()
        try:
            yield hub
        finally:
            server.shutdown(socket.SHUT_RDWR)
            listener.join()
            for connection in hub.asked:
                connection.close()


def _take(server: socket.socket, asked: list[socket.socket]) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:  # closed
            return
        asked.append(connection)
