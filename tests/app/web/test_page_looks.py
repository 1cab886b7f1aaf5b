"""Ledger, costs, comparisons and the charts: what they show is what the facade has found."""

import json
import re

import pytest

from page_asked import Asked
from trimtab import study
from trimtab.app.web.bakeoffs import BakeoffAsked, BakeoffFollower
from trimtab.app.web.drawings import (
    HALF,
    NARROW,
    WIDE,
    Axis,
    Pair,
    Point,
    Series,
    agreement,
    byte_ticks,
    curves,
    frontier,
    gauge,
    time_ticks,
)
from trimtab.units import Evidence, Figure, format_bytes, format_seconds

TRIAL = {"entrant": "lora", "rung": 0, "rows": 500, "learning_rate": 1e-3, "kept": False}
BAKEOFF = (
    {"event": "bakeoff_started", "metric": "accuracy", "budget_seconds": 100.0, "entrants": [{"name": "lora"}]},
    {"event": "baseline_done", "baseline": {"name": "majority", "dev": {"value": 0.5}}},
    {"event": "trial_started", "trial": TRIAL, "left_seconds": 80.0},
    {"event": "trial_step", "trial": TRIAL, "step": 5, "steps": 10, "loss": 1.0},
)
DONE = {
    "event": "trial_done",
    "result": {"trial": TRIAL, "seconds": 9.0, "dev": {"value": 0.8, "low": 0.7, "high": 0.9}, "failure": None},
}


def test_the_ledger_shows_the_scoreboard(page: Asked) -> None:
    text = page.get("/ledger").text
    board = study.ledger().scoreboard
    assert text.count("<tr>") == len(board) + 1 and board[0].source in text


@pytest.mark.parametrize("question", ["train", "serve", "total"])
def test_a_cost_is_that_of_the_verb(page: Asked, reviews: str, question: str) -> None:
    said = f"model=bert-base-chinese&data={reviews}&on=t4&runs=2&per_day=200000&months=6&api_price=2CNY/8CNY"
    text = page.part(f"/cost/{question}?{said}")
    assert "<tbody>" in text, text
    command = re.search(r'data-copy="trimtab cost ([^"]*)"', text)
    assert command is not None and command[1].startswith(f"{question} bert-base-chinese")
    if question == "train":
        found = study.cost_train("bert-base-chinese", data=str(page.folder / "reviews.csv"), on="t4", runs=2)
        assert text.count('<th scope="row">') == len(found.offers)
        assert found.offers[0].offer.provider in text


def test_a_cost_that_cannot_be_read_is_said(page: Asked) -> None:
    for said in ("runs=many", "on=abacus", "data=../x"):
        assert 'role="alert"' in page.part(f"/cost/train?model=bert-base-chinese&{said}")
    assert "<tbody>" in page.get("/cost/serve?model=bert-base-chinese&on=t4").text, "a form sent without a script"


def test_a_bakeoff_is_followed(page: Asked) -> None:
    child = page.child(*BAKEOFF, words=("compare", "--data", "demo"), kind="compare")
    child.errors.write_text('{"error": {"code": "TT-T041", "text": "stopped", "next": ""}}')
    state = BakeoffFollower(child).state()
    assert (state.phase, state.metric, state.entrants) == ("stopped", "accuracy", ("lora",))
    child = page.child(*BAKEOFF, DONE, words=("compare", "--data", "demo"), kind="compare")
    state = BakeoffFollower(child).state()
    assert state.done[0].value == 0.8 and state.baselines == (("majority", 0.5),)
    shown = page.get(f"/compare/{child.id}").text
    assert "0.800" in shown and "0.700–0.900" in shown and "trimtab compare --data demo" in shown


def test_a_finished_comparison_is_listed_and_shown(page: Asked, tmp_path) -> None:
    place = page.folder / "runs/c1"
    place.mkdir(parents=True)
    facts = {
        "data": {"name": "<script>alert(1)</script>"}, "verdict": {"text": "lora is best"},
        "standings": [{"entrant": {"name": "lora"}}], "created_at": "2026-11-28T10:00:00",
    }  # fmt: skip
    (place / "comparison.json").write_text(json.dumps(facts))
    (place / "comparison.html").write_text("<h1>best</h1>")
    (page.folder / "runs/c2").mkdir()
    (page.folder / "runs/c2/comparison.json").write_text("[]")
    shown = page.get("/compare").text
    assert "lora is best" in shown and "<script>alert" not in shown and "at=runs/c2" not in shown
    answer = page.get("/compare/page?at=runs/c1")
    assert answer.text == "<h1>best</h1>" and "frame-ancestors 'self'" in answer.headers["content-security-policy"]
    (tmp_path / "comparison.html").write_text("secret")
    for at in ("..", str(tmp_path), "runs/none", ""):
        assert "secret" not in page.get(f"/compare/page?at={at}").text


def test_the_words_that_start_a_comparison() -> None:
    asked = BakeoffAsked(models=("demo",), data="x.csv", out="runs/c", time="15m", methods="lora,full")
    told = ["demo", "--data", "x.csv", "--out", "runs/c", "--methods", "lora,full", "--time", "15m"]
    assert asked.words == ["compare", *told]
    several = BakeoffAsked(models=("a", "./b"), data="demo", out="runs/c")
    assert several.words == ["compare", "--models", "a,./b", "--data", "demo", "--out", "runs/c"]


def figure(value: float) -> Figure:
    return Figure(value, value * 0.8, value * 1.25, Evidence.FORMULA)


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_points_and_labels_stay_inside_and_apart(width: int) -> None:
    """Labels are placed by a guess of their width; here letters are counted anew."""
    names = [f"method {n}" for n in range(14)]
    points = [
        Point(
            x=figure(30.0 * 1.4**n), y=Figure(-15 + n, -25 + n, -14 + n, Evidence.RULE), label=name, style="fits"
        )
        for n, name in enumerate(names)
    ]
    axis = Axis("time", format_seconds, time_ticks, limit=200.0)
    drawn = frontier("t", points, axis, "points", width)
    assert drawn.count("<circle") == 14 and "NaN" not in drawn and 'class="limit"' in drawn
    boxes = []
    for x, y, style, text in re.findall(r'<text x="([\d.]+)" y="([\d.]+)" class="label ([^"]*)">([^<]*)<', drawn):
        left = float(x) - {"end": 1.0, "middle": 0.5}.get(style.split()[-1], 0.0) * 6.6 * len(text)
        assert left >= -1 and left + 6.6 * len(text) <= width + 1, text
        boxes.append((left, float(y) - 12, left + 6.6 * len(text), float(y) + 1))
    assert len(boxes) >= 6
    for at, (left, top, right, bottom) in enumerate(boxes):
        for other in boxes[at + 1 :]:
            assert not (left < other[2] and other[0] < right and top < other[3] and other[1] < bottom)
    for cx, cy in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', drawn):
        assert 0 <= float(cx) <= width and 0 <= float(cy) <= 400


def test_one_point_and_equal_points_are_drawn() -> None:
    axis = Axis("memory", format_bytes, byte_ticks)
    for points in ([1.0], [5e9, 5e9], [1e3, 1e12]):
        made = [Point(x=Figure(x, x, x, Evidence.RULE), y=figure(1.0), label="a", style="chosen") for x in points]
        assert frontier("t", made, axis, "up", WIDE).count("<circle") == len(points)


def test_curves_gauges_and_pairs_hold_odd_numbers() -> None:
    axis = Axis("time", format_seconds, time_ticks)
    assert "<svg" in curves("t", [Series(((1.0, 0.0),), "loss", "loss")], 0, "steps", HALF)
    assert curves("t", [Series(((1.0, float("nan")),), "loss", "loss")], 5, "steps", HALF) == ""
    assert "nan" not in gauge("t", 0.0, figure(10.0), format_bytes, 300)
    assert "nan" not in gauge("t", 1e15, figure(10.0), format_bytes, 300)
    assert agreement("t", [Pair(1.0, 1.0, True, "x")], axis, "a", "b", HALF).count('class="pair in"') == 1


def test_axes_have_round_values() -> None:
    assert time_ticks(20, 900, 7) == [30, 60, 180, 600]
    assert byte_ticks(3e8, 5e9, 7) == [2.0**29, 2.0**30, 2.0**31, 2.0**32]
    assert time_ticks(1.2, 1.3, 3) and byte_ticks(5e8, 5.2e8, 3)
