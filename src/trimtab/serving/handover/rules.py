"""Why a server cannot load an adapter, a question each; and what all servers are told alike.

A rule takes an adapter and gives the reason in numbers, or None. Each server has its own tuple of them.
"""

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from trimtab.data.spec import Task
from trimtab.errors import Message, message
from trimtab.serving.handover.facts import WRITES_TEXT, Container, Handed, Refusal, Served

Rule: TypeAlias = Callable[[Handed], Message | None]
Instead: TypeAlias = Callable[[str], Message]  # of a merged copy's folder: how the server takes it
_OPTIONS = {"bind": ":ro", "volume": ""}
_ASKED: Mapping[Task, tuple[str, dict[str, object]]] = {
    "instruct": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello"}]}),
    "text": ("/v1/completions", {"prompt": "Once upon a time"}),
}


def other_base(handed: Handed) -> Message | None:
    """Trained on other weights than are served."""
    if handed.same_base:
        return None
    base = handed.facts.base
    return message("TT-N310", name=handed.name, base=base.hub_id or base.family, sha256=base.weights_sha256[:12])


def whole_model(handed: Handed) -> Message | None:
    """Its own weights are no addition to a base: full tuning, a head or biases alone."""
    if handed.facts.adapter:
        return None
    size = sum(size for _, size, _ in handed.facts.files)
    return message("TT-N311", name=handed.name, method=handed.facts.strategy.method, size=size)


def not_lora(server: str) -> Rule:
    """Bottlenecks, IA3, prompts, prefixes."""

    def rule(handed: Handed) -> Message | None:
        if handed.lora is not None:
            return None
        part = next(part for part in handed.facts.strategy.parts if part.adapter)
        return message("TT-N312", name=handed.name, part=part.name, server=server)

    return rule


def has_head(server: str) -> Rule:
    """Labels, tags, numbers and vectors come of a head or a pooling, which the server does not take."""

    def rule(handed: Handed) -> Message | None:
        task, outputs = handed.facts.task, handed.facts.outputs
        if task in WRITES_TEXT:
            return None
        if not outputs:
            return message("TT-N314", name=handed.name, task=task, server=server)
        return message("TT-N313", name=handed.name, task=task, outputs=outputs, server=server)

    return rule


def dora(server: str) -> Rule:
    """Lengths of rows, which are not a product of two matrices."""

    def rule(handed: Handed) -> Message | None:
        if handed.lora is None or handed.lora.variant != "dora":
            return None
        return message("TT-N315", name=handed.name, server=server)

    return rule


def rank_above(server: str, most: int) -> Rule:
    """More rank than the server has room for."""

    def rule(handed: Handed) -> Message | None:
        if handed.lora is None or handed.lora.rank <= most:
            return None
        return message("TT-N316", name=handed.name, rank=handed.lora.rank, most=most, server=server)

    return rule


def other_family(server: str, families: Sequence[str]) -> Rule:
    """A base on which the server loads no adapter, whatever its kind."""

    def rule(handed: Handed) -> Message | None:
        family = handed.facts.base.family
        if family in families:
            return None
        return message(
            "TT-N317", name=handed.name, family=family, server=server, known=", ".join(sorted(families))
        )

    return rule


def sorted_out(
    served: Served, rules: Sequence[Rule], instead: Instead
) -> tuple[list[Handed], tuple[Refusal, ...]]:
    """The adapters that no rule speaks against, and the others, each with the first reason."""
    taken: list[Handed] = []
    refused: list[Refusal] = []
    for handed in served.adapters:
        why = next((why for rule in rules if (why := rule(handed)) is not None), None)
        if why is None:
            taken.append(handed)
        else:
            refused.append(_refusal(handed, why, instead))
    return taken, tuple(refused)


def _refusal(handed: Handed, why: Message, instead: Instead) -> Refusal:
    if not (handed.mergeable and handed.same_base):
        keep = message("TT-N319", name=handed.name)
        return Refusal(name=handed.name, why=why, instead=keep, instead_shared=keep)
    return Refusal(
        name=handed.name,
        why=why,
        instead=_merging(handed, handed.typed, instead),
        instead_shared=_merging(handed, handed.shown, instead),
    )


def _merging(handed: Handed, folder: str, instead: Instead) -> Message:
    """A merged copy: one whole model in memory for this adapter alone."""
    merged = f"merged/{handed.name}"
    command = shlex.join(["trimtab", "adapters", "merge", folder, "--out", merged])
    writes = handed.facts.task in WRITES_TEXT
    return message(
        "TT-N318", command=command, then=instead(merged) if writes else message("TT-N320", folder=merged)
    )


def base_bits(taken: Sequence[Handed]) -> str:
    """How the base was stored in training, where all adapters agree: nf4, int8 or same."""
    found = {handed.facts.strategy.base_precision for handed in taken}
    return found.pop() if len(found) == 1 else "same"


def bits_notes(taken: Sequence[Handed], served_as: str) -> tuple[Message, ...]:
    """A word on every adapter that was trained on a base in other bits than are served."""
    return tuple(
        message("TT-N330", name=handed.name, bits=handed.facts.strategy.base_precision, served=served_as)
        for handed in taken
        if handed.facts.strategy.base_precision not in ("same", served_as)
    )


def precision_of(taken: Sequence[Handed]) -> str:
    """The 16 bits that all adapters were trained in; "" where they differ, or were trained in 32."""
    found = {handed.facts.strategy.precision for handed in taken}
    return found.pop() if len(found) == 1 and "fp32" not in found else ""


def template_for(served: Served, taken: Sequence[Handed]) -> tuple[str, tuple[Message, ...]]:
    """The chat template that goes along: that of the conversations which the adapters learnt, where it is not the
    base's own already. A server has one: adapters with another get a word."""
    learnt = [handed.template for handed in taken if handed.facts.task == "instruct" and handed.template]
    if not learnt:
        return "", ()
    chosen = served.template if served.template in learnt else max(learnt, key=learnt.count)
    notes = tuple(
        message("TT-N331", name=handed.name)
        for handed in taken
        if handed.facts.task == "instruct" and handed.template not in ("", chosen)
    )
    return ("" if chosen == served.template else chosen), notes


def asking(handed: Handed, port: int, **fields: object) -> tuple[str, ...]:
    """A curl line that asks a running server for an answer to one turn, or for a text to go on. `fields`: those by
    which it knows the adapter."""
    path, asked = _ASKED[handed.facts.task]
    body = json.dumps({**fields, **asked, "max_tokens": 64})
    return ("curl", f"http://127.0.0.1:{port}{path}", "-H", "Content-Type: application/json", "-d", body)


def docker_run(container: Container, port: int) -> tuple[str, ...]:
    """The command that runs a container without a compose file."""
    mounts = [("-v", f"{mount.source}:{mount.target}{_OPTIONS[mount.kind]}") for mount in container.mounts]
    variables = [("-e", f"{name}={value}") for name, value in container.environment]
    return (
        *("docker", "run", "--rm"),
        *(("--gpus", "all") if container.gpu else ()),
        *(("--shm-size", container.shm_size) if container.shm_size else ()),
        *(("--ipc", container.ipc) if container.ipc else ()),
        *("-p", f"127.0.0.1:{port}:{container.port}"),
        *(word for pair in (*mounts, *variables) for word in pair),
        *(container.image, *container.command),
    )
