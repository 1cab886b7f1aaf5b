"""A verb written for a request takes the fields of the request, and says so to who asks."""

import inspect

import pytest

from trimtab import planning, study
from trimtab.study.request import Asked, AskedToChoose, PlanRequest
from trimtab.study.spelled_out import spelled_out


@spelled_out(PlanRequest)
def asked(request: PlanRequest) -> PlanRequest:
    """The request itself."""
    return request


def test_arguments_become_the_request() -> None:
    assert asked("m", data="d", method="lora") == PlanRequest("m", "d", method="lora")


def test_the_verb_says_what_it_takes() -> None:
    shown = inspect.signature(study.plan)
    assert list(shown.parameters)[:2] == ["model", "data"]
    assert shown.parameters["goal"].default == "balanced"
    assert shown.parameters["limits"].default == planning.Limits()
    assert shown.return_annotation is study.Planned
    assert "Predict every strategy" in (study.plan.__doc__ or "")


@pytest.mark.parametrize("verb", [study.plan, study.plan_models, study.estimate, study.cost_train])
def test_what_all_verbs_share_is_taken_by_each(verb) -> None:
    shared = AskedToChoose if verb in (study.plan, study.plan_models) else Asked
    assert set(inspect.signature(shared).parameters) <= set(inspect.signature(verb).parameters)
    assert set(inspect.signature(AskedToChoose).parameters) <= set(
        inspect.signature(study.TrainRequest).parameters
    )


def test_a_wrong_argument_is_told_in_the_words_of_the_verb() -> None:
    with pytest.raises(TypeError, match=r"^asked\(\) got an unexpected keyword argument 'metod'"):
        asked("m", "d", metod="lora")
    with pytest.raises(TypeError, match=r"^asked\(\) missing a required argument: 'data'"):
        asked("m")
