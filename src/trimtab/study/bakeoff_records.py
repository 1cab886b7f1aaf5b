"""Results of trials as texts, for the store: what one process finished, another goes on from."""

import json
from collections.abc import Sequence
from typing import Any

from trimtab.errors import Message, message
from trimtab.planning import Outcome, Trial
from trimtab.study.bakeoff import Baseline, Measure, TrialResult
from trimtab.study.jsonable import jsonable


def to_text(result: TrialResult) -> str:
    return json.dumps(jsonable(result), ensure_ascii=False)


def from_text(text: str) -> TrialResult:
    """Raises KeyError, TypeError, ValueError for what `to_text` did not write."""
    plain = json.loads(text)
    read: dict[str, Any] = {
        "trial": Trial(**plain["trial"]),
        "dev": _measure(plain["dev"]),
        "test": _measure(plain["test"]),
        "dev_loss": float("inf") if plain["dev_loss"] is None else plain["dev_loss"],
        "curve": tuple((step, loss) for step, loss in plain["curve"]),
        "failure": _message(plain["failure"]),
    }
    return TrialResult(**(plain | read))


def start_text(spent_seconds: float, found: Sequence[Baseline]) -> str:
    """What the first process of a bake-off found, and what getting ready took."""
    plain = {"spent_seconds": spent_seconds, "baselines": jsonable(tuple(found))}
    return json.dumps(plain, ensure_ascii=False)


def from_start(text: str) -> tuple[float, tuple[Baseline, ...]]:
    plain = json.loads(text)
    found = (
        Baseline(
            name=one["name"],
            seconds=one["seconds"],
            dev=_measure(one["dev"]),
            test=_measure(one["test"]),
            missing=_message(one["missing"]),
        )
        for one in plain["baselines"]
    )
    return plain["spent_seconds"], tuple(found)


def outcome(result: TrialResult) -> Outcome:
    """What the choice of further trials looks at."""
    merit = {} if result.dev is None else {"merit": result.dev.merit}
    return Outcome(
        trial=result.trial,
        seconds=result.seconds,
        train_seconds=result.train_seconds,
        loss=result.dev_loss,
        failure=result.failure,
        **merit,
    )


def _measure(plain: dict[str, Any] | None) -> Measure | None:
    return None if plain is None else Measure(**plain)


def _message(plain: dict[str, Any] | None) -> Message | None:
    if plain is None:
        return None
    facts = {
        name: _message(fact) if isinstance(fact, dict) and "code" in fact else fact
        for name, fact in plain["facts"].items()
    }
    return message(plain["code"], **facts)
