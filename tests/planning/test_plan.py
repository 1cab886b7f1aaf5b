"""The verb: properties that hold for any machine and limit, and the answers to one real question."""

import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planning_cases import MINILM, cpu, data, gpu, price

from trimtab.data import RowTexts
from trimtab.methods import Choices
from trimtab.models import shape_named
from trimtab.planning import GOALS, Goal, Limits, NoPlan, Plan, Request, Settings, compare, plan
from trimtab.planning.rank import preference
from trimtab.units import GIB, MIB, Money, parse_money

SIZES = st.integers(min_value=300 * MIB, max_value=6 * GIB)


def made(**question: object) -> Plan:
    """The plan, or the table of what did not fit."""
    try:
        return plan(MINILM, data(length=500), **question)
    except NoPlan as refusal:
        return refusal.plan


@settings(max_examples=25, deadline=None)
@given(usable=SIZES, seconds=st.one_of(st.none(), st.floats(10, 1e5)), goal=st.sampled_from(GOALS))
def test_the_chosen_one_is_within_limits(usable: int, seconds: float | None, goal: Goal) -> None:
    answer = made(machine=cpu(), goal=goal, limits=Limits(memory_bytes=usable, seconds=seconds))
    for candidate in answer.candidates:
        estimate = candidate.estimate
        within = estimate.memory.peak_bytes.high <= usable
        within &= seconds is None or estimate.time.total_seconds.high <= seconds
        assert candidate.fits == within
        assert estimate.strategy.batch == 32
    if any(candidate.fits for candidate in answer.candidates):
        assert answer.chosen.fits


@settings(max_examples=25, deadline=None)
@given(sizes=st.tuples(SIZES, SIZES), goal=st.sampled_from(GOALS))
def test_more_memory_never_makes_the_plan_worse(sizes: tuple[int, int], goal: Goal) -> None:
    less, more = (made(machine=cpu(size), goal=goal) for size in sorted(sizes))
    if less.chosen.fits:
        assert more.chosen.fits
        assert preference(goal, more.chosen.estimate) <= preference(goal, less.chosen.estimate)


@settings(max_examples=10, deadline=None)
@given(usable=SIZES, goal=st.sampled_from(GOALS))
def test_the_same_question_has_the_same_answer(usable: int, goal: Goal) -> None:
    assert made(machine=cpu(usable), goal=goal) == made(machine=cpu(usable), goal=goal)


def test_the_table_is_in_order_of_preference_with_one_row_a_variant() -> None:
    for goal in GOALS:
        answer = made(machine=cpu(), goal=goal)
        assert len(answer.candidates) == 14
        feasible = [preference(goal, c.estimate) for c in answer.candidates if c.fits]
        assert feasible == sorted(feasible)
        assert answer.candidates[0] is answer.chosen


def test_the_goals_pull_apart() -> None:
    by_goal = {goal: made(machine=cpu(), goal=goal).chosen.estimate for goal in GOALS}
    assert by_goal["quality"].strategy.method == "full"
    assert by_goal["time"].strategy.method == "head"
    peaks = {goal: estimate.memory.peak_bytes.value for goal, estimate in by_goal.items()}
    seconds = {goal: estimate.time.total_seconds.value for goal, estimate in by_goal.items()}
    assert peaks["memory"] == min(peaks.values()) < peaks["quality"]
    assert seconds["time"] == min(seconds.values()) < seconds["quality"]


def test_nothing_fits_says_what_would() -> None:
    with pytest.raises(NoPlan) as caught:
        plan(MINILM, data(length=500), cpu(), limits=Limits(memory_bytes=64 * MIB))
    error = caught.value
    assert error.exit_code == 3 and error.code == "TT-P020"
    assert len(error.plan.candidates) == 14 and not any(c.fits for c in error.plan.candidates)
    advised = next(advice for advice in error.message.fact("advice") if advice.code == "TT-P030")
    enough = Limits(memory_bytes=advised.fact("mebibytes") * MIB)
    assert plan(MINILM, data(length=500), cpu(), limits=enough).chosen.fits


def test_every_piece_of_time_advice_works() -> None:
    question = {"machine": cpu(), "method": "full"}
    whole = plan(MINILM, data(length=500), **question).chosen.estimate.time.total_seconds.high
    limits = Limits(seconds=whole / 2)
    with pytest.raises(NoPlan) as caught:
        plan(MINILM, data(length=500), limits=limits, **question)
    advised = {advice.code: advice for advice in caught.value.message.fact("advice")}
    assert set(advised) == {"TT-P031", "TT-P032", "TT-P033", "TT-P034"}
    epochs, length = advised["TT-P034"].fact("epochs"), advised["TT-P033"].fact("length")
    for wish in (Settings(epochs=epochs), Settings(max_length=length)):
        assert plan(MINILM, data(length=500), limits=limits, settings=wish, **question).chosen.fits
    assert advised["TT-P033"].fact("cut") == 0.5  # half of the texts are 500 tokens long, half 10


def test_every_piece_of_money_advice_works() -> None:
    question = {"machine": cpu(), "method": "full"}
    whole = plan(MINILM, data(length=500), **question).chosen.estimate.money
    limits = Limits(money=Money(whole.usd.high / 2, "USD"))
    with pytest.raises(NoPlan) as caught:
        plan(MINILM, data(length=500), limits=limits, **question)
    assert caught.value.plan.chosen.reason.code == "TT-P105"
    advised = {advice.code: advice for advice in caught.value.message.fact("advice")}
    assert set(advised) == {"TT-P032", "TT-P033", "TT-P034", "TT-P037"}
    enough = Limits(money=parse_money(advised["TT-P037"].fact("amount")))
    assert whole.usd.high < enough.money.amount < whole.usd.high + 0.011
    assert plan(MINILM, data(length=500), limits=enough, **question).chosen.fits
    fewer = Settings(epochs=advised["TT-P034"].fact("epochs"))
    assert plan(MINILM, data(length=500), limits=limits, settings=fewer, **question).chosen.fits


def test_what_a_run_costs_is_its_time_at_the_price_of_the_machine() -> None:
    for candidate in made(machine=cpu()).candidates:
        money, seconds = candidate.estimate.money, candidate.estimate.time.total_seconds
        assert money.price == price()
        assert money.cny.high == pytest.approx(seconds.high / 600)  # 6 CNY an hour
        assert money.usd.low == pytest.approx(seconds.low / 600 / 7.2)
    assert made(machine=replace(cpu(), price=None)).chosen.estimate.money is None


def test_to_compare_is_to_plan_without_advice() -> None:
    request = Request(spec=MINILM, data=data(), machine=cpu())
    assert compare(request) == plan(MINILM, data(), cpu())
    tight = replace(request, limits=Limits(memory_bytes=64 * MIB))
    nearest = compare(tight).chosen
    assert not nearest.fits and nearest.reason.code == "TT-P102"


def test_recompute_is_named_where_it_decides() -> None:
    forced = {"machine": cpu(), "goal": "time", "method": "full"}
    plain = Settings(recompute=False, optimizer="adamw")
    least_without = made(**forced | {"goal": "memory"}, settings=plain).chosen.estimate
    limit = Limits(memory_bytes=int(least_without.memory.peak_bytes.high) - 1)
    tight = made(**forced, limits=limit)
    assert tight.chosen.fits and tight.chosen.estimate.strategy.recompute
    assert tight.chosen.reason.code == "TT-P210"
    assert made(**forced).chosen.reason.code != "TT-P210"


def test_choices_reach_the_parts() -> None:
    answer = made(machine=cpu(), method="lora", choices=Choices(rank=4, top_layers=2))
    (only,) = answer.candidates
    assert (only.estimate.strategy.parts[0].rank, only.estimate.strategy.parts[0].top_layers) == (4, 2)


def test_qlora_is_the_plan_where_lora_does_not_fit() -> None:
    """Qwen2.5 7B in bf16 is 15 GB: on 24 GB LoRA trains it, on 12 GB only a base in few bits fits at all."""
    spec, peaks = shape_named("qwen2.5-7b"), (("fp32", 1.3e13), ("bf16", 2.6e13))
    small = plan(spec, data(), gpu(*peaks, usable_bytes=12 * GIB))
    assert [c.estimate.strategy.method for c in small.candidates if c.fits] == ["qlora"]
    assert small.chosen.estimate.strategy.precision == "bf16"
    large = plan(spec, data(), gpu(*peaks, usable_bytes=24 * GIB))
    assert large.chosen.estimate.strategy.method == "lora"
    assert {c.estimate.strategy.method for c in large.candidates if c.fits} >= {"lora", "qlora"}


def test_a_plan_is_made_in_well_under_a_second() -> None:
    started = time.process_time()
    made(machine=cpu())
    assert time.process_time() - started < 1.0


def test_queries_meet_the_whole_batch_where_memory_holds_it() -> None:
    """Smaller micro-batches would be quicker, having less padding, and would teach less."""
    ranked = replace(
        data(), task="embed", labels=(), label_counts=(), form="ranked", texts=RowTexts(2.0, 2), label_column=""
    )
    micro = {}
    for usable in (GIB, 16 * GIB):
        made = plan(MINILM, ranked, cpu(usable), method="lora", settings=Settings(batch=64, max_length=64))
        micro[usable] = made.chosen.estimate.strategy.micro_batch
    assert micro[16 * GIB] == 64 > micro[GIB]
    assert {part.name for part in made.chosen.estimate.strategy.parts} == {"lora", "pooling"}
