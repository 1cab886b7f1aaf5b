"""Limits: what a service takes on. Apart from other facts, since importing it loads no torch."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a service takes on. `batch_tokens`: padded tokens of one pass; `wait_seconds`: how long a request may
    wait for others to share its pass; `queued`: requests that wait or run, beyond which one is refused;
    `deadline_seconds`: after which a request is given up; `adapter_bytes`: memory of loaded adapters together,
    beyond which the one that was unused longest goes; `chats`: conversations written at once; `context_tokens`:
    prompt and answer of one."""

    batch_tokens: int = 4096
    wait_seconds: float = 0.002
    queued: int = 1024
    deadline_seconds: float = 30.0
    adapter_bytes: int = 1 << 30
    chats: int = 16
    context_tokens: int = 2048
