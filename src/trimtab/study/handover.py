"""`trimtab serve --print`: what another server needs to take a base and its adapters over, as a command or folder.

The folder holds command.sh, compose.yaml, README.md and the adapters as that server loads them; what it cannot
load is said with the reason. Nothing is started here.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab import __version__
from trimtab.artifacts import artifact_named, read_facts, require_name
from trimtab.data.chat_template import DEFAULT_TEMPLATE, template_of
from trimtab.errors import Message, NothingFits, UsageError
from trimtab.heavy import heavy_imports
from trimtab.home import folder_atomically
from trimtab.models import ModelSource, read_spec, weights_hash
from trimtab.models.gguf_layout import kind_named
from trimtab.study.adapters import free_folder

if TYPE_CHECKING:
    from trimtab.serving.handover import Handed, Launch, Served, Server

_EXECUTABLE = 0o755


@dataclass(frozen=True, kw_only=True, slots=True)
class HandoverRequest:
    """`adapters`: (name, artifact) each. `out` None = the command alone, nothing is written. `port` None = the
    server's own. `kind`: of the base's numbers, where the server reads GGUF. `language` of README.md."""

    model: str
    server: str
    adapters: tuple[tuple[str, str], ...] = ()
    out: str | None = None
    port: int | None = None
    kind: str = "q8"
    language: str = "en"
    trust_remote_code: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class TakenAdapter:
    """An adapter that the server loads. `path`: of its folder or file in the folder that was written, of `bytes`;
    0 where none was. `request`: a shell line that asks it."""

    name: str
    path: str
    bytes: int
    request: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """An adapter that the server cannot load, why, and what can be done instead."""

    name: str
    why: Message
    instead: Message


@dataclass(frozen=True, kw_only=True, slots=True)
class HandedOver:
    """`command`: a shell line, run in `folder`; `compose`: compose.yaml. `folder`: what was written, None where
    nothing was; `files`: (path in it, bytes)."""

    server: str
    base: str
    command: str
    compose: str
    taken: tuple[TakenAdapter, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[Message, ...]
    folder: str | None
    files: tuple[tuple[str, int], ...]


def hand_over(request: HandoverRequest) -> HandedOver:
    """Say how a server takes over, and write its folder where `out` is given: all of it, or nothing.

    Raises UsageError TT-N301 to TT-N303, TT-C410, TT-U101; NothingFits TT-N300 where the server can load none of
    the adapters; BadInput as `free_folder`; ArtifactError as `read_facts`, and TT-A006 where a weight is not
    finite; ModelError where there is no such base, or it has no form that the server reads (TT-C400 and others).
    """
    target = None if request.out is None else free_folder(request.out)
    with heavy_imports():
        from trimtab.serving.handover import server_named
    server = server_named(request.server)
    served = _served(request)
    launch = server.launch(served)
    _require_any(served, server, launch)
    sizes = {} if target is None else _written(served, server, launch, target, request.language)
    return _handed(served, server, launch, target, sizes)


def _served(request: HandoverRequest) -> "Served":
    """Base and adapters at hand; the base's weights are read once, for their hash."""
    from trimtab import tuning
    from trimtab.serving.handover import Served

    kind = kind_named(request.kind)
    places = [(require_name(name), typed, artifact_named(typed)) for name, typed in request.adapters]
    for name, _, _ in places:
        if [other for other, _, _ in places].count(name) > 1:
            raise UsageError("TT-N303", name=name)
    source = tuning.locate_unpacked(request.model, trust_remote_code=request.trust_remote_code)
    sha256 = weights_hash(source.folder) if places else ""
    return Served(
        source=source,
        spec=read_spec(source),
        adapters=tuple(_adapter(name, typed, place, sha256) for name, typed, place in places),
        template=_own_template(source),
        kind=kind,
        port=request.port,
    )


def _adapter(name: str, typed: str, place: Path, sha256: str) -> "Handed":
    from trimtab.serving.handover import Handed

    facts = read_facts(place)
    return Handed(
        name=name,
        folder=place,
        typed=typed,
        facts=facts,
        same_base=facts.base.weights_sha256 == sha256,
        template=template_of(place).source if facts.task == "instruct" else "",
    )


def _own_template(source: ModelSource) -> str:
    """That of the base, "" where it was published without."""
    found = template_of(source.folder).source
    return "" if found == DEFAULT_TEMPLATE else found


def _require_any(served: "Served", server: "Server", launch: "Launch") -> None:
    if launch.refused and not launch.loaded:
        why = tuple(told for one in launch.refused for told in (one.why, one.instead))
        raise NothingFits("TT-N300", server=server.title, count=len(launch.refused), why=why)
    if served.spec.kind != "decoder":
        raise UsageError("TT-N302", model=served.called, server=server.title)


def _written(served: "Served", server: "Server", launch: "Launch", target: Path, language: str) -> dict[str, int]:
    """Write the folder. Bytes of every file by its path, and of every adapter by that of its folder."""
    from trimtab.compression.gguf import write_gguf
    from trimtab.serving.handover import TEMPLATE_FILE, command_file, compose_file, readme

    with folder_atomically(target) as beside:
        if launch.base_file:
            write_gguf(served.source, beside / launch.base_file, served.kind)
        for loaded in launch.loaded:
            loaded.write(served, loaded.adapter, beside / loaded.path)
        texts = {
            "command.sh": command_file(launch),
            "compose.yaml": compose_file(server.name.replace(".", "-"), launch.container, launch.port),
            **({TEMPLATE_FILE: launch.template} if launch.template else {}),
        }
        sizes = _sizes(beside) | {loaded.path: _bytes_of(beside / loaded.path) for loaded in launch.loaded}
        texts["README.md"] = readme(served, server, launch, sizes, language=language, version=__version__)
        for name, text in texts.items():
            (beside / name).write_text(text, encoding="utf-8")
        (beside / "command.sh").chmod(_EXECUTABLE)
        return sizes | _sizes(beside)


def _sizes(folder: Path) -> dict[str, int]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file.stat().st_size for file in files}


def _bytes_of(place: Path) -> int:
    return sum(_sizes(place).values()) if place.is_dir() else place.stat().st_size


def _handed(
    served: "Served", server: "Server", launch: "Launch", target: Path | None, sizes: dict[str, int]
) -> HandedOver:
    from trimtab.serving.handover import command_line, compose_file

    files = () if target is None else tuple(_sizes(target).items())
    return HandedOver(
        server=server.name,
        base=served.called,
        command=command_line(launch),
        compose=compose_file(server.name.replace(".", "-"), launch.container, launch.port),
        taken=tuple(
            TakenAdapter(
                name=loaded.adapter.name,
                path=loaded.path,
                bytes=sizes.get(loaded.path, 0),
                request=shlex.join(loaded.request),
            )
            for loaded in launch.loaded
        ),
        left_out=tuple(LeftOut(name=one.name, why=one.why, instead=one.instead) for one in launch.refused),
        notes=launch.notes,
        folder=None if target is None else str(target),
        files=files,
    )
