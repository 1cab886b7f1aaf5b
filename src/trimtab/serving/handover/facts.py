"""What is handed over, and what of it another server is given: frozen values. No torch.

Leaves out writing (`trimtab.study.handover`), and everything that one server alone knows (a file each).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

from trimtab.artifacts import ArtifactFacts
from trimtab.data.spec import Task
from trimtab.errors import Message
from trimtab.methods import Lora
from trimtab.models import ModelSource, ModelSpec
from trimtab.models.gguf_layout import GgufKind

WRITES_TEXT: tuple[Task, ...] = ("instruct", "text")
TEMPLATE_FILE = "chat_template.jinja"


@dataclass(frozen=True, kw_only=True, slots=True)
class Handed:
    """An adapter that is to answer to `name`. `typed`: how the user called its folder. `same_base`: it was trained
    on the weights that are served. `template`: its chat template, "" where it has none."""

    name: str
    folder: Path
    typed: str
    facts: ArtifactFacts
    same_base: bool = True
    template: str = ""

    @property
    def lora(self) -> Lora | None:
        return next((part for part in self.facts.strategy.parts if isinstance(part, Lora)), None)

    @property
    def shown(self) -> str:
        """What others may see of its folder: as typed, of a path from the root the last word."""
        return self.name if PurePath(self.typed).is_absolute() else self.typed

    @property
    def mergeable(self) -> bool:
        """Whether a whole model can be made of it and its base."""
        return self.facts.adapter and all(part.mergeable for part in self.facts.strategy.parts if part.adapter)


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """A base, and the adapters on it. `template`: the base's own chat template, "" where it has none. `kind`: of
    the numbers in a GGUF file, where one is made of the base. `port`: None = the server's own."""

    source: ModelSource
    spec: ModelSpec
    adapters: tuple[Handed, ...] = ()
    template: str = ""
    kind: GgufKind = "q8_0"
    port: int | None = None

    @property
    def hub_id(self) -> str:
        """By which the server fetches the base itself; "" where it is a folder or file here."""
        return self.source.hub_id if self.source.kind in ("hub", "modelscope") else ""

    @property
    def called(self) -> str:
        """A name of the base that says nothing of this machine."""
        if self.source.kind == "gguf":
            return PurePath(self.source.name).stem
        return self.source.hub_id or self.source.folder.resolve().name


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """An adapter that a server cannot load. `instead`: what can be done, in words that name its folder as it was
    typed; `instead_shared`: the same for others."""

    name: str
    why: Message
    instead: Message
    instead_shared: Message


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """An adapter that the server loads. `path`: of its folder or file, in the folder that is written; `request`:
    a command that asks it. `write` makes it there: of (what is served, adapter, path)."""

    adapter: Handed
    path: str
    request: tuple[str, ...]
    write: Callable[[Served, Handed, Path], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Mount:
    """A folder or file that a container sees as `target`. `source` is "./..." of the folder that is written, or
    from the root, or the name of a volume."""

    source: str
    target: str
    kind: Literal["bind", "volume"] = "bind"


@dataclass(frozen=True, kw_only=True, slots=True)
class Container:
    """How the server is run by docker: `command` follows what the image starts; `port` is the one inside."""

    image: str
    command: tuple[str, ...]
    port: int
    mounts: tuple[Mount, ...]
    environment: tuple[tuple[str, str], ...] = ()
    gpu: bool = True
    ipc: str = ""
    shm_size: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """What one server is given. `argv`: the command, which is run in the folder that is written; `port`: where it
    answers; `template`: a chat template that goes along as `TEMPLATE_FILE`, "" = none, or the base has it already;
    `base_file`: where the base is written to as GGUF, "" = it is not."""

    argv: tuple[str, ...]
    container: Container
    port: int
    environment: tuple[tuple[str, str], ...] = ()
    loaded: tuple[Loaded, ...] = ()
    refused: tuple[Refusal, ...] = ()
    notes: tuple[Message, ...] = ()
    template: str = ""
    base_file: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """A server that can be handed over to. `name` is the word a user types; `launch` raises ModelError where the
    base itself cannot be served."""

    name: str
    title: str
    launch: Callable[[Served], Launch]
