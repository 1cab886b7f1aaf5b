"""What a training costs on offers: by hand, and what cannot be told."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from trimtab.errors import BadInput, UsageError
from trimtab.hardware import machine_named
from trimtab.hardware.prices import COLUMNS, cheapest_price, own_prices, shipped_offers
from trimtab.planning import Limits, NoPlan, Settings
from trimtab.study import Pricing, Reading, Shape, TrainRequest, cost_train, estimate, gather, plan, train
from trimtab.units import DEFAULT_RATE, Evidence, Money

TODAY = date(2026, 11, 25)
BERT = "bert-base-chinese"
SMALL = Shape(examples=3200, length=64)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path / "home"))


def prices(tmp_path: Path, *rows: str) -> Pricing:
    path = tmp_path / "prices.csv"
    path.write_text("\n".join([",".join(COLUMNS), *rows]) + "\n", encoding="utf-8")
    return Pricing(file=str(path), today=TODAY)


def test_a_cost_is_the_predicted_time_at_the_price_of_the_whole_shape(tmp_path: Path) -> None:
    pricing = prices(
        tmp_path,
        "shop,here,pair,rtx3060-12g,2,,,8,,CNY,2026-11-20,",
        "shop,here,one,rtx3060-12g,1,,,1,0.5,USD,2026-09-01,",
    )
    found = cost_train(BERT, shape=SMALL, on="rtx3060-12g", method="full", runs=3, idle_share=0.5, pricing=pricing)
    alone = estimate(BERT, shape=SMALL, on="rtx3060-12g", method="full").plan.chosen.estimate
    one, pair = found.offers
    assert (one.offer.instance, pair.offer.instance) == ("one", "pair")  # 7.2 and 8 CNY an hour
    assert (
        one.strategy == alone.strategy and one.quality == alone.quality and one.seconds == alone.time.total_seconds
    )
    hours = 3 * 1.5 * one.seconds.value / 3600
    assert one.money.usd.value == pytest.approx(hours)
    assert one.money.cny.value == pytest.approx(7.2 * hours)
    assert pair.money.cny.value == pytest.approx(8 * hours)
    assert pair.money.cny.high == pytest.approx(8 * 3 * 1.5 * one.seconds.high / 3600)
    assert one.money.cny.evidence is Evidence.FORMULA
    assert (one.money.price.is_old, pair.money.price.is_old) == (True, False)
    assert (found.runs, found.idle_share, found.rate) == (3, 0.5, DEFAULT_RATE)


def test_the_exchange_rate_decides_what_is_cheapest(tmp_path: Path) -> None:
    rows = ("a,b,yuan,t4,1,,,7,,CNY,2026-11-20,", "a,b,dollar,t4,1,,,1,,USD,2026-11-20,")
    pricing = prices(tmp_path, *rows)
    for rate, first in ((6.9, "dollar"), (7.1, "yuan")):
        asked = Pricing(file=pricing.file, cny_per_usd=rate, today=TODAY)
        found = cost_train(BERT, shape=SMALL, on="t4", method="lora", pricing=asked)
        mine = [costed.offer.instance for costed in found.offers if costed.offer.provider == "a"]
        assert mine[0] == first


def test_without_a_machine_every_machine_with_an_offer_is_asked_once() -> None:
    found = cost_train(BERT, shape=SMALL, method="lora")
    assert {costed.offer.device for costed in found.offers} == {o.device for o in shipped_offers()} - {""}
    assert len(found.offers) == len({costed.offer.device for costed in found.offers})
    costs = [costed.money.cny.value for costed in found.offers]
    assert costs == sorted(costs) and found.misfits == ()
    assert found.goal == "balanced"
    (here,) = (costed for costed in found.offers if costed.offer.device == "a10")
    assert here == cost_train(BERT, shape=SMALL, method="lora", on="a10").offers[0]


def test_a_markets_lowest_price_decides_only_where_there_is_no_other() -> None:
    found = {costed.offer.device: costed for costed in cost_train(BERT, shape=SMALL, method="lora").offers}
    for device, costed in found.items():
        price = cheapest_price(machine_named(device), shipped_offers(), DEFAULT_RATE, TODAY)
        assert price is not None and costed.money.price.hourly == price.hourly
    assert (found["t4"].offer.basis, found["rtx5090"].offer.basis) == ("list", "lowest")
    on_t4 = cost_train(BERT, shape=SMALL, method="lora", on="t4").offers
    assert on_t4[0].offer.basis == "lowest" and found["t4"].offer in [costed.offer for costed in on_t4]


def test_machines_on_which_it_does_not_fit_are_told_with_the_reason() -> None:
    found = cost_train("qwen2.5-7b", shape=SMALL, method="lora")
    reasons = {misfit.machine: misfit.reason for misfit in found.misfits}
    assert reasons["t4"].code == "TT-P101" and "14.6 GiB usable" in reasons["t4"].text()
    assert {costed.offer.device for costed in found.offers}.isdisjoint(reasons)


def test_a_machine_that_cannot_compute_so_is_no_reason_to_give_up() -> None:
    found = cost_train(BERT, shape=SMALL, method="lora", settings=Settings(precision="bf16"))
    assert {m.reason.code for m in found.misfits} == {"TT-P010"}
    assert "t4" in {m.machine for m in found.misfits} and len(found.offers) > 10


def test_spot_prices_are_others() -> None:
    found = cost_train(BERT, shape=SMALL, method="lora", on="a100-40g-sxm", spot=True)
    assert found.offers[0].money.price.hourly == Money(1.92802, "USD")
    assert all(costed.offer.spot_hourly for costed in found.offers)


def test_where_it_fits_nowhere_the_roomiest_machine_says_why() -> None:
    with pytest.raises(NoPlan) as caught:
        cost_train("qwen2.5-72b", shape=SMALL, method="full")
    assert caught.value.plan.machine == "mi300x"
    with pytest.raises(NoPlan) as caught:
        cost_train("qwen2.5-7b", shape=SMALL, method="full", on="t4")
    assert caught.value.plan.machine == "t4"


@pytest.mark.parametrize(
    ("code", "asked", "said"),
    [
        ("TT-U007", {"on": "laptop-16g"}, "None of 166 known offers has the machine laptop-16g."),
        ("TT-U007", {"on": "16xt4"}, "16xt4"),
        ("TT-U008", {"on": "a10", "spot": True}, "None of the 8 offers of a10 has a spot price."),
        ("TT-H001", {"on": "a11"}, "a10"),
        ("TT-U006", {"runs": 0}, "--runs must be from 1 to 1,000,000, not 0."),
        ("TT-U006", {"idle_share": -0.1}, "--idle must be from 0 to 100, not -0.1."),
        ("TT-U006", {"idle_share": float("nan")}, "--idle"),
        ("TT-U004", {"pricing": Pricing(cny_per_usd=0)}, "must be from 0.1 to 1000 CNY for one USD, not 0."),
        ("TT-U006", {"shape": Shape(labels=1)}, "--labels must be from 2"),
        ("TT-U010", {"method": "lore"}, "lora"),
        ("TT-P019", {"settings": Settings(precision="int8")}, 'There is no precision "int8" to train in.'),
    ],
)
def test_what_cannot_be_told_is_refused(code: str, asked: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        cost_train(BERT, **{"shape": SMALL, "method": "lora"} | asked)
    assert caught.value.code == code
    assert said in caught.value.message.text()
    assert caught.value.message.next_step("zh")


def test_a_cell_of_a_price_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    pricing = prices(tmp_path, "a,b,c,t4,1,,,cheap,,CNY,2026-11-20,")
    for ask in (cost_train, plan):
        arguments = (BERT, "demo") if ask is plan else (BERT,)
        with pytest.raises(BadInput, match="row 1, column on_demand_price"):
            ask(*arguments, on="t4", pricing=pricing)


def test_own_prices_that_cannot_be_read_stop_only_what_needs_a_price() -> None:
    own_prices().parent.mkdir()
    own_prices().write_text(",".join(COLUMNS) + "\na,b,c,t4,1,,,cheap,,CNY,2026-11-20,\n", encoding="utf-8")
    planned = plan("demo", "demo", on="a10")
    (notice,) = planned.notices
    assert planned.plan.chosen.fits and planned.machine.price is None
    assert notice.code == "TT-H037"
    for language, row in (("en", "row 1, column on_demand_price"), ("zh", "第 1 行，on_demand_price 列")):
        assert str(own_prices()) in notice.text(language) and row in notice.text(language)
    assert estimate(BERT, method="lora", on="a10").notices == (notice,)
    assert plan("demo", "demo", on="a10", price=Money(10, "CNY")).notices == ()
    for needed in ({"goal": "money"}, {"limits": Limits(money=Money(50, "CNY"))}):
        with pytest.raises(BadInput, match="row 1, column on_demand_price"):
            plan("demo", "demo", on="a10", **needed)
    with pytest.raises(BadInput, match="row 1, column on_demand_price"):
        cost_train(BERT, shape=SMALL, on="a10")


def test_a_plan_for_a_machine_that_is_rented_out_knows_its_price(tmp_path: Path) -> None:
    pricing = prices(tmp_path, "shop,here,one,rtx3060-12g,1,,,3.6,,CNY,2026-11-20,")
    planned = plan("demo", "demo", on="rtx3060-12g", pricing=pricing)
    price, chosen = planned.machine.price, planned.plan.chosen.estimate
    assert price is not None and chosen.money is not None
    assert (price.origin, price.is_old) == ("shop here one", False)
    assert chosen.money.cny.value == pytest.approx(chosen.time.total_seconds.value / 1000)
    assert plan("demo", "demo", on="rtx3060-12g").machine.price is None


def test_the_price_a_user_says_is_taken_before_any_offer() -> None:
    planned = plan("demo", "demo", on="a10", price=Money(36, "CNY"), limits=Limits(money=Money(1, "CNY")))
    chosen = planned.plan.chosen.estimate
    said = gather.priced(planned.machine, Money(36, "CNY"), Pricing(), needed=True)
    assert planned.machine.price == said.machine.price
    assert chosen.money is not None and chosen.money.cny.high == pytest.approx(
        chosen.time.total_seconds.high / 100
    )


@pytest.mark.parametrize("ask", [cost_train, estimate])
@pytest.mark.parametrize(
    ("code", "asked", "said"),
    [
        ("TT-U011", {"data": "demo", "shape": Shape()}, ("--examples", "--data demo")),
        ("TT-U012", {"reading": Reading(task="pair", label="x")}, ("--task, --label", "no --data")),
    ],
)
def test_data_is_read_or_imagined(
    ask: Callable[..., object], code: str, asked: dict[str, object], said: tuple[str, str]
) -> None:
    with pytest.raises(UsageError) as caught:
        ask(BERT, method="lora", on="a10", **asked)
    assert caught.value.code == code
    assert all(words in caught.value.message.text() for words in said)


def test_two_prices_are_one_too_many(tmp_path: Path) -> None:
    pricing = prices(tmp_path, "shop,here,one,a10,1,,,3.6,,CNY,2026-11-20,")
    with pytest.raises(UsageError) as caught:
        plan("demo", "demo", on="a10", price=Money(10, "CNY"), pricing=pricing)
    assert caught.value.code == "TT-U009"
    assert f"--price 10.00 CNY and --prices {pricing.file}" in caught.value.message.text()


def test_a_file_of_prices_that_does_not_know_the_machine_is_refused(tmp_path: Path) -> None:
    pricing = prices(tmp_path, "shop,here,one,rtx3060-12g,1,,,3.6,,CNY,2026-11-20,")
    with pytest.raises(UsageError) as caught:
        plan("demo", "demo", on="laptop-16g", pricing=pricing)
    assert caught.value.code == "TT-U007"
    assert "None of 167 known offers has the machine laptop-16g." in caught.value.message.text()
    assert "rtx3060-12g" in caught.value.message.next_step()
    assert plan("demo", "demo", on="laptop-16g").machine.price is None


def test_a_rate_that_converts_nothing_is_refused(tmp_path: Path) -> None:
    rate = Pricing(cny_per_usd=7.1)
    for on in ("laptop-16g", None):
        with pytest.raises(UsageError) as caught:
            plan("demo", "demo", on=on, pricing=rate)
        assert caught.value.code == "TT-P015" and "--rate 7.1 needs the price" in caught.value.message.text()
    with pytest.raises(UsageError, match=r"--rate 7\.1"):
        train(TrainRequest(model="demo", data="demo", out=str(tmp_path / "out"), pricing=rate))
    assert plan("demo", "demo", price=Money(10, "CNY"), pricing=rate).machine.price is not None
    assert plan("demo", "demo", on="a10", pricing=rate).machine.price is not None


def test_prices_of_others_are_not_those_of_this_machine() -> None:
    with pytest.raises(UsageError) as caught:
        plan("demo", "demo", pricing=Pricing(file="prices.csv"))
    assert caught.value.code == "TT-U005"
