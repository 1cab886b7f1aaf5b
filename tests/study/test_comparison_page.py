"""The page of a bake-off says what was found, whole and alone, in both languages, and no name can break it."""

import math
import re
from dataclasses import replace

import pytest
from bakeoff_cases import CASES, EVIL, FORMULA, measure, of_errors, rich, single, without_test
from parsed_page import Parsed

from trimtab.errors import message
from trimtab.study import comparison_facts as facts
from trimtab.study.bakeoff import Bakeoff, Baseline
from trimtab.study.comparison_page import comparison_html
from trimtab.study.frontier_chart import HEIGHT, WIDTH, frontier_drawing, predicted_drawing, short_name
from trimtab.study.labels import Box, place
from trimtab.study.next_commands import next_commands
from trimtab.study.page_parts import Words, chart_style
from trimtab.study.plane import Axis, plain_style
from trimtab.units import format_bytes, format_seconds

LANGUAGES = ("en", "zh")


def text_of(bakeoff: Bakeoff, language: str = "en") -> str:
    return " ".join(" ".join(Parsed(comparison_html(bakeoff, language)).text).split())


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("case", CASES)
def test_the_page_is_whole_and_needs_nothing_else(case: str, language: str) -> None:
    page = comparison_html(CASES[case](), language)
    page.encode("utf-8")
    parsed = Parsed(page)
    assert parsed.open_tags == []
    assert not {"script", "link", "img", "iframe", "object"} & set(parsed.tags)
    assert not [value for name, value in parsed.attributes if name == "src" or name.startswith("on")]
    links = [value for name, value in parsed.attributes if name == "href"]
    assert all(re.fullmatch(r"runs/[\w.%~-]+/report\.html", link) for link in links), links  # beside it
    assert "url(" not in page and "@import" not in page and "default-src 'none'" in page
    shown = " ".join(parsed.text)
    assert not re.search(r"\b(nan|inf|None|Infinity)\b", shown), "what is not known is left out"


def test_it_says_who_was_chosen_and_every_strategy_with_its_reason() -> None:
    bakeoff, text = rich(), text_of(rich())
    assert bakeoff.verdict.text() in text
    for standing in bakeoff.standings:
        assert standing.entrant.name in text
        assert standing.reason.text() in text, standing.entrant.name
        assert facts.status_word(standing).text() in text


@pytest.mark.parametrize("case", ["rich", "without_test", "of_errors", "single"])
def test_every_figure_of_those_measured_stands_on_the_page(case: str) -> None:
    bakeoff = CASES[case]()
    text = text_of(bakeoff)
    for one in bakeoff.measured:
        best = one.best
        assert best is not None
        for scored in (best.dev, best.test):
            if scored is not None:
                interval = f"{scored.low:.3f} – {scored.high:.3f}"
                assert f"{scored.value:.3f}" in text and interval in text
        for seconds in (best.train_seconds, best.predicted_seconds):
            assert format_seconds(seconds) in text
        for size in (best.peak_memory_bytes, best.predicted_memory_bytes, one.artifact_bytes):
            assert format_bytes(size) in text
        assert best.command in text
        for other in one.again:
            assert other.command in text


def test_differences_are_those_of_the_split_that_was_reported() -> None:
    text = text_of(rich())
    assert "+0.003" in text and "−0.009 … +0.015" in text, "0.919 against 0.916 of test"
    dev = text_of(without_test())
    assert "+0.004" in dev and "There is no test split" in dev, "0.932 against 0.928 of dev"
    assert "accuracy (test)" not in dev.split("Cheap baselines")[0]


def test_where_less_is_better_the_lower_error_is_drawn_higher() -> None:
    bakeoff = of_errors()
    drawn = frontier_drawing(bakeoff, "memory", Words("en")).inline()
    heights = {
        name: float(y)
        for y, name in re.findall(r'cy="([0-9.]+)" r="5" class="[a-z]+"><title>([a-z ]+?)[ (:]', drawn)
    }
    assert heights["full"] < heights["lora"] < heights["head"]  # 0.268, 0.272, 0.358, from the top


def test_points_stand_where_their_figures_are() -> None:
    """Memory is linear on this axis: distances between points are as those between figures."""
    bakeoff = rich()
    drawn = frontier_drawing(bakeoff, "memory", Words("en")).inline()
    places = [float(x) for x in re.findall(r'<circle cx="([0-9.]+)" cy="[0-9.]+" r="5"', drawn)]
    full, lora, head = sorted(places, reverse=True)
    assert (full - lora) / (lora - head) == pytest.approx((1.92 - 1.21) / (1.21 - 0.61), rel=0.02)
    ghosts = [float(x) for x in re.findall(r'<circle cx="([0-9.]+)" cy="[0-9.]+" r="4" class="ghost"', drawn)]
    assert len(ghosts) == 4 and min(ghosts) == pytest.approx(head - (0.01 / 0.71) * (full - lora), abs=0.3)


def test_the_frontier_in_a_plane_by_hand() -> None:
    """Of memory all four stand; once the head is as good as freezing, freezing is beaten."""
    bakeoff = rich()
    names = [one.entrant.name for one in facts.stands_in_plane(bakeoff, "memory")]
    assert names == ["head", "freeze (top 2)", "lora", "full"]
    chosen, full, freeze, head, *rest = bakeoff.standings
    assert head.best is not None and freeze.best is not None
    better = replace(head, best=replace(head.best, dev=freeze.best.dev))
    changed = replace(bakeoff, standings=(chosen, full, freeze, better, *rest))
    names = [one.entrant.name for one in facts.stands_in_plane(changed, "seconds")]
    assert names == ["head", "lora", "full"]


def test_a_baseline_that_would_flatten_the_points_is_told_beside_them() -> None:
    drawn = frontier_drawing(rich(), "memory", Words("en")).inline()
    assert drawn.count('class="base"') == 1 and "bag of words 0.811" in drawn
    assert "majority 0.352, below" in drawn


def test_the_frontier_of_predictions_has_every_strategy_hollow() -> None:
    drawn = predicted_drawing(rich(), "seconds", Words("en")).inline()
    assert drawn.count('class="ghost"') == len(rich().standings)
    assert 'class="front"' not in drawn and "qlora" in drawn


@pytest.mark.parametrize("seed", range(6))
def test_labels_lie_on_no_other_and_inside(seed: int) -> None:
    """Ten names around points that crowd in a corner."""
    field = Box(48, 22, 436, 270)
    points = [(150 + 9 * ((at * (seed + 3)) % 10), 120 + 8 * ((at * 7 + seed) % 10)) for at in range(10)]
    placed = place([(f"strategy {at} (top 2)", point) for at, point in enumerate(points)], field)
    assert len(placed) == 10
    assert all(label.box.within(field) for label in placed)
    boxes = [label.box for label in placed]
    assert not [(a, b) for at, a in enumerate(boxes) for b in boxes[at + 1 :] if a.meets(b)]


def test_labels_of_points_outside_are_moved_inside() -> None:
    field = Box(0, 0, 300, 100)
    (label,) = place([("a name", (500.0, 500.0))], field)
    assert label.box.within(field)


@pytest.mark.parametrize(("low", "high", "flipped"), [(0.2, 0.9, False), (0.2, 0.9, True)])
def test_an_axis_ends_where_it_says(low: float, high: float, flipped: bool) -> None:
    axis = Axis(low=low, high=high, flipped=flipped)
    assert axis.share(low) == pytest.approx(float(flipped)) and axis.share(high) == pytest.approx(1 - flipped)
    assert 3 <= len(axis.ticks()) <= 6


def test_sizes_far_apart_are_drawn_in_logarithms() -> None:
    wide, near = Axis.of_sizes([3.0, 300.0]), Axis.of_sizes([3.0, 6.0])
    assert wide.logarithmic and not near.logarithmic
    assert wide.share(30.0) == pytest.approx(0.5)
    assert set(wide.ticks()) <= {2, 5, 10, 20, 50, 100, 200}


def test_the_predicted_time_of_a_training_that_stopped_early_is_for_its_steps() -> None:
    """4,000 rows in batches of 32 for 3 epochs are 375 steps; 75 of them were run."""
    chosen = rich().chosen
    assert chosen.best is not None
    stopped = replace(chosen, best=replace(chosen.best, steps=75, train_seconds=35.0))
    beside = facts.seconds_beside(stopped)
    assert beside is not None
    assert beside.predicted.value == pytest.approx(160.0 / 5)
    assert (beside.predicted.low, beside.predicted.high) == pytest.approx((0.8 * 32, 1.2 * 32))
    assert beside.error_share == pytest.approx(32 / 35 - 1)


def test_time_is_accounted_for_whole() -> None:
    bakeoff = rich()
    spent = facts.seconds_by_rung(bakeoff)
    assert sum(spent.values()) == pytest.approx(bakeoff.spent_seconds)
    best = [one.best for one in bakeoff.measured if one.best]
    assert spent["finals"] == pytest.approx(sum(result.seconds for result in best))
    assert format_seconds(spent["finals"]) in text_of(bakeoff)


def test_rates_are_told_each() -> None:
    page = comparison_html(rich())
    assert "lora: accuracy by learning rate: 1.7e-4: 0.818, 5e-4: 0.878, 1.5e-3: 0.883, 4.5e-3: 0.728" in page
    assert page.count('class="failed"') == 6, "three crosses of two strokes"


@pytest.mark.parametrize(
    ("rate", "words"), [(3e-4, "3e-4"), (1.5e-3, "1.5e-3"), (1 / 3, "3.3e-1"), (0.0, "0.0"), (math.nan, "nan")]
)
def test_rates_are_short(rate: float, words: str) -> None:
    assert facts.rate_words(rate) == words


def test_chinese_is_chinese_throughout() -> None:
    text = text_of(replace(rich(), standings=rich().standings[:1]), "zh")
    assert "微调策略对比" in text and "前沿" in text and "已选" in text
    for word in ("predicted", "measured", "The ", " rows", "chosen", "interval", "knee", "seeds", "training"):
        assert word not in text, word


def test_no_name_can_break_out() -> None:
    page = comparison_html(CASES["hostile"]())
    parsed = Parsed(page)
    assert "<script" not in page and parsed.open_tags == []
    text = "".join(parsed.text)
    assert EVIL in text and FORMULA in text, "shown as it is, not dropped"


def test_a_bakeoff_without_a_training_in_earnest_still_has_a_page() -> None:
    bakeoff = replace(rich(), standings=rich().standings[4:])
    text = text_of(bakeoff)
    assert "Every strategy" in text and "The frontier" not in text


def test_one_strategy_alone_needs_no_frontier_line() -> None:
    page = comparison_html(single())
    assert 'class="step"' not in page.split("</style>")[1]
    assert "Cheap baselines" not in page


def test_more_time_than_was_asked_for_is_marked() -> None:
    assert 'class="bad">of 30 min' in comparison_html(replace(rich(), spent_seconds=1900.0))
    assert 'class="bad">of 30 min' not in comparison_html(rich())


def test_notices_are_told_with_what_to_do() -> None:
    notice = message("TT-D061", count=37)
    text = text_of(without_test())
    assert notice.text() in text and notice.next_step() in text


def test_next_commands_are_those_of_what_was_kept() -> None:
    commands = dict(next_commands(rich()))
    assert commands["TT-B174"] == "trimtab predict runs/compared/lora-0 --text ..."
    assert commands["TT-B175"] == "trimtab serve all-MiniLM-L6-v2 --adapter mine=runs/compared/lora-0"
    assert "--data data/reviews.csv" in commands["TT-B176"], "as it was typed"
    whole = replace(rich(), standings=rich().standings[1:])
    assert dict(next_commands(whole))["TT-B175"] == "trimtab serve runs/compared/full-0"


def test_charts_that_stand_alone_know_no_variables() -> None:
    style = plain_style(chart_style())
    assert "var(" not in style and "--" not in style
    assert "#0e7c6b" in style and "#3fb59f" in style.split("@media")[1]


def test_the_drawing_is_as_large_as_it_says() -> None:
    drawing = frontier_drawing(rich(), "seconds", Words("en"))
    assert (drawing.width, drawing.height) == (WIDTH, HEIGHT)
    numbers = [float(x) for x in re.findall(r' (?:x|cx|x1|x2)="([0-9.-]+)"', drawing.inline())]
    assert min(numbers) >= 0 and max(numbers) <= WIDTH


@pytest.mark.parametrize("longest", [5, 16, 22])
def test_a_long_name_keeps_its_end(longest: int) -> None:
    cut = short_name("all-MiniLM-L6-v2: lora (top 2)", longest)
    assert len(cut) == longest and cut.startswith("a") and cut.endswith("2)") and "…" in cut
    assert short_name("lora", longest) == "lora"


def test_a_baseline_that_does_better_is_told_at_the_top() -> None:
    words = facts.better_baseline(rich())
    assert words is None, "0.803 of the bag of words against 0.916"
    strong = replace(rich(), baselines=(Baseline(name="bag of words", seconds=1.9, test=measure(0.93, 1000)),))
    top = text_of(strong).split("The frontier")[0]
    assert "bag of words needs 1.9 s and scores 0.930, more than what was chosen (0.916)" in top
    errors = of_errors()  # of its metric less is better
    worse = Baseline(name="majority", dev=measure(0.9, lower=True, name="rmse"))
    assert facts.better_baseline(replace(errors, baselines=(worse,))) is None


@pytest.mark.parametrize(
    ("model", "short"), [("/models/mini-lm/", "mini-lm"), ("org/mini-lm", "org/mini-lm"), ("./m", "m"), ("/", "/")]
)
def test_a_folder_is_told_by_its_name(model: str, short: str) -> None:
    assert facts.short_model(model) == short
