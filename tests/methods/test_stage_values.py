"""Stages as values: how they are read, what a named schedule is, and that a stage is a strategy like any other."""

import json
from dataclasses import replace

import pytest

from trimtab.methods import (
    Bottleneck,
    Head,
    Lora,
    Schedule,
    Stage,
    Strategy,
    Weights,
    method_named,
    stages_from,
    strategy_from_json,
    strategy_to_json,
)
from trimtab.methods.preset import Choices
from trimtab.models import shape_named

BERT = shape_named("bert-base-uncased")  # 12 layers


def spans(text: str, lowest: int = -1, layers: int = 12, epochs: int = 3) -> list[tuple[int, int, int]]:
    return [(stage.first, stage.last, stage.epochs) for stage in stages_from(text, lowest, layers, epochs)]


def test_named_schedules_by_hand() -> None:
    assert spans("top-down") == [(8, 11, 1), (4, 11, 1), (-1, 11, 1)]
    assert spans("top-down", epochs=5) == [(8, 11, 1), (4, 11, 2), (-1, 11, 2)]
    assert spans("top-down", epochs=2) == [(6, 11, 1), (-1, 11, 1)]
    assert spans("top-down", lowest=0) == [(8, 11, 1), (4, 11, 1), (0, 11, 1)]
    assert spans("top-down", lowest=10) == [(11, 11, 1), (10, 11, 2)]
    assert spans("bottom-up") == [(-1, 5, 1), (6, 11, 2)]
    assert spans("bottom-up", lowest=7) == [(7, 9, 1), (10, 11, 2)]
    assert spans("bottom-up", layers=1) == [(-1, 0, 3)]


def test_stages_that_are_written_out() -> None:
    text = (
        "layers=3-5,epochs=1,lr=1e-4; layers=embeddings-2 , epochs=4, lr=0.5x, patience=2;layers=head; layers=all"
    )
    assert stages_from(text, -1, 6, 3) == (
        Stage(first=3, last=5, learning_rate=1e-4),
        Stage(first=-1, last=2, epochs=4, rate_share=0.5, patience=2),
        Stage(first=6, last=6),
        Stage(first=-1, last=5),
    )
    assert spans("layers=embeddings; layers=4") == [(-1, -1, 1), (4, 4, 1)]


def staged(*parts, text: str = "bottom-up", **changed) -> Strategy:
    stages = stages_from(text, min(part.lowest_layer(BERT) for part in parts), BERT.layers, 4)
    return Strategy(
        method="x", parts=parts, schedule=Schedule(epochs=4, stages=stages, learning_rate=1e-3), **changed
    )


def test_parameters_of_a_stage_by_hand() -> None:
    """Full tuning of BERT: 7,087,872 a layer, 23,837,184 the embeddings, 592,130 head and pooler."""
    lower, upper = staged(Weights(), Head()).stages
    head = 768 * 768 + 768 + 2 * 768 + 2
    assert lower.trainable_parameters(BERT, 2) == 23_837_184 + 6 * 7_087_872 + head
    assert upper.trainable_parameters(BERT, 2) == 6 * 7_087_872 + head
    whole = staged(Weights(), Head())
    assert whole.trainable_parameters(BERT, 2) == 23_837_184 + 12 * 7_087_872 + head
    assert lower.total_parameters(BERT, 2) == upper.total_parameters(BERT, 2) == whole.total_parameters(BERT, 2)
    some = staged(Lora(rank=8), Head(), text="layers=2-3; layers=3-4")
    assert some.trainable_parameters(BERT, 2) == 3 * 2 * 8 * (768 + 768) + head, "layers 2, 3 and 4"


def test_what_a_stage_trains_and_where_gradients_end() -> None:
    lower, upper = staged(Weights(), Head()).stages
    assert (lower.lowest_layer(BERT), lower.highest_layer(BERT)) == (-1, 5)
    assert (upper.lowest_layer(BERT), upper.highest_layer(BERT)) == (6, 11)
    head = staged(Weights(), Head(), text="layers=head").stages[0]
    assert head.lowest_layer(BERT) == head.highest_layer(BERT) == 12
    assert all(not load.trained for load in lower.loads(BERT, 6))
    assert upper.loads(BERT, 6)[0].trained == BERT.linears
    bottom = staged(Bottleneck(), Head()).stages[0]
    assert bottom.loads(BERT, 9)[0].resting == Bottleneck().layer_load(BERT)


def test_a_stage_has_its_own_rate_epochs_and_patience() -> None:
    text = "layers=0,epochs=2,lr=0.5x; layers=1,lr=3e-5,patience=1"
    first, second = staged(Weights(), Head(), text=text).stages
    assert (first.schedule.learning_rate, first.schedule.epochs, first.schedule.patience) == (5e-4, 2, 0)
    assert (second.schedule.learning_rate, second.schedule.epochs, second.schedule.patience) == (3e-5, 1, 1)
    assert first.stages == (first,), "a stage has no stages"
    whole = staged(Weights(), Head(), text=text, batch=10)
    assert whole.steps(95) == 10 * 3 == sum(s.steps(95) for s in whole.stages)


def test_a_matrix_that_any_stage_trains_is_not_quantised() -> None:
    upper = Strategy(
        method="x",
        parts=(Weights(), Head()),
        base_precision="nf4",
        schedule=Schedule(stages=(Stage(first=8, last=11),)),
    )
    for strategy in (upper, *upper.stages):
        assert strategy.quantised(BERT, 7) == BERT.linears and strategy.quantised(BERT, 8) == ()


@pytest.mark.parametrize("number", [None, 0, 1])
def test_stages_come_back_from_json(number: int | None) -> None:
    strategy = staged(Lora(), Head(), text="layers=0-3,lr=0.1x; layers=all,patience=3")
    if number is not None:
        strategy = strategy.stages[number]
    assert strategy_from_json(json.loads(json.dumps(strategy_to_json(strategy)))) == strategy


def test_a_strategy_from_before_there_were_stages_can_be_read() -> None:
    plain = strategy_to_json(Strategy(method="full", parts=(Weights(), Head())))
    del plain["span"], plain["schedule"]["stages"], plain["schedule"]["layer_decay"]
    assert strategy_from_json(plain) == Strategy(method="full", parts=(Weights(), Head()))


def test_a_tied_language_head_is_trained_with_the_embeddings() -> None:
    spec = replace(shape_named("qwen2-0.5b"), tied_embeddings=True)
    parts = method_named("full").parts(spec, Choices())
    from trimtab.methods import LanguageHead

    stages = (Stage(first=-1, last=3), Stage(first=4, last=spec.layers - 1))
    chat = Strategy(method="full", parts=(parts[0], LanguageHead(trained=True)), schedule=Schedule(stages=stages))
    assert [stage.trains_language_head(spec) for stage in (chat, *chat.stages)] == [True, True, False]
    untied = replace(spec, tied_embeddings=False)
    assert [stage.trains_language_head(untied) for stage in chat.stages] == [True, True]
