"""Adapters to serve, made without a training: a strategy attached to a real model, its trained weights moved by
small random numbers, saved as a training saves them. For the load test and for tests of serving.

They answer what chance has them say, and take the same time and memory as trained ones.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from trimtab import tuning
from trimtab.artifacts import FACTS_FILE, ArtifactFacts, Base, base_of
from trimtab.evaluation import OBJECTIVES, Opening, save_artifact
from trimtab.methods import Choices, Strategy, method_named, parts_for
from trimtab.models import ModelSource, ModelSpec, read_spec

Task = Literal["classify", "instruct"]
FEWEST_LABELS, MOST_LABELS = 2, 14
_MOVED = 0.02  # standard deviation of what is added; weights of these models are of that size


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A method with its choices; `word` begins the names of its adapters."""

    word: str
    method: str
    choices: Choices = Choices()


MIXED = (
    Kind(word="lora", method="lora", choices=Choices(rank=8)),
    Kind(word="adapter", method="adapter", choices=Choices(bottleneck=32)),
    Kind(word="ia3", method="ia3"),
    Kind(word="bitfit", method="bitfit"),
    Kind(word="head", method="head"),
    Kind(word="prompt", method="prompt", choices=Choices(virtual_tokens=8)),
)


def kinds_named(words: Sequence[str]) -> tuple[Kind, ...]:
    return tuple(next(kind for kind in MIXED if kind.word == word) for word in words)


def make_adapters(
    folder: Path, source: ModelSource, count: int = 32, *, kinds: Sequence[Kind] = MIXED, task: Task = "classify"
) -> dict[str, Path]:
    """`count` artifacts in `folder` by name, kinds and label counts (2 to 14) by turns; those that are there stay.
    Of bitfit and head each is a whole model on disk."""
    return dict(_made(folder, source, count, kinds, task))


def _made(
    folder: Path, source: ModelSource, count: int, kinds: Sequence[Kind], task: Task
) -> Iterator[tuple[str, Path]]:
    spec, base = read_spec(source), None
    for number in range(count):
        kind = kinds[number % len(kinds)]
        name = f"{kind.word}-{number:02d}"
        if not (folder / name / FACTS_FILE).is_file():
            base = base or base_of(source, spec.family)
            labels = _labels(number) if task == "classify" else ()
            facts = _facts(_strategy(kind, spec, task), base, task, labels)
            _make(folder / name, source, spec, facts, number)
        yield name, folder / name


def _facts(strategy: Strategy, base: Base, task: Task, labels: tuple[str, ...]) -> ArtifactFacts:
    return ArtifactFacts(
        adapter=any(part.adapter for part in strategy.parts),
        task=task,
        labels=labels,
        columns=("text",) if labels else (),
        label_column="label" if labels else "",
        outputs=len(labels),
        base=base,
        strategy=strategy,
        trimtab_version="0",
    )


def _labels(number: int) -> tuple[str, ...]:
    count = FEWEST_LABELS + number % (MOST_LABELS - FEWEST_LABELS + 1)
    return tuple(f"label {index}" for index in range(count))


def _strategy(kind: Kind, spec: ModelSpec, task: Task) -> Strategy:
    parts = parts_for(method_named(kind.method), task, spec, kind.choices)
    precision = "fp32" if spec.kind == "encoder" else "bf16"
    return Strategy(method=kind.method, parts=parts, precision=precision, max_length=128)


def _make(folder: Path, source: ModelSource, spec: ModelSpec, facts: ArtifactFacts, seed: int) -> None:
    objective = OBJECTIVES[facts.task]
    tokenizer = objective.tokenizer(source)
    opening = Opening(
        source=source, outputs=facts.outputs, pad_token_id=int(tokenizer.pad_token_id), labels=facts.labels
    )
    model = objective.model(opening)
    tuning.apply(facts.strategy, model, spec)
    tuning.cast(model, facts.strategy.precision)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=_MOVED)
    folder.mkdir(parents=True, exist_ok=True)
    save_artifact(folder, facts, model.eval(), tokenizer, spec)
