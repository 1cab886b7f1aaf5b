"""Dry runs, kept: the same question is answered from the cache folder, without torch."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from importlib import metadata
from typing import Any

from trimtab import __version__
from trimtab.estimation.estimate import MemoryParts, Phase
from trimtab.estimation.question import Question
from trimtab.estimation.setups import Setup
from trimtab.heavy import heavy_imports
from trimtab.home import cache_folder, write_atomically
from trimtab.methods import strategy_to_json

_LIBRARIES = ("torch", "transformers", "peft")


def traced_phases(*questions: Question) -> tuple[Phase, ...]:
    """Live bytes by phase, as `training.dry_run` counts them, each of the question where it is largest. The first
    time it takes seconds and torch."""
    worst: dict[str, Phase] = {}
    for phase in (phase for question in questions for phase in _traced(question)):
        if phase.name not in worst or phase.parts.total_bytes > worst[phase.name].parts.total_bytes:
            worst[phase.name] = phase
    return tuple(worst.values())


def _traced(question: Question) -> tuple[Phase, ...]:
    def run() -> tuple[Phase, ...]:
        with heavy_imports():
            from trimtab.training.dry_run import dry_run  # torch

        return dry_run(question)

    return _kept(_key(question), run)


def traced_setup_phases(setup: Setup) -> tuple[Phase, ...]:
    """The same of a Setup, as `training.setup_dry_run` counts it. Raises UsageError TT-W020 as that does."""

    def run() -> tuple[Phase, ...]:
        with heavy_imports():
            from trimtab.training.setup_dry_run import setup_dry_run  # torch

        return setup_dry_run(setup)

    return _kept(_hash({"setup": asdict(replace(setup, device=None))}), run)


def _kept(key: str, run: Callable[[], tuple[Phase, ...]]) -> tuple[Phase, ...]:
    """What `run` gives, or gave the last time."""
    kept = cache_folder() / "dry-runs" / f"{key}.json"
    try:
        return tuple(_phase(plain) for plain in json.loads(kept.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not there, damaged, or written by another version: run again
    found = run()
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
        "rounding": _version(question.strategy.library),
        "rest": [
            question.task,
            question.outputs,
            question.rows,
            question.length,
            question.tokens,
            question.evaluated,
            question.device,
            question.learned,
            question.texts,
        ],
    }
    return _hash(facts)


def _version(library: str) -> str:
    """Of one that need not be there for a plan of another machine."""
    try:
        return metadata.version(library) if library else ""
    except metadata.PackageNotFoundError:
        return "absent"


def _hash(facts: Mapping[str, object]) -> str:
    versions = [__version__, *(metadata.version(name) for name in _LIBRARIES)]
    told = json.dumps({**facts, "versions": versions}, sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:32]
