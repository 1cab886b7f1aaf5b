"""Which of several models: the goal decides, and what does not fit comes last."""

import math
from dataclasses import replace

import pytest

from trimtab.data.spec import DataSpec, LengthHistogram
from trimtab.hardware import machine_named
from trimtab.models import shape_named
from trimtab.planning import Candidate, Goal, Limits, Request, compare, rank_models
from trimtab.planning.models import POINTS_A_DOUBLING, expected_points

SMALL, BASE, LARGE = (shape_named(name) for name in ("minilm-l6-h384", "bert-base-uncased", "bert-large-uncased"))
DATA = DataSpec(
    name="d", task="classify", columns=("text",), label_column="label", labels=("a", "b"),
    label_counts=(5000, 5000),
    train_rows=10_000, dev_rows=1000, test_rows=0, lengths=LengthHistogram((0,) * 64 + (10_000,)),
)  # fmt: skip


def chosen(*models, goal: Goal = "balanced", limits: Limits = Limits()):  # type: ignore[no-untyped-def]
    machine = machine_named("laptop-16g")
    requests = [Request(spec=m, data=DATA, machine=machine, goal=goal, limits=limits) for m in models]
    return [(request.spec, compare(request).chosen) for request in requests]


def order(goal: Goal, limits: Limits = Limits()) -> list[str]:
    rows = rank_models(chosen(BASE, SMALL, LARGE, goal=goal, limits=limits), goal)
    return [row.model.name for row in rows]


@pytest.mark.parametrize("goal", ["memory", "time"])
def test_the_smallest_is_the_leanest_and_the_fastest(goal: Goal) -> None:
    assert order(goal) == [SMALL.name, BASE.name, LARGE.name]


def test_the_largest_is_expected_to_be_the_best() -> None:
    assert order("quality") == [LARGE.name, BASE.name, SMALL.name]


def test_what_does_not_fit_comes_last_whatever_the_goal() -> None:
    room = Limits(memory_bytes=1700 * 2**20)
    assert order("quality", room)[-1] == LARGE.name
    rows = rank_models(chosen(BASE, SMALL, LARGE, goal="quality", limits=room), "quality")
    assert [row.candidate.fits for row in rows] == sorted((row.candidate.fits for row in rows), reverse=True)


def test_points_fall_by_the_published_rule() -> None:
    """Half the parameters: 1.3 points less, from 3 to 0."""
    candidate: Candidate = chosen(BASE)[0][1]
    prior = candidate.estimate.quality.relative
    whole = expected_points(candidate.estimate, BASE, BASE.parameters)
    assert (whole.value, whole.low, whole.high) == (prior.value, prior.low, prior.high)
    half = expected_points(candidate.estimate, BASE, 2 * BASE.parameters)
    low, typical, high = POINTS_A_DOUBLING
    assert half.value == pytest.approx(prior.value - typical)
    assert half.low == pytest.approx(prior.low - high) and half.high == pytest.approx(prior.high - low)
    published = (91.06 - 86.40) / math.log2(1500 / 125)
    assert typical == pytest.approx(published, abs=0.05)


def test_the_order_of_the_question_does_not_matter() -> None:
    forward = rank_models(chosen(SMALL, BASE, LARGE), "balanced")
    backward = rank_models(chosen(LARGE, BASE, SMALL), "balanced")
    assert [row.model.name for row in forward] == [row.model.name for row in backward]


def test_equal_models_tie_without_a_fault() -> None:
    twin = replace(BASE, name="twin")
    assert len(rank_models(chosen(BASE, twin), "balanced")) == 2
