"""The words on the help pages are the words of the rooms."""

import typing
from dataclasses import asdict

from trimtab import data, methods, planning
from trimtab.app.cli import options
from trimtab.errors import LANGUAGES, message
from trimtab.study import Shape
from trimtab.units import DEFAULT_RATE


def test_lists_on_help_pages_are_the_rooms_lists() -> None:
    assert tuple(options.GOALS.split("|")) == planning.GOALS
    assert set(options.METHODS.split("|")) == {"auto"} | {method.name for method in methods.METHODS}
    assert tuple(options.LORA_VARIANTS.split("|")) == methods.LORA_VARIANTS
    assert tuple(options.STAGES.split("|")) == (*methods.STAGE_PRESETS, "...")
    assert options.PLACEMENTS.split("|") == list(methods.PLACEMENTS)
    assert tuple(options.QUANTISED.split("|")) == methods.QUANTISED
    assert options.PRECISIONS.split("|") == list(methods.PRECISIONS)
    assert options.OPTIMIZERS.split("|") == [rule.name for rule in methods.UPDATE_RULES]
    assert options.DECAYS.split("|") == list(methods.DECAYS)
    assert tuple(options.TASKS.split("|")) == data.TASKS == typing.get_args(data.Task)


def test_the_exchange_rate_on_help_pages_is_the_one_used() -> None:
    told = typing.get_args(options.Exchange)[1].help
    for language in LANGUAGES:
        assert f"{DEFAULT_RATE.cny_per_usd}" in message(told).text(language)
        assert DEFAULT_RATE.as_of in message(told).text(language)


def test_the_imagined_shape_on_help_pages_is_the_one_used() -> None:
    told = typing.get_type_hints(options.Shape, include_extras=True)
    for name, value in asdict(Shape()).items():
        for language in LANGUAGES:
            assert f" {value:,}" in message(typing.get_args(told[name])[1].help).text(language)
    assert options.Shape().imagined() is None
    assert options.Shape(examples=50, labels=3).imagined() == Shape(examples=50, labels=3)
