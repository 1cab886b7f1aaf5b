"""The report says what happened, in JSON that any program reads and in HTML that no name can break."""

import json
import math
import re
from dataclasses import replace

import pytest
from parsed_page import Parsed
from report_cases import LABELS, report

from trimtab.metrics import Sample
from trimtab.study.report import Confusion, comparisons, report_html, report_json
from trimtab.units import GIB, Figure

EVIL = "<img src=x onerror=alert(1)>\"'&</td></style><script>alert(2)</script>"


# ---- facts ----


def test_json_is_strict_and_holds_what_programs_ask_for() -> None:
    facts = json.loads(json.dumps(report_json(report()), allow_nan=False))
    assert facts["plan"]["method"] == "lora"
    assert facts["plan"]["strategy"]["parts"][0] == {
        "part": "lora", "rank": 8, "alpha": 16, "dropout": 0.0, "targets": ["q", "v"], "variant": None,
        "top_layers": None,
    }  # fmt: skip
    assert facts["plan"]["estimate"]["memory"]["phase"] == "forward-backward"
    for name in ("seconds", "samples_per_second", "tokens_per_second", "peak_memory_bytes", "epochs"):
        assert facts["run"][name] > 0, name
    assert facts["scores"]["dev"]["metrics"][0]["name"] == "accuracy"
    assert facts["scores"]["test"]["n"] == 500
    assert facts["data"]["train_rows"] == 4000 and facts["problems"][0]["count"] == 37
    assert facts["versions"]["torch"] == "2.13.0" and facts["seed"] == 0
    assert facts["command"].startswith("trimtab train")
    assert len(facts["plan"]["candidates"]) == 4
    assert facts["plan"]["candidates"][3]["reason"]["code"] == "TT-P101"


def test_speed_is_of_training_alone() -> None:
    """12,000 examples of 41 tokens in 171.4 s, of which 9.7 s were evaluation."""
    run = report_json(report())["run"]
    assert run["samples_per_second"] == pytest.approx(12_000 / 161.7)
    assert run["tokens_per_second"] == pytest.approx(12_000 * 41 / 161.7)


def test_predicted_and_measured_by_hand() -> None:
    compared = report_json(report())["comparison"]
    assert compared["memory"]["predicted"] == pytest.approx(1.15 * GIB, rel=1e-6)
    assert compared["memory"]["error_share"] == pytest.approx(1.15 / 1.21 - 1, rel=1e-4)
    assert compared["memory"]["inside"] is True
    assert compared["time"]["measured"] == 171.4
    assert compared["time"]["error_share"] == pytest.approx(160 / 171.4 - 1)


def test_an_early_stop_is_compared_with_the_steps_that_were_run() -> None:
    stopped = report(steps=75)
    time = comparisons(stopped.plan, stopped.run)[1]
    assert time.predicted.value == pytest.approx(160 * 75 / 375)
    assert (time.predicted.low, time.predicted.high) == pytest.approx((128 * 0.2, 192 * 0.2))


def test_what_a_teacher_answers_before_is_compared_with_nothing() -> None:
    whole = report()
    candidate = whole.plan.chosen
    total = candidate.estimate.time.total_seconds
    asked = Figure(total.value / 4, total.low / 4, total.high / 4, total.evidence)
    time = replace(candidate.estimate.time, teacher_seconds=asked)
    memory = replace(candidate.estimate.memory, phase="ask")
    estimate = replace(candidate.estimate, time=time, memory=memory)
    plan = replace(whole.plan, candidates=(replace(candidate, estimate=estimate), *whole.plan.candidates[1:]))
    without = {row.quantity: row for row in comparisons(whole.plan, whole.run)}
    found = {row.quantity: row for row in comparisons(plan, whole.run)}
    assert found.keys() == {"time", "step"}, "the meter runs from the training on"
    assert found["time"].predicted.value == pytest.approx(0.75 * without["time"].predicted.value)
    assert found["time"].measured == without["time"].measured


def test_numbers_that_json_cannot_say_become_null() -> None:
    whole = report()
    first = replace(whole.run.history[0], loss=math.nan)
    broken = replace(whole, run=replace(whole.run, history=(first, *whole.run.history[1:])))
    assert report_json(broken)["run"]["history"][0]["loss"] is None
    assert "nan" not in report_html(broken).lower()


def test_most_confused_pairs() -> None:
    confusion = Confusion(labels=("a", "b", "c"), counts=((9, 2, 0), (0, 9, 5), (1, 0, 9)))
    assert confusion.most_confused(2) == (("b", "c", 5), ("a", "b", 2))


# ---- the page ----


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_is_whole_and_needs_nothing_else(language: str) -> None:
    page = report_html(report(), language)  # type: ignore[arg-type]
    parsed = Parsed(page)
    assert parsed.open_tags == []
    assert not {"script", "link", "img", "iframe", "object"} & set(parsed.tags)
    assert not [value for name, value in parsed.attributes if name in ("src", "href") or name.startswith("on")]
    assert "url(" not in page and "@import" not in page
    assert "default-src 'none'" in page
    assert f'lang="{"zh-CN" if language == "zh" else "en"}"' in page


def test_the_page_says_what_happened() -> None:
    text = " ".join(Parsed(report_html(report())).text)
    for words in (
        "reaches accuracy 0.916 (95 % interval 0.886 to 0.941) on 500 test rows",
        "2 min 51 s",
        "predicted 4.96 % too little",
        "best: step 250",
        "Needs up to 9.0 GiB, the machine has 6.0 GiB usable",
        "trimtab train all-MiniLM-L6-v2 --data reviews.csv",
        "cut at 96",
        "Arrived two days late",
        *LABELS,
    ):
        assert words in text, words


def test_chinese_is_chinese_throughout() -> None:
    """No English sentence of the catalogue may slip in: what is left in Latin letters is names and units."""
    text = " ".join(Parsed(report_html(report(), "zh")).text)
    assert "微调报告" in text and "预测偏低" in text
    for word in ("predicted", "measured", "The ", "rows", "chosen", "interval"):
        assert word not in text, word


def test_no_name_or_text_can_break_out() -> None:
    hostile = report(
        labels=tuple(f"{EVIL}{number}" for number in range(5)), model=EVIL, data=EVIL, command=EVIL, text=EVIL
    )
    parsed = Parsed(report_html(hostile))
    assert parsed.open_tags == []
    assert not {"script", "img"} & set(parsed.tags)
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]
    assert EVIL in "".join(parsed.text), "shown as it is, not dropped"


def test_what_does_not_print_is_shown_as_replaced() -> None:
    page = report_html(report(text="a\x00b\u202ec\ud800d"))
    page.encode("utf-8")
    assert "a\ufffdb\ufffdc\ufffdd" in page


def test_many_labels_and_candidates_are_folded() -> None:
    many = report(labels=tuple(f"label-{number}" for number in range(77)))
    extended = replace(many, plan=replace(many.plan, candidates=many.plan.candidates * 5))
    parsed = Parsed(report_html(extended))
    assert parsed.tags.count("details") == 2
    text = " ".join(parsed.text)
    assert "65 more labels" in text and "8 more candidates" in text
    assert "matrix" not in [value for name, value in parsed.attributes if name == "class"]


def test_bars_have_the_length_of_their_figures() -> None:
    """Measured over predicted memory is 1.21 / 1.15; so are the lengths of the two bars of the first
    chart."""
    page = report_html(report())
    chart = re.search(r"<svg.*?</svg>", page)
    assert chart
    widths = [float(width) for width in re.findall(r'<rect[^>]* width="([0-9.]+)"', chart[0])]
    assert len(widths) == 2
    assert widths[1] / widths[0] == pytest.approx(1.21 / 1.15, rel=0.005)


def test_a_report_without_test_set_labels_or_extras() -> None:
    whole = report()
    run = replace(whole.run, test=None, dev=replace(whole.run.dev, classes=()))
    data = replace(whole.data, task="regress", labels=(), label_counts=(), test_rows=0, problems=())
    page = report_html(replace(whole, run=run, data=data, worst=(), confusion=None))
    assert Parsed(page).open_tags == []
    assert "500 dev rows" in page
    assert "What was confused" not in page and "Worst examples" not in page


@pytest.mark.parametrize("language", ["en", "zh"])
def test_answers_are_shown_whole_and_harmless_with_what_came_before_training(language: str) -> None:
    sample = Sample(
        prompt=EVIL, expected="72", written=f"It is 72. {EVIL}", tokens=128, ended=False, exact=True, rouge_l=0.5
    )
    told = replace(report(), samples=(sample, replace(sample, exact=False, ended=True)), worst=(), confusion=None)
    told = replace(told, run=replace(told.run, untrained_metric=2.345))
    page = Parsed(report_html(told, language))
    assert page.open_tags == [] and "script" not in page.tags and "img" not in page.tags
    words = " ".join(page.text)
    assert EVIL in words and "128" in words and "2.345 →" in words
    facts = json.loads(json.dumps(report_json(told, language), allow_nan=False))
    assert facts["samples"][0]["written"].startswith("It is 72.") and facts["run"]["untrained_metric"] == 2.345


def test_a_training_that_helped_nothing_says_so() -> None:
    untouched = replace(report(), run=replace(report().run, best_step=0))
    said = "No evaluation was better than the model as it came"
    assert said in " ".join(Parsed(report_html(untouched)).text)
    assert said not in " ".join(Parsed(report_html(report())).text)
