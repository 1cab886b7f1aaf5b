"""Dry runs, kept: the same question is answered from the cache folder, without torch."""

import contextlib
import hashlib
import json
from dataclasses import asdict
from importlib import metadata
from typing import Any

from trimtab import __version__
from trimtab.estimation.estimate import MemoryParts, Phase
from trimtab.estimation.question import Question
from trimtab.home import cache_folder, write_atomically
from trimtab.methods import strategy_to_json

_LIBRARIES = ("torch", "transformers", "peft")


def traced_phases(question: Question) -> tuple[Phase, ...]:
    """Live bytes by phase, as `training.dry_run` counts them. The first time it takes seconds and torch."""
    kept = cache_folder() / "dry-runs" / f"{_key(question)}.json"
    try:
        return tuple(_phase(plain) for plain in json.loads(kept.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not there, damaged, or written by another version: run again
    from trimtab.training.dry_run import dry_run  # torch

    found = dry_run(question)
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time, nothing else
        write_atomically(kept, json.dumps([asdict(phase) for phase in found]))
    return found


def _phase(plain: dict[str, Any]) -> Phase:
    return Phase(name=plain["name"], parts=MemoryParts(**plain["parts"]))


def _key(question: Question) -> str:
    """Changes whenever the question, Trimtab or a library whose code is run changes."""
    facts = {
        "spec": asdict(question.spec),
        "strategy": strategy_to_json(question.strategy),
        "rest": [
            question.task,
            question.outputs,
            question.rows,
            question.length,
            question.tokens,
            question.device,
        ],
        "versions": [__version__, *(metadata.version(name) for name in _LIBRARIES)],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
