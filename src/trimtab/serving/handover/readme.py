"""command.sh and README.md of the folder that is handed over: text of facts, in one language."""

import shlex
from collections.abc import Iterator, Mapping

from trimtab.errors import Message, message
from trimtab.serving.handover.facts import Launch, Loaded, Served, Server


def command_line(launch: Launch) -> str:
    """The launch command, quoted for a shell, run in the folder."""
    variables = [f"{name}={shlex.quote(value)}" for name, value in launch.environment]
    return " ".join((*variables, shlex.join(launch.argv)))


def command_file(launch: Launch) -> str:
    """command.sh: the same from wherever it is called."""
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in launch.environment)
    return f'#!/bin/sh\ncd "$(dirname "$0")" || exit 1\n{exports}exec {shlex.join(launch.argv)}\n'


def readme(
    served: Served, server: Server, launch: Launch, sizes: Mapping[str, int], *, language: str, version: str
) -> str:
    """README.md. `sizes`: bytes of what was written, by its path in the folder; `version`: of Trimtab."""
    heads = message("TT-N340", base=served.called, server=server.title).text(language)
    paragraphs = [
        f"# {heads}",
        message("TT-N341", version=version).text(language),
        *(told.text(language) for told in _opening(served, server, launch, sizes)),
    ]
    sections = {
        "TT-N349": [_adapter(loaded, sizes, language) for loaded in launch.loaded],
        "TT-N346": [f"- {one.why.text(language)} {one.instead_shared.text(language)}" for one in launch.refused],
        "TT-N347": [f"- {note.text(language)}" for note in launch.notes],
    }
    for code, lines in sections.items():
        if lines:
            paragraphs += [f"## {message(code).text(language)}", "\n".join(lines)]
    return "\n\n".join(paragraphs) + "\n"


def _opening(served: Served, server: Server, launch: Launch, sizes: Mapping[str, int]) -> Iterator[Message]:
    if launch.base_file:
        size = sizes.get(launch.base_file, 0)
        yield message("TT-N344", base=served.called, file=launch.base_file, size=size)
    elif served.hub_id:
        yield message("TT-N342", base=served.hub_id, revision=served.source.revision or "main")
    else:
        yield message("TT-N343", base=served.called)
    yield message("TT-N348", server=server.title)


def _adapter(loaded: Loaded, sizes: Mapping[str, int], language: str) -> str:
    adapter, part = loaded.adapter, loaded.adapter.lora
    assert part is not None, "servers load LoRA alone"
    told = message(
        "TT-N345", name=adapter.name, rank=part.rank, task=adapter.facts.task, path=loaded.path,
        size=sizes.get(loaded.path, 0),
    )  # fmt: skip
    return f"- {told.text(language)}\n\n  ```sh\n  {shlex.join(loaded.request)}\n  ```"
