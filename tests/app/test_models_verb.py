"""trimtab plan --models: which of several models, on a terminal and as JSON; refusals."""

import json

import pytest

MODELS = "bert-base-chinese,minilm-l6-h384,bert-large-uncased"


def test_a_row_a_model_in_order_of_preference(tt, reviews: str) -> None:
    shown = tt("plan", "--models", MODELS, "--data", reviews, "--on", "laptop-16g", "--goal", "memory")
    assert shown.code == 0
    places = [shown.out.index(name) for name in ("minilm-l6-h384", "bert-base-chinese", "bert-large-uncased")]
    assert places == sorted(places)
    assert "rule" in shown.out and "LoRA paper" in shown.out


def test_as_json(tt, reviews: str) -> None:
    shown = tt("plan", "--models", MODELS, "--data", reviews, "--on", "t4", "--json")
    facts = json.loads(shown.out)
    assert shown.code == 0 and len(facts["rows"]) == 3 and facts["goal"] == "balanced"
    row = facts["rows"][0]
    assert row["points"]["evidence"] == "rule" and row["points"]["low"] <= row["points"]["high"]
    assert row["candidate"]["estimate"]["memory"]["peak_bytes"]["value"] > 1e8
    assert row["candidate"]["estimate"]["money"]["cny"]["value"] > 0, "a T4 is rented out"


def test_one_that_cannot_be_trained_is_told_apart(tt, reviews: str) -> None:
    models = "bert-base-chinese,minilm-l6-h384,t5-base"
    shown = tt("plan", "--models", models, "--data", reviews, "--on", "laptop-16g")
    assert shown.code == 0 and "t5-base: TT-P018" in shown.err and "bert-base-chinese" in shown.out


def test_none_that_can_be_trained_is_the_first_refusal(tt, reviews: str) -> None:
    shown = tt("plan", "--models", "t5-base,albert-base-v2", "--data", reviews, "--on", "laptop-16g")
    assert shown.code == 5 and "TT-P018" in shown.err and shown.out == ""


@pytest.mark.parametrize(
    ("words", "code", "exit_code"),
    [
        (("--models", "bert-base-chinese"), "TT-U015", 2),
        (("--models", ","), "TT-U015", 2),
        (("--models", "bert-base-chinese,bert-base-chinese"), "TT-U015", 2),
        (("bert-base-chinese", "--models", MODELS), "TT-U016", 2),
    ],
)
def test_a_question_that_is_none(tt, reviews: str, words: tuple[str, ...], code: str, exit_code: int) -> None:
    shown = tt("plan", *words, "--data", reviews, "--on", "laptop-16g")
    assert (shown.code, shown.out) == (exit_code, "") and code in shown.err


def test_bad_data_are_told_before_any_model(tt, tmp_path) -> None:
    shown = tt("plan", "--models", MODELS, "--data", str(tmp_path / "none.csv"), "--on", "laptop-16g")
    assert shown.code == 5 and "TT-D001" in shown.err
