"""llama.cpp: LoRA adapters as GGUF files beside a GGUF base, on a CPU or a GPU; an adapter is chosen by number.

What it takes is read from its sources (src/llama-adapter.cpp, convert_lora_to_gguf.py) and the server's
documentation; it was not run here. Requests for different adapters are not computed together. Leaves out
adapters on embeddings, and several GPUs.
"""

from collections.abc import Sequence
from pathlib import Path

from trimtab.errors import Message, message
from trimtab.models.gguf_layout import GGUF_FAMILIES, architecture
from trimtab.serving.handover.facts import TEMPLATE_FILE, Container, Handed, Launch, Loaded, Mount, Served, Server
from trimtab.serving.handover.gguf_adapter import write_gguf_adapter
from trimtab.serving.handover.rules import (
    asking,
    bits_notes,
    dora,
    has_head,
    not_lora,
    other_base,
    other_family,
    sorted_out,
    template_for,
    whole_model,
)

TITLE = "llama.cpp"
_IMAGE = "ghcr.io/ggml-org/llama.cpp:server"
_PORT = 8080
_RULES = (
    other_base,
    whole_model,
    not_lora(TITLE),
    has_head(TITLE),
    dora(TITLE),
    other_family(TITLE, GGUF_FAMILIES),
)


def _launch(served: Served) -> Launch:
    """Raises ModelError TT-C400 where the base has no GGUF form."""
    architecture(served.spec)
    taken, refused = sorted_out(served, _RULES, _instead)
    template, of_templates = template_for(served, taken)
    file, port = _own_file(served), served.port or _PORT
    name = file.name if file else f"base-{served.kind}.gguf"
    return Launch(
        argv=(
            *("llama-server", *_arguments(taken, str(file or name), "adapters", template, "")),
            *("--host", "127.0.0.1", "--port", str(port)),
        ),
        container=_container(served, taken, file, name, template),
        port=port,
        loaded=tuple(_loaded(number, handed, port) for number, handed in enumerate(taken)),
        refused=refused,
        notes=(*bits_notes(taken, served.kind), *of_templates, *_together(taken)),
        template=template,
        base_file="" if file else name,
    )


def _own_file(served: Served) -> Path | None:
    """The GGUF file that the user named for the base."""
    return Path(served.source.name).expanduser().resolve() if served.source.kind == "gguf" else None


def _arguments(taken: Sequence[Handed], base: str, adapters: str, template: str, root: str) -> tuple[str, ...]:
    """All but where it listens. Adapters are numbered in the order in which they stand, and all are off until a
    request names one."""
    files = (("--lora", f"{adapters}/{handed.name}.gguf") for handed in taken)
    lora = (*(word for pair in files for word in pair), "--lora-init-without-apply") if taken else ()
    chat = ("--jinja", "--chat-template-file", f"{root}{TEMPLATE_FILE}") if template else ("--jinja",)
    return ("-m", base, *lora, *chat)


def _container(served: Served, taken: Sequence[Handed], file: Path | None, name: str, template: str) -> Container:
    mounts = [Mount(source=str(file) if file else f"./{name}", target=f"/{name}")]
    mounts += [Mount(source="./adapters", target="/adapters")] if served.adapters else []
    mounts += [Mount(source=f"./{TEMPLATE_FILE}", target=f"/{TEMPLATE_FILE}")] if template else []
    arguments = _arguments(taken, f"/{name}", "/adapters", template, "/")
    return Container(
        image=_IMAGE,
        command=(*arguments, "--host", "0.0.0.0", "--port", str(_PORT)),
        port=_PORT,
        mounts=tuple(mounts),
        gpu=False,
    )


def _loaded(number: int, handed: Handed, port: int) -> Loaded:
    return Loaded(
        adapter=handed,
        path=f"adapters/{handed.name}.gguf",
        request=asking(handed, port, lora=[{"id": number, "scale": 1.0}]),
        write=write_gguf_adapter,
    )


def _together(taken: Sequence[Handed]) -> tuple[Message, ...]:
    """What several adapters cost there."""
    return (message("TT-N336", count=len(taken)),) if len(taken) > 1 else ()


def _instead(folder: str) -> Message:
    command = f"trimtab compress {folder} export --to gguf --out {folder}-gguf"
    return message("TT-N322", command=command, then=f"llama-server -m {folder}-gguf/model.gguf")


LLAMA_CPP = Server(name="llama.cpp", title=TITLE, launch=_launch)
