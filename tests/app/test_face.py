"""Which language a call speaks, and which flags stand anywhere."""

import pytest

from trimtab.app.cli.face import Face, language_of


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C.UTF-8"}, "en"),
        ({"LANG": "en_US.UTF-8", "LC_MESSAGES": "zh_TW"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": ""}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "TRIMTAB_LANG": "en"}, "en"),
        ({"LANG": "de_DE.UTF-8", "TRIMTAB_LANG": "zh"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "TRIMTAB_LANG": "klingon"}, "zh"),
    ],
)
def test_the_environment_chooses_the_language(environment: dict[str, str], language: str) -> None:
    assert language_of(environment) == language


@pytest.mark.parametrize(
    "argv",
    [
        ("--lang", "zh", "plan"),
        ("plan", "--lang", "zh"),
        ("plan", "--lang=zh"),
        ("--debug", "plan", "--lang=zh"),
    ],
)
def test_the_flag_counts_most_wherever_it_stands(argv: tuple[str, ...]) -> None:
    face = Face.of(argv, {"LANG": "en_US.UTF-8", "TRIMTAB_LANG": "en"})
    assert (face.language, face.arguments) == ("zh", ("plan",))


def test_after_a_bare_dash_dash_words_are_left_alone() -> None:
    face = Face.of(("predict", "DIR", "--", "--lang", "zh", "--debug", "--json"), {})
    assert face.arguments == ("predict", "DIR", "--", "--lang", "zh", "--debug", "--json")
    assert (face.language, face.debug, face.json) == ("en", False, False)


@pytest.mark.parametrize(
    ("environment", "debug"), [({}, False), ({"TRIMTAB_DEBUG": "1"}, True), ({"TRIMTAB_DEBUG": "0"}, False)]
)
def test_the_environment_can_ask_for_tracebacks(environment: dict[str, str], debug: bool) -> None:
    assert Face.of(("plan",), environment).debug == debug
