"""Artifacts of tiny models without a training: a strategy attached, its trained weights moved at random, saved."""

from dataclasses import replace
from pathlib import Path

import torch

from tiny_chat import chat_strategy
from tiny_embed import embed_strategy
from tiny_models import tiny_model
from tiny_tagging import tag_strategy
from tiny_training import tiny_strategy
from trimtab import tuning
from trimtab.artifacts import ArtifactFacts, base_of
from trimtab.evaluation import OBJECTIVES, Opening, save_artifact
from trimtab.methods import Precision
from trimtab.models import ModelSource, read_spec

LABELS = ("bad", "good")
TEXTS = (
    "good film",
    "a bad story and a poor plot",
    "music , so fine !",
    "the actor was not very good in this scene",
)

_STRATEGIES = {"instruct": chat_strategy, "embed": embed_strategy, "tag": tag_strategy}
_COLUMNS = {"instruct": (), "embed": ("text_a", "text_b"), "pair": ("first", "second"), "tag": ("tokens",)}
_LABEL_COLUMNS = {"tag": "tags", "embed": "score"}
_HEADLESS = ("instruct", "embed")


def moved_artifact(
    folder: Path,
    source: ModelSource,
    method: str = "lora",
    *,
    labels: tuple[str, ...] = LABELS,
    task: str = "classify",
    precision: Precision = "fp32",
    seed: int = 0,
    **changed: object,
) -> Path:
    """An artifact in `folder`; `changed` are fields of its strategy."""
    made = _STRATEGIES.get(task, tiny_strategy)
    strategy = replace(made(source, method), precision=precision, **changed)  # type: ignore[arg-type]
    spec, objective = read_spec(source), OBJECTIVES[task]  # type: ignore[index]
    outputs = 0 if task in _HEADLESS else len(labels) or 1
    tokenizer = objective.tokenizer(source)
    opening = Opening(source=source, outputs=outputs, pad_token_id=int(tokenizer.pad_token_id), labels=labels)
    model = objective.model(opening)
    tuning.apply(strategy, model, spec)
    tuning.cast(model, precision)
    _move(model, seed)
    facts = ArtifactFacts(
        adapter=any(part.adapter for part in strategy.parts),
        task=task,  # type: ignore[arg-type]
        labels=labels if outputs else (),
        columns=_COLUMNS.get(task, ("text",)),
        label_column=_LABEL_COLUMNS.get(task, "label" if outputs else ""),
        outputs=outputs,
        base=base_of(source, spec.family),
        strategy=strategy,
        trimtab_version="0",
    )
    folder.mkdir(parents=True, exist_ok=True)
    save_artifact(folder, facts, model.eval(), tokenizer, spec)
    return folder


def tiny_base(folder: Path, family: str = "bert", **shape: object) -> ModelSource:
    return tiny_model(folder / f"base-{family}", family, **shape)  # type: ignore[arg-type]


def _move(model: torch.nn.Module, seed: int) -> None:
    torch.manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
