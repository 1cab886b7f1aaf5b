"""A training in stages: memory is the maximum of its stages', time their sum, each a strategy of its own."""

from dataclasses import replace

import pytest

from trimtab.data.spec import DataSpec, LengthHistogram
from trimtab.estimation import estimate
from trimtab.hardware.machine import Calibration, Device, Machine
from trimtab.methods import Choices, Schedule, Strategy, method_named, stages_from
from trimtab.models import shape_named

BERT = shape_named("bert-base-uncased")
DATA = DataSpec(
    name="d", task="classify", columns=("text",), label_column="label", labels=("a", "b"), label_counts=(),
    train_rows=1000, dev_rows=100, test_rows=0, lengths=LengthHistogram((0,) * 64 + (1000,)), vocabulary=5000,
)  # fmt: skip
CPU = Machine(
    name="cpu",
    device=Device(name="cpu", kind="cpu", memory_bytes=2**40, usable_bytes=2**40),
    calibration=Calibration(
        key="", matmul_rates=(("fp32", 1e11),), threads=1, runtime_bytes=2**28, bandwidth=2e10
    ),
)


def staged(method: str, text: str) -> Strategy:
    parts = method_named(method).parts(BERT, Choices())
    stages = stages_from(text, min(part.lowest_layer(BERT) for part in parts), BERT.layers, 3)
    schedule = Schedule(epochs=sum(stage.epochs for stage in stages), stages=stages)
    return Strategy(method=method, parts=parts, schedule=schedule)


@pytest.mark.parametrize("method", ["full", "lora", "adapter"])
@pytest.mark.parametrize("text", ["top-down", "bottom-up", "layers=head; layers=4-7,epochs=2"])
def test_memory_is_the_maximum_and_time_the_sum(method: str, text: str) -> None:
    strategy = staged(method, text)
    whole, each = estimate(strategy, BERT, DATA, CPU), [estimate(s, BERT, DATA, CPU) for s in strategy.stages]
    assert whole.memory.peak_bytes == max((e.memory.peak_bytes for e in each), key=lambda figure: figure.value)
    assert whole.time.steps == sum(e.time.steps for e in each)
    assert whole.time.train_seconds.value == pytest.approx(sum(e.time.train_seconds.value for e in each))
    told = [(s.steps, s.trainable_parameters, s.peak_bytes.value, s.step_seconds.value) for s in whole.stages]
    assert told == [
        (e.time.steps, e.trainable_parameters, e.memory.peak_bytes.value, e.time.step_seconds.value) for e in each
    ]


def test_one_stage_of_everything_is_training_all_at_once() -> None:
    strategy = staged("full", "layers=all,epochs=3")
    plain = replace(strategy, schedule=replace(strategy.schedule, stages=()))
    one, other = estimate(strategy, BERT, DATA, CPU), estimate(plain, BERT, DATA, CPU)
    assert (one.memory, one.time, one.trainable_parameters) == (
        other.memory,
        other.time,
        other.trainable_parameters,
    )
    assert len(one.stages) == 1 and other.stages == ()


def test_upper_layers_cost_less_than_lower_ones() -> None:
    """Gradients pass through all that lies above."""
    lower, upper = estimate(staged("full", "layers=0-5; layers=6-11"), BERT, DATA, CPU).stages
    assert lower.trainable_parameters == upper.trainable_parameters
    assert lower.peak_bytes.value > upper.peak_bytes.value
    assert lower.step_seconds.value > upper.step_seconds.value
