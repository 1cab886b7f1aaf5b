"""The command line in a report makes the same training again."""

import shlex

from trimtab.app.cli import options
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
