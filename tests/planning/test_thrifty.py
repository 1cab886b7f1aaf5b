"""Update rules in plans: the one asked for, and states in 8 bit where they are what lets something fit."""

from dataclasses import replace
from itertools import pairwise

import pytest
from planning_cases import MINILM, cpu, data, gpu

from trimtab.errors import UsageError
from trimtab.estimation.estimate import Estimate
from trimtab.hardware.machine import Machine
from trimtab.methods import UPDATE_RULES, AdamW, AdamW8bit, Lion, method_named
from trimtab.models import shape_named
from trimtab.planning import Goal, Limits, NoPlan, Plan, Settings, plan
from trimtab.units import GIB

QWEN = shape_named("qwen2-0.5b")
BOX = gpu(("fp32", 1e13), ("bf16", 5e13))


def planned(
    usable_bytes: int, method: str = "full", goal: Goal = "balanced", machine: Machine = BOX, **settings: object
) -> Plan:
    device = replace(machine.device, usable_bytes=usable_bytes)
    return plan(
        QWEN, data(), replace(machine, device=device), goal=goal, method=method, limits=Limits(),
        settings=Settings(**settings),
    )  # fmt: skip


def need(made: Plan) -> float:
    return made.chosen.estimate.memory.peak_bytes.high


def rule_of(estimate: Estimate) -> str:
    return estimate.strategy.optimizer.name


def test_states_in_8_bit_are_tried_where_nothing_else_fits() -> None:
    plain = planned(100 * GIB, optimizer="adamw", goal="memory")
    thrifty = planned(100 * GIB, optimizer="adamw8bit", goal="memory")
    assert need(thrifty) < need(plain)
    between = int((need(plain) + need(thrifty)) / 2)
    with pytest.raises(NoPlan):
        planned(between, optimizer="adamw")
    made = planned(between)
    assert rule_of(made.chosen.estimate) == "adamw8bit"
    reason = made.chosen.reason.text("en")
    assert reason.endswith("Fits only with optimiser states in 8 bit: --optimizer adamw8bit.")
    assert rule_of(planned(100 * GIB).chosen.estimate) == "adamw"


def test_what_does_not_fit_either_way_is_refused() -> None:
    with pytest.raises(NoPlan) as caught:
        planned(1 * GIB)
    assert rule_of(caught.value.plan.chosen.estimate) == "adamw8bit"  # the nearest miss


def test_goal_memory_takes_them_where_they_are_much() -> None:
    assert rule_of(planned(100 * GIB, goal="memory").chosen.estimate) == "adamw8bit"
    assert rule_of(planned(100 * GIB, "head", goal="memory").chosen.estimate) == "adamw"
    assert rule_of(planned(100 * GIB, "lora", goal="memory").chosen.estimate) == "adamw"


def test_without_the_library_they_are_not_tried() -> None:
    poor = replace(BOX, quantises=False)
    assert rule_of(planned(100 * GIB, goal="memory", machine=poor).chosen.estimate) == "adamw"
    tpu = replace(BOX, device=replace(BOX.device, kind="npu"))
    assert rule_of(planned(100 * GIB, goal="memory", machine=tpu).chosen.estimate) == "adamw"


@pytest.mark.parametrize("rule", UPDATE_RULES, ids=lambda rule: rule.name)
def test_the_one_asked_for_is_taken_with_its_own_learning_rate(rule) -> None:
    strategy = planned(100 * GIB, optimizer=rule.name).chosen.estimate.strategy
    assert strategy.optimizer == rule()
    assert strategy.schedule.learning_rate == pytest.approx(method_named("full").learning_rate * rule.rate_share)
    asked = planned(100 * GIB, optimizer=rule.name, learning_rate=0.5).chosen.estimate.strategy
    assert asked.schedule.learning_rate == 0.5


def test_lion_takes_smaller_steps_and_more_decay() -> None:
    assert (Lion.rate_share, Lion().weight_decay / AdamW().weight_decay) == (0.2, 5)


def test_the_rules_are_in_order_of_their_memory() -> None:
    names = ("adamw", "lion", "adamw8bit", "adafactor")
    needs = [planned(100 * GIB, optimizer=name, precision="fp32", recompute=True, batch=1) for name in names]
    assert all(need(more) > need(less) for more, less in pairwise(needs))


def test_what_is_asked_of_the_loss_reaches_the_strategy() -> None:
    facts = replace(data(), label_counts=(3000, 1000))
    settings = Settings(decay="wsd", ema=0.99, label_smoothing=0.1, class_weights="balanced")
    strategy = plan(MINILM, facts, cpu(), settings=settings).chosen.estimate.strategy
    assert (strategy.schedule.decay, strategy.ema_decay, strategy.label_smoothing) == ("wsd", 0.99, 0.1)
    assert strategy.class_weights == pytest.approx((4000 / 6000, 2.0))
    plain = plan(MINILM, facts, cpu()).chosen.estimate.strategy
    assert (plain.ema_decay, plain.label_smoothing, plain.class_weights) == (None, 0.0, ())


@pytest.mark.parametrize(
    ("machine", "settings", "code"),
    [
        (cpu(), {"optimizer": "paged_adamw8bit"}, "TT-T086"),
        (replace(cpu(), quantises=False), {"optimizer": "adamw8bit"}, "TT-T085"),
        (replace(BOX, device=replace(BOX.device, kind="npu")), {"optimizer": "adamw8bit"}, "TT-P064"),
        (cpu(), {"optimizer": "adam"}, "TT-U040"),
        (cpu(), {"decay": "step"}, "TT-P060"),
        (cpu(), {"class_weights": "1,2"}, "TT-P061"),
        (cpu(), {"ema": 1.0}, "TT-P062"),
        (cpu(), {"ema": float("nan")}, "TT-P062"),
        (cpu(), {"label_smoothing": -0.1}, "TT-P062"),
    ],
)
def test_what_cannot_be_is_refused(machine: Machine, settings: dict[str, object], code: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan(MINILM, data(), machine, settings=Settings(**settings))
    assert caught.value.code == code


@pytest.mark.parametrize("settings", [{"label_smoothing": 0.1}, {"class_weights": "balanced"}])
def test_numbers_have_no_classes_to_weigh(settings: dict[str, object]) -> None:
    facts = replace(data(), task="regress", labels=(), label_counts=())
    with pytest.raises(UsageError) as caught:
        plan(MINILM, facts, cpu(), settings=Settings(**settings))
    assert caught.value.code == "TT-P063"


def test_a_rule_that_is_thrifty_is_adamw_by_other_means() -> None:
    assert (AdamW8bit().betas, AdamW8bit().epsilon) == (AdamW().betas, AdamW().epsilon)
    assert AdamW8bit.rate_share == AdamW.rate_share == 1.0
