"""An answer as one line of JSON."""

from collections.abc import Callable
from typing import Any

from trimtab.errors import Message
from trimtab.study.jsonable import jsonable
from trimtab.study.rows.answers import RowEstimate


def row_facts(found: RowEstimate, say: Callable[[Message], dict[str, Any]]) -> dict[str, Any]:
    """One line of output: bytes as whole numbers, seconds; `say` tells an error."""
    if found.estimate is None:
        assert found.error is not None
        return {"id": found.id, "error": say(found.error)}
    memory, time = found.estimate.memory, found.estimate.time
    asked = getattr(memory, found.kind)
    parts = {name: getattr(memory.parts, name) for name in type(memory.parts).__dataclass_fields__}
    cost = found.money
    paid = (
        None
        if cost is None
        else {"cny": jsonable(cost.cny), "usd": jsonable(cost.usd), "price": jsonable(cost.price)}
    )
    return {
        "id": found.id,
        "memory": {
            "allocated": round(memory.allocated.value),
            "reserved": round(memory.reserved.value),
            "device": round(memory.device.value),
            "low": round(asked.low),
            "high": round(asked.high),
            "kind": found.kind,
            "parts": parts,
            "phase": memory.phase,
        },
        "trainable_parameters": found.estimate.trainable_parameters,
        "step_seconds": None if time is None else time.step_seconds.value,
        "tokens_per_second": None if time is None else time.tokens_per_second.value,
        "train_seconds": None if found.train_seconds is None else jsonable(found.train_seconds),
        "money": paid,
        "evidence": str(asked.evidence),
        "assumed": list(found.assumed),
    }
