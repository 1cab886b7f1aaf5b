"""Exam of every method and update rule: the states that the formula counts are those of the real tensors.

Published shapes, built without weights. That a tensor of a shape has as many bytes as its rule says is held to
real states in tests/training/test_rules.py.
"""

from functools import cache

import pytest
import torch
from exam_cases import OUTPUTS
from transformers import AutoModelForSequenceClassification

from trimtab import tuning
from trimtab.data.spec import DataSpec, LengthHistogram
from trimtab.estimation.memory import live_phases
from trimtab.hardware.machine import Device, Machine
from trimtab.methods import METHODS, UPDATE_RULES, Choices, Strategy, UpdateRule, method_named
from trimtab.models import catalogue, shape_named
from trimtab.tuning.shapes import config_of

READ = 9_000
ALLOWED = 0.001  # other tables than the tokens' are taken together, biases of the inner width for some of hidden
GPU = Machine(name="gpu", device=Device(name="gpu", kind="gpu", memory_bytes=2**40, usable_bytes=2**40))


def facts() -> DataSpec:
    lengths = LengthHistogram((0,) * 32 + (1000,))
    return DataSpec(
        name="d", task="classify", columns=("text",), label_column="label", labels=("a", "b", "c"),
        label_counts=(), train_rows=1000, dev_rows=10, test_rows=0, lengths=lengths, vocabulary=READ - 1,
    )  # fmt: skip


def strategy_of(model: str, method: str, rule: UpdateRule) -> Strategy:
    parts = method_named(method).parts(shape_named(model), Choices())
    return Strategy(method=method, parts=parts, optimizer=rule)


@cache
def trained_shapes(model: str, method: str) -> tuple[tuple[int, ...], ...]:
    """Of the transformers class on the meta device; of the token table only the rows that are read."""
    spec = shape_named(model)
    config = config_of(spec, num_labels=OUTPUTS)
    config.pad_token_id = 0
    with torch.device("meta"):
        made = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
        tuning.apply(strategy_of(model, method, UPDATE_RULES[0]()), made, spec)
    table = made.get_input_embeddings().weight
    shapes = [(p, tuple(p.shape)) for p in made.parameters() if p.requires_grad]
    return tuple((READ, *shape[1:]) if p is table else shape for p, shape in shapes)


@pytest.mark.parametrize("rule", UPDATE_RULES, ids=lambda rule: rule.name)
@pytest.mark.parametrize("method", [method.name for method in METHODS if method.stages is None])
@pytest.mark.parametrize("model", ["bert-base-uncased", "distilbert-base-uncased", "roberta-base", "qwen2-0.5b"])
def test_the_formula_counts_the_states_of_the_real_tensors(
    model: str, method: str, rule: type[UpdateRule]
) -> None:
    strategy = strategy_of(model, method, rule())
    parts = next(x.parts for x in live_phases(strategy, shape_named(model), facts(), GPU) if x.name == "optimizer")
    shapes = trained_shapes(model, method)
    assert parts.optimizer_bytes == pytest.approx(sum(rule().device_bytes(x) for x in shapes), rel=ALLOWED)
    assert parts.temporaries_bytes == max(rule().step_bytes(x, cpu=False) for x in shapes)


def test_8_bit_states_take_a_quarter() -> None:
    """Full tuning of BERT: 8 bytes a number, and 2 with an fp32 scale a state for each 256 of them."""
    spec = shape_named("bert-base-uncased")
    of = {
        rule.name: next(
            x.parts.optimizer_bytes
            for x in live_phases(strategy_of("bert-base-uncased", "full", rule()), spec, facts(), GPU)
            if x.name == "optimizer"
        )
        for rule in UPDATE_RULES
    }
    assert of["adamw8bit"] / of["adamw"] == pytest.approx((2 + 8 / 256) / 8, rel=0.01)
    assert of["lion"] * 2 == of["adamw"]
    assert of["adafactor"] < 0.01 * of["adamw"]
    assert of["paged_adamw8bit"] < 0.02 * of["adamw"]


def test_every_shape_is_counted_once() -> None:
    """Whatever the model is like, the shapes hold exactly the numbers that are trained."""
    for spec in catalogue():
        if spec.stored_layers < spec.layers or spec.kind == "encoder-decoder":
            continue  # no part says what of these is trained
        for method in METHODS:
            if method.stages is not None:
                continue  # trains what another does, in stages
            for part in method.parts(spec, Choices()):
                shapes = part.trained_shapes(spec, OUTPUTS)
                numbers = sum(torch.Size(shape).numel() * count for shape, count in shapes)
                assert numbers == part.trainable_parameters(spec, OUTPUTS), (spec.name, method.name, part)
                assert all(count >= 0 for _, count in shapes)
