"""The command line in a report makes the same training again."""

import shlex
from dataclasses import asdict

import typer

from trimtab.app.cli import application, options
from trimtab.planning import Limits
from trimtab.study import Pricing, TrainRequest
from trimtab.study.training import command_of
from trimtab.units import Money


def test_money_is_written_as_it_is_read() -> None:
    request = TrainRequest(
        model="demo",
        data="demo",
        out="out",
        goal="money",
        limits=Limits(money=Money(1234567.5, "USD")),
        price=Money(50, "CNY"),
        pricing=Pricing(cny_per_usd=7.1),
    )
    words = shlex.split(command_of(request))
    value = {flag: words[words.index(flag) + 1] for flag in ("--goal", "--money", "--price", "--rate")}
    assert (value["--goal"], value["--price"], value["--rate"]) == ("money", "50CNY", "7.1")
    assert options.sum_of(value["--money"]) == request.limits.money
    assert "--money" not in command_of(TrainRequest(model="demo", data="demo", out="out"))


def test_every_option_of_a_training_is_written_and_read_again() -> None:
    told = options.Training(
        rank=4, targets="q,v", lora_variant="dora", bottleneck=16, placement="pfeiffer", top_layers=2,
        quantize="nf4", pack=True, epochs=3, batch=8, lr=1e-4, max_length=64, precision="fp32", seed=5,
        optimizer="lion", decay="wsd", layer_decay=0.9, stages="layers=0-1; layers=all,lr=0.5x",
        ema=0.99, label_smoothing=0.1, class_weights="balanced", temperature=0.02,
        virtual_tokens=20, init_text="good or bad",
    )  # fmt: skip
    assert asdict(told).keys() == {name for name, value in asdict(told).items() if value}, "an option was left out"
    request = TrainRequest(model="demo", data="demo", out="out", choices=told.choices(), settings=told.settings())
    _, verb, *words = shlex.split(command_of(request))
    read = typer.main.get_command(application()).commands[verb].make_context(verb, words).params
    assert {name: read[name] for name in asdict(told)} == asdict(told)


def test_prefixes_are_written_and_read_again() -> None:
    told = options.Columns(task="embed", prefix="query: ", passage_prefix="")
    request = TrainRequest(model="demo", data="demo", out="out", reading=told.reading(0))
    _, verb, *words = shlex.split(command_of(request))
    read = typer.main.get_command(application()).commands[verb].make_context(verb, words).params
    assert (read["prefix"], read["passage_prefix"]) == ("query: ", "")
