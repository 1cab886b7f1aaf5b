"""compose.yaml: one service, written out by hand. Every string is quoted as JSON, which YAML reads alike."""

import json
from collections.abc import Iterator

from trimtab.serving.handover.facts import Container, Mount


def compose_file(name: str, container: Container, port: int) -> str:
    """The file for `docker compose up`; it listens on this machine alone. `port`: outside."""
    volumes = [mount.source for mount in container.mounts if mount.kind == "volume"]
    lines = ["services:", f"  {name}:", *(f"    {line}" for line in _service(container, port))]
    if volumes:
        lines += ["volumes:", *(f"  {volume}: {{}}" for volume in volumes)]
    return "\n".join(lines) + "\n"


def _service(container: Container, port: int) -> Iterator[str]:
    yield f"image: {_text(container.image)}"
    yield "command:"
    yield from (f"  - {_text(word)}" for word in container.command)
    yield "ports:"
    yield f"  - {_text(f'127.0.0.1:{port}:{container.port}')}"
    if container.environment:
        yield "environment:"
        yield from (f"  {name}: {_text(value)}" for name, value in container.environment)
    yield "volumes:"
    for mount in container.mounts:
        yield from _mount(mount)
    if container.ipc:
        yield f"ipc: {_text(container.ipc)}"
    if container.shm_size:
        yield f"shm_size: {_text(container.shm_size)}"
    if container.gpu:
        yield "deploy:"
        yield "  resources: {reservations: {devices: [{driver: nvidia, count: 1, capabilities: [gpu]}]}}"


def _mount(mount: Mount) -> Iterator[str]:
    """In the long form: a path may hold a colon."""
    yield f"  - type: {mount.kind}"
    yield f"    source: {_text(mount.source)}"
    yield f"    target: {_text(mount.target)}"
    if mount.kind == "bind":
        yield "    read_only: true"


def _text(value: str) -> str:
    """A quoted string, in which compose fills no variable in."""
    return json.dumps(value.replace("$", "$$"), ensure_ascii=False)
