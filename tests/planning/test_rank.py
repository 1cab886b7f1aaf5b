"""What a goal prefers, and what the others are told, in numbers computed by hand."""

import re

import pytest
from planning_cases import guess

from trimtab.planning.plan import GOALS
from trimtab.planning.rank import preference, why_chosen, why_not


def test_balanced_trades_a_point_for_a_quarter_more_time() -> None:
    base = guess(seconds=1000, quality=0)
    assert preference("balanced", guess(seconds=1249, quality=1)) < preference("balanced", base)
    assert preference("balanced", guess(seconds=1251, quality=1)) > preference("balanced", base)
    # ten points are worth 1.25^10 = 9.3 times the time
    assert preference("balanced", guess(seconds=9300, quality=10)) < preference("balanced", base)
    assert preference("balanced", guess(seconds=9400, quality=10)) > preference("balanced", base)


def test_balanced_gives_no_quality_for_seconds() -> None:
    better = guess(seconds=59, quality=0)
    assert preference("balanced", better) < preference("balanced", guess(seconds=1, quality=-0.1))


def test_each_goal_has_its_own_first_number() -> None:
    small, fast, good = (
        guess(gib=1, seconds=90, quality=-5),
        guess(gib=2, seconds=80, quality=-9),
        guess(gib=3),
    )
    best = {goal: min((small, fast, good), key=lambda e, g=goal: preference(g, e)) for goal in GOALS}
    assert (best["memory"], best["time"], best["quality"], best["money"]) == (small, fast, good, fast)


@pytest.mark.parametrize(
    ("goal", "other", "english", "chinese"),
    [
        (
            "balanced",
            guess(seconds=1380, quality=0.3),
            "2.3x slower (23 min against 10 min); +0.3 points of quality expected.",
            "用时是其 2.3 倍（23 min，所选方案 10 min）；预期质量 +0.3 个百分点。",
        ),
        (
            "balanced",
            guess(seconds=390, quality=-2),
            "-2.0 points of quality expected; 35.0 % less time (6 min 30 s against 10 min).",
            "预期质量 -2.0 个百分点；用时少 35.0 %（6 min 30 s，所选方案 10 min）。",
        ),
        (
            "memory",
            guess(gib=1.5, seconds=600),
            "512 MiB more memory (1.5 GiB against 1.0 GiB); the same time (10 min).",
            "内存多 512 MiB（1.5 GiB，所选方案 1.0 GiB）；用时相同（10 min）。",
        ),
        (
            "quality",
            guess(seconds=1200, quality=0),
            "the same quality expected; 2.0x slower (20 min against 10 min).",
            "预期质量相同；用时是其 2.0 倍（20 min，所选方案 10 min）。",
        ),
        (
            "money",
            guess(seconds=900, quality=1),
            "1.5x dearer (1.50 CNY against 1.00 CNY); +1.0 points of quality expected.",
            "费用是其 1.5 倍（1.50 CNY，所选方案 1.00 CNY）；预期质量 +1.0 个百分点。",
        ),
        (
            "money",
            guess(seconds=600, quality=-1),
            "the same cost (1.00 CNY); -1.0 points of quality expected.",
            "费用相同（1.00 CNY）；预期质量 -1.0 个百分点。",
        ),
        (
            "quality",
            guess(seconds=618, quality=0.04),
            "the same quality expected; 3.00 % more time (10 min 18 s against 10 min).",
            "预期质量相同；用时多 3.00 %（10 min 18 s，所选方案 10 min）。",
        ),
        (
            "money",
            guess(seconds=624, quality=-0.04),
            "4.00 % dearer (1.04 CNY against 1.00 CNY); the same quality expected.",
            "费用多 4.00 %（1.04 CNY，所选方案 1.00 CNY）；预期质量相同。",
        ),
    ],
)
def test_reasons_are_in_numbers(goal: str, other: object, english: str, chinese: str) -> None:
    reason = why_not(goal, other, guess(gib=1, seconds=600, quality=0))
    assert reason.text("en") == english
    assert reason.text("zh") == chinese


@pytest.mark.parametrize("goal", ["quality", "money"])
@pytest.mark.parametrize("seconds", [600, 3, 86400])
def test_no_ratio_is_told_that_is_none(goal: str, seconds: float) -> None:
    """ "1.0x slower (10 min against 10 min)" says nothing; and a share is told only where the figures differ."""
    for share in (1.002, 1.006, 1.01, 1.03, 1.049, 1.06, 1.099, 1.101, 1.5):
        reason = why_not(goal, guess(seconds=share * seconds), guess(seconds=seconds)).text()
        assert "1.0x" not in reason
        figures = re.search(r"\((.*) against (.*)\)", reason)
        assert figures is None or figures[1] != figures[2]
        assert (figures is None) == ("the same time" in reason or "the same cost" in reason)


def test_the_chosen_one_says_what_it_won() -> None:
    assert why_chosen("time", 5).text() == "The fastest of the 5 that fit."
    assert why_chosen("money", 5).text() == "The cheapest of the 5 that fit."
    assert "25% more time" in why_chosen("balanced", 5).text()
    assert why_chosen("quality", 1).text() == "The only one that fits."
