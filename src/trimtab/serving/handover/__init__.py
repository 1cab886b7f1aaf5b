"""handover: what another server needs to take over when one machine is outgrown, a file each server.

`SERVERS` is the table: a server more is a file and a name here.
"""

from collections.abc import Mapping
from types import MappingProxyType

from trimtab.errors import UsageError
from trimtab.serving.handover.compose import compose_file
from trimtab.serving.handover.facts import (
    TEMPLATE_FILE,
    Container,
    Handed,
    Launch,
    Loaded,
    Mount,
    Refusal,
    Served,
    Server,
)
from trimtab.serving.handover.llama_cpp import LLAMA_CPP
from trimtab.serving.handover.lorax import LORAX
from trimtab.serving.handover.readme import command_file, command_line, readme
from trimtab.serving.handover.vllm import VLLM

SERVERS: Mapping[str, Server] = MappingProxyType({server.name: server for server in (VLLM, LORAX, LLAMA_CPP)})


def server_named(word: str) -> Server:
    """Raises UsageError TT-N301."""
    if word not in SERVERS:
        raise UsageError("TT-N301", asked=word[:40], known=", ".join(SERVERS))
    return SERVERS[word]


__all__ = [
    "SERVERS",
    "TEMPLATE_FILE",
    "Container",
    "Handed",
    "Launch",
    "Loaded",
    "Mount",
    "Refusal",
    "Served",
    "Server",
    "command_file",
    "command_line",
    "compose_file",
    "readme",
    "server_named",
]
