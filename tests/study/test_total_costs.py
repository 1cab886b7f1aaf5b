"""Training and serving over months: sums by hand, where ways cross, and what cannot be gone."""

from datetime import date
from pathlib import Path

import pytest

from trimtab.errors import NothingFits, UsageError
from trimtab.study import (
    ApiPrice,
    EngineChoice,
    Pricing,
    Shape,
    TotalCost,
    Traffic,
    cost_serve,
    cost_total,
    cost_train,
)
from trimtab.study.total_request import WayCost
from trimtab.units import Money

DATED = Pricing(today=date(2026, 11, 25))
TRAFFIC = Traffic(per_day=2_000_000, input_tokens=128)
API = ApiPrice(input_million=Money(0.5, "CNY"), output_million=Money(2, "CNY"))
SHAPE = Shape(examples=20_000, length=128)
ON = ("t4", "a10", "cloud-cpu-16")


@pytest.fixture(scope="module")
def cost(tmp_path_factory: pytest.TempPathFactory) -> TotalCost:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIMTAB_HOME", str(tmp_path_factory.mktemp("home")))
        return cost_total(
            "bert-base-chinese",
            TRAFFIC,
            tasks=4,
            months=12,
            api=API,
            shape=SHAPE,
            runs=3,
            idle_share=0.5,
            on=ON,
            pricing=DATED,
        )


def way(cost: TotalCost, name: str) -> WayCost:
    (found,) = (one for one in cost.ways if one.name == name)
    return found


def test_each_month_is_what_came_before_and_a_month_more(cost: TotalCost) -> None:
    assert [row.month for row in cost.rows] == [1, 2, 3, 6, 12]
    for place, one in enumerate(cost.ways):
        for row in cost.rows:
            total = one.way.once.cny.value + row.month * one.way.monthly.cny.value
            assert row.totals[place].cny.value == pytest.approx(total)
            assert row.totals[place].usd.value == pytest.approx(total / 7.2)
    last = [spend.cny.value for spend in cost.rows[-1].totals]
    assert last == sorted(last) and {one.name for one in cost.ways} == {"small", "adapters", "whole", "api"}


def test_a_hosted_service_is_paid_by_the_token(cost: TotalCost) -> None:
    """2,000,000 a day x 30 days x 128 tokens at 0.5 CNY a million = 3,840 CNY."""
    assert (
        way(cost, "api").way.monthly.cny.value == pytest.approx(2e6 * 30 * 128 / 1e6 * 0.5) == pytest.approx(3840)
    )
    assert way(cost, "api").way.once.cny.value == 0


def test_adapters_are_served_as_cost_serve_has_it_and_trained_as_cost_train(cost: TotalCost) -> None:
    one = way(cost, "adapters")
    served = cost_serve("bert-base-chinese", TRAFFIC, adapters=4, on=("t4", "a10"), pricing=DATED)
    listed = min(o.money.monthly.cny.value for o in served.offers if o.offer.basis == "list" and not o.spot)
    assert one.way.monthly.cny.value == pytest.approx(listed)
    trained = cost_train("bert-base-chinese", shape=SHAPE, method="lora", runs=12, idle_share=0.5, pricing=DATED)
    best = min(o.money.cny.value for o in trained.offers if o.offer.basis == "list")
    assert one.way.once.cny.value == pytest.approx(best)
    assert (one.serves, one.machines) == ("bert-base-chinese", 1)


def test_a_gpu_a_task_is_paid_for_each(cost: TotalCost) -> None:
    one = way(cost, "whole")
    alone = cost_serve(
        "bert-base-chinese", Traffic(per_day=500_000, input_tokens=128), on=("t4", "a10"), pricing=DATED
    )
    listed = min(o.money.monthly.cny.value for o in alone.offers if o.offer.basis == "list" and not o.spot)
    assert one.way.monthly.cny.value == pytest.approx(4 * listed) and one.machines == 4


def test_a_student_of_half_the_layers_has_a_copy_for_each_task(cost: TotalCost) -> None:
    one = way(cost, "small")
    assert (cost.student.layers, one.serves) == (6, "bert-base-chinese (6/12)")
    assert one.served is not None and one.offer is not None
    assert (one.served.engine, one.served.copies, one.served.machine) == ("onnx", 4, "cloud-cpu-16")
    assert one.offer.name == "alibaba cn-zhangjiakou ecs.c6.4xlarge"
    assert one.way.monthly.cny.value == pytest.approx(one.machines * 2.18 * 720)
    teacher, student = one.trainings
    assert (teacher.strategy.method, student.strategy.method) == ("lora", "full")
    both = teacher.spend.cny.value + student.spend.cny.value
    assert one.way.once.cny.value == pytest.approx(both)


def test_from_its_volume_on_a_way_costs_no_more_than_the_service(cost: TotalCost) -> None:
    for one in cost.ways:
        if one.name == "api":
            assert one.volume is None
            continue
        assert one.volume is not None
        own = one.way.once.cny.value + 12 * one.way.monthly.cny.value
        at_volume = one.volume * 30 * 12 * 128 / 1e6 * 0.5
        assert at_volume >= own / one.machines * 0.999  # at least one machine of each is paid
        assert at_volume / own == pytest.approx(round(at_volume / own * one.machines) / one.machines, rel=0.01)


def test_ways_that_cross_do_so_where_their_money_is_the_same(cost: TotalCost) -> None:
    for one in cost.break_evens:
        first, second = way(cost, one.cheaper).way, way(cost, one.than).way
        assert first.once.cny.value > second.once.cny.value
        assert first.total(one.month).cny.value == pytest.approx(second.total(one.month).cny.value)
        assert first.total(one.month + 1).cny.value < second.total(one.month + 1).cny.value
    api, small = way(cost, "api"), way(cost, "small")
    assert small.way.monthly.cny.value < api.way.monthly.cny.value
    assert any((one.cheaper, one.than) == ("small", "api") for one in cost.break_evens)


def test_sure_is_what_no_interval_denies(cost: TotalCost) -> None:
    ends = [row.cny for row in cost.rows[-1].totals]
    assert cost.sure == all(ends[0].high < other.low for other in ends[1:])


def test_a_named_student_and_a_chat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path / "home"))
    found = cost_total(
        "qwen2.5-7b",
        Traffic(per_day=10_000, input_tokens=256, output_tokens=64),
        student="qwen2.5-0.5b",
        on=("t4", "cloud-cpu-16"),
        choice=EngineChoice(weights="fp16"),
        shape=Shape(examples=500, length=128),
        pricing=DATED,
    )
    assert found.student.name == "qwen2.5-0.5b"
    assert [one.name for one in found.ways] == ["small"]
    assert {one.name: one.reason.code for one in found.refused} == {"adapters": "TT-P509", "whole": "TT-P509"}
    assert found.ways[0].volume is None and found.sure


@pytest.mark.parametrize(
    ("text", "read", "written"),
    [
        ("2CNY/8CNY", Money(2, "CNY"), Money(8, "CNY")),
        ("0.15/0.6USD", Money(0.15, "USD"), Money(0.6, "USD")),
        ("$1/8CNY", Money(1, "USD"), Money(8, "CNY")),
        ("2CNY", Money(2, "CNY"), Money(2, "CNY")),
    ],
)
def test_prices_of_services_are_read(text: str, read: Money, written: Money) -> None:
    assert ApiPrice.parse(text) == ApiPrice(input_million=read, output_million=written)


@pytest.mark.parametrize("text", ["", "cheap", "2/", "2CNY/8CNY/1CNY", "-1CNY"])
def test_a_price_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        ApiPrice.parse(text)
    assert caught.value.code == "TT-P523" and caught.value.message.next_step("zh")


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"tasks": 0}, "TT-U006"),
        ({"months": 0}, "TT-U006"),
        ({"on": ("laptop-16g",)}, "TT-U007"),
        ({"data": "demo", "shape": SHAPE}, "TT-U011"),
    ],
)
def test_what_cannot_be_told_is_refused(asked: dict[str, object], code: str) -> None:
    with pytest.raises(UsageError) as caught:
        cost_total("bert-base-chinese", TRAFFIC, **asked)
    assert caught.value.code == code


def test_where_no_way_can_be_gone_the_first_says_why() -> None:
    hurried = Traffic(per_day=10, input_tokens=512, latency_seconds=1e-6)
    with pytest.raises(NothingFits) as caught:
        cost_total("bert-base-chinese", hurried, on=ON, pricing=DATED)
    assert caught.value.code == "TT-P524" and caught.value.message.fact("why").code == "TT-P510"
