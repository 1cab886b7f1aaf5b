"""Importance against finite differences of the loss: a second implementation, row by row."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from tiny_chat import chat_model, chat_strategy, write_talks
from tiny_models import tiny_model
from tiny_training import tiny_strategy
from trimtab.compression.importance import DevRows, importance
from trimtab.data import open_corpus
from trimtab.errors import Diverged
from trimtab.evaluation import OBJECTIVES, Encoded, Opening
from trimtab.models import ModelSource, ModelSpec, read_spec
from trimtab.tuning import structure

LENGTHS = (3, 9, 5, 12)
STEP = 1e-3
each_family = pytest.mark.parametrize("family", ["bert", "distilbert", "llama", "qwen2"])


def classifier(source: ModelSource) -> tuple[PreTrainedModel, DevRows]:
    """In fp64, where a finite difference is one."""
    objective, strategy = OBJECTIVES["classify"], tiny_strategy(source)
    tokenizer = objective.tokenizer(source)
    model = objective.model(Opening(source=source, outputs=2, pad_token_id=0, labels=("bad", "good"))).double()
    draw, starts = np.random.default_rng(0), np.concatenate([[0], np.cumsum(LENGTHS)])
    ids = draw.integers(4, 40, sum(LENGTHS)).astype(np.int32)
    encoded = Encoded(ids, starts, np.zeros(4, np.int32), np.array([0, 1, 1, 0]))
    collator = objective.collator(tokenizer, 24)
    return model, DevRows(objective=objective, encoded=encoded, collator=collator, strategy=strategy)


@contextmanager
def scaled(
    model: PreTrainedModel, spec: ModelSpec, layer: int, role: str, inputs: slice, by: float
) -> Iterator[None]:
    """What goes into a matrix of a layer, in part multiplied."""
    (name,) = (linear.module for linear in spec.linears if linear.role == role)

    def multiply(module: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        factor = torch.ones_like(args[0])
        factor[..., inputs] = by
        return (args[0] * factor,)

    hook = structure.layers(model, spec)[layer].get_submodule(name).register_forward_pre_hook(multiply)
    yield
    hook.remove()


@torch.no_grad()
def row_losses(model: PreTrainedModel, rows: DevRows) -> np.ndarray:
    losses = []
    for row in range(len(rows.encoded)):
        one = np.array([row])
        inputs = rows.collator.batch(rows.encoded, one)
        targets = rows.objective.targets(rows.encoded, rows.collator, one)
        logits = model(**inputs).logits  # in fp64, where the task's own loss is in fp32
        losses.append(nn.functional.cross_entropy(logits, targets).item())
    return np.array(losses)


def finite_difference(model: PreTrainedModel, spec: ModelSpec, rows: DevRows, *where: object) -> float:
    """Mean over rows of |d loss / d gate|, the gate around 1."""
    model.eval()
    with scaled(model, spec, *where, 1 + STEP):  # type: ignore[arg-type]
        above = row_losses(model, rows)
    with scaled(model, spec, *where, 1 - STEP):  # type: ignore[arg-type]
        below = row_losses(model, rows)
    return float(np.abs(above - below).mean() / (2 * STEP))


@each_family
def test_a_head_and_a_neuron_are_worth_their_finite_difference(tmp_path: Path, family: str) -> None:
    source = tiny_model(tmp_path / "whole", family)
    spec = read_spec(source)
    model, rows = classifier(source)
    found = importance(model, spec, rows)
    width = spec.heads // spec.kv_heads * spec.head_dim
    head = finite_difference(model, spec, rows, 0, "o", slice(width, 2 * width))
    neuron = finite_difference(model, spec, rows, 1, "down", slice(7, 8))
    assert head > 1e-5 and neuron > 1e-6
    assert found.groups[0][1] == pytest.approx(head, rel=1e-3)
    assert found.neurons[1][7] == pytest.approx(neuron, rel=1e-3)


def test_it_does_not_matter_how_rows_are_cut_into_batches(tmp_path: Path) -> None:
    source = tiny_model(tmp_path / "whole", "bert")
    model, rows = classifier(source)
    spec = read_spec(source)
    together, apart = (importance(model, spec, rows, tokens=tokens) for tokens in (4096, 1))
    for layer in range(spec.layers):
        assert together.groups[layer] == pytest.approx(apart.groups[layer], rel=1e-6)
        assert together.neurons[layer] == pytest.approx(apart.neurons[layer], rel=1e-6)
    assert together.layers[0] == pytest.approx(together.groups[0].sum() + together.neurons[0].sum())


def test_the_model_is_left_as_it_was(tmp_path: Path) -> None:
    source = tiny_model(tmp_path / "whole", "bert")
    model, rows = classifier(source)
    model.train()
    model.bert.embeddings.requires_grad_(False)
    trained = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    importance(model, read_spec(source), rows)
    assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == trained
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def test_a_loss_that_is_no_number_is_said(tmp_path: Path) -> None:
    source = tiny_model(tmp_path / "whole", "bert")
    model, rows = classifier(source)
    model.classifier.weight.data.fill_(float("nan"))
    with pytest.raises(Diverged) as said:
        importance(model, read_spec(source), rows)
    assert said.value.code == "TT-C208"


def test_a_language_model_is_measured_on_its_own_loss(tmp_path: Path) -> None:
    """Of learned tokens alone, by the objective's own loss in fp32."""
    source = chat_model(tmp_path / "whole", "llama")
    spec, objective, strategy = read_spec(source), OBJECTIVES["instruct"], chat_strategy(source)
    tokenizer = objective.tokenizer(source)
    model = objective.model(Opening(source=source, outputs=0, pad_token_id=int(tokenizer.pad_token_id)))
    encoded = objective.encode(open_corpus(str(write_talks(tmp_path / "data"))).dev, tokenizer, 40).first(4)
    collator = objective.collator(tokenizer, 40)
    rows = DevRows(objective=objective, encoded=encoded, collator=collator, strategy=strategy)
    width = spec.heads // spec.kv_heads * spec.head_dim
    step, sides = 1e-2, []
    for by in (1 + step, 1 - step):
        with scaled(model.eval(), spec, 1, "o", slice(0, width), by), torch.no_grad():
            sides.append([own_loss(model, rows, row) for row in range(4)])
    difference = np.abs(np.subtract(*sides)).mean() / (2 * step)
    assert importance(model, spec, rows).groups[1][0] == pytest.approx(difference, rel=2e-2)


def own_loss(model: PreTrainedModel, rows: DevRows, row: int) -> float:
    one = np.array([row])
    targets = rows.objective.targets(rows.encoded, rows.collator, one)
    inputs = rows.collator.batch(rows.encoded, one)
    return rows.objective.loss_sum(model, inputs, targets, rows.strategy).item()


def test_nothing_of_a_batch_stays_in_memory(tmp_path: Path) -> None:
    """A hook that holds the tensor it hangs on is a cycle that is never collected."""
    source = tiny_model(tmp_path, "bert")
    model, rows = classifier(source)
    spec, living = read_spec(source), []
    for _ in range(3):
        importance(model, spec, rows)
        gc.collect()
        living.append(sum(isinstance(one, torch.Tensor) for one in gc.get_objects()))
    assert living[1] == living[2]
