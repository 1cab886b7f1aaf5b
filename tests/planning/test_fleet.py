"""How many devices a load needs: queues by hand, and what must hold for every load."""

import math
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.errors import Message
from trimtab.estimation.serving import Capacity, Deployment, Pace, Workload, engine_named
from trimtab.hardware import Price, machine_named
from trimtab.hardware.prices import shipped_offers
from trimtab.models import shape_named
from trimtab.planning.fleet import Fleet, Load, Spend, erlang_c, exact_spend, fleet, serving_money, waiting_seconds
from trimtab.planning.totals import Way, break_even_month, break_even_volume, shown_months
from trimtab.units import DEFAULT_RATE, Evidence, Figure, Money

TEXT = Workload(input_tokens=100)
DEPLOYMENT = Deployment(
    spec=shape_named("bert-base-uncased"),
    machine=machine_named("cloud-cpu-16"),
    engine=engine_named("onnx"),
    weights="int8",
)
# Ten requests a second, one after another; and a chat of 2 s alone, 4 s with eight at once.
ONE_BY_ONE = Pace(pass_seconds=0.0, prompt_seconds=0.1)
CHAT = Pace(pass_seconds=0.0, prompt_seconds=0.1, steps=10, read_seconds=0.12, token_seconds=0.0075)


def of(pace: Pace, most_rows: int = 1, factor: float = 2.0) -> Capacity:
    return Capacity(
        deployment=DEPLOYMENT,
        workload=TEXT,
        pace=pace,
        most_rows=most_rows,
        basis="formula",
        source="",
        factor=factor,
    )


def found(capacity: Capacity, load: Load) -> Fleet:
    fleet_found = fleet(capacity, load)
    assert isinstance(fleet_found, Fleet), fleet_found
    return fleet_found


def test_erlangs_second_formula() -> None:
    """C(1, a) = a; C(2, 1) = 1/3; C(3, 2) = 4/9: sums of a^k / k!, written out."""
    assert erlang_c(1, 0.7) == pytest.approx(0.7)
    assert erlang_c(2, 1.0) == pytest.approx(1 / 3)
    assert erlang_c(3, 2.0) == pytest.approx(4 / 9)
    places, offered = 20, 15.0
    last = offered**places / math.factorial(places) / (1 - offered / places)
    below = sum(offered**k / math.factorial(k) for k in range(places))
    assert erlang_c(places, offered) == pytest.approx(last / (below + last))


def test_one_server_waits_as_m_m_1_does() -> None:
    """0.7 / (1 - 0.7) = 2.33 times what a request takes, and nine times at 0.9."""
    assert waiting_seconds(1, 7.0, 0.1) == pytest.approx(0.1 * 0.7 / 0.3)
    assert waiting_seconds(1, 9.0, 0.1) == pytest.approx(0.9)


def test_the_busiest_moment_decides_how_many() -> None:
    """100,000 a day, three times as many at the busiest: 3.472 a second, of which one machine carries 7."""
    load = Load(mean=100_000 / 86_400, peak=3.0)
    assert load.busiest == pytest.approx(3.4722, abs=1e-4)
    one = found(of(ONE_BY_ONE), load)
    assert (one.devices.value, one.used) == (1, pytest.approx(0.34722, abs=1e-5))
    assert one.seconds.value == pytest.approx(0.1 + 0.1 * 0.34722 / 0.65278, rel=1e-4)
    many = found(of(ONE_BY_ONE), replace(load, peak=100.0))  # 115.7 a second / 7 = 16.5
    assert many.devices == Figure(17, math.ceil(115.74 / 14), math.ceil(115.74 / 3.5), Evidence.FORMULA)
    assert many.used <= load.target


def test_a_load_of_exactly_so_many_machines_needs_no_more() -> None:
    assert found(of(ONE_BY_ONE), Load(mean=21.0, peak=1.0)).devices.value == 3


def test_a_latency_takes_fewer_at_once_and_so_more_machines() -> None:
    """Eight at once: 8 x 0.1 + 10 x (0.12 + 8 x 0.0075) = 2.6 s, 3.08 a second; one: 1.375 s, 0.73 a second."""
    free = found(of(CHAT, 8), Load(mean=6.0, peak=1.0))
    assert CHAT.seconds(8) == pytest.approx(2.6) and CHAT.seconds(1) == pytest.approx(1.375)
    assert free.devices.value == math.ceil(6 / (0.7 * 8 / 2.6)) == 3
    # With two at once 0.2 + 10 x 0.135 = 1.55 s, 1.29 a second: seven carry 0.66 of it.
    quick = found(of(CHAT, 8), Load(mean=6.0, peak=1.0, latency_seconds=1.6))
    assert (quick.rows, quick.devices.value) == (2, 7)
    assert 1.55 < quick.seconds.value <= 1.6
    assert quick.per_second.value == pytest.approx(2 / 1.55)


def test_what_is_never_quick_enough_says_how_long_it_takes() -> None:
    refused = fleet(of(CHAT, 8), Load(mean=1.0, latency_seconds=1.0))
    assert isinstance(refused, Message) and refused.code == "TT-P510"
    assert refused.fact("least") == pytest.approx(1.375) and refused.fact("asked") == 1.0
    assert "1.4 s (688 ms to 2.8 s)" in refused.text()


paces = st.builds(
    Pace,
    pass_seconds=st.floats(0, 1),
    prompt_seconds=st.floats(0.001, 1),
    steps=st.integers(0, 50),
    read_seconds=st.floats(0, 0.1),
    read_row_seconds=st.floats(0, 0.01),
    token_seconds=st.floats(0, 0.01),
    overlapped=st.booleans(),
)


@settings(max_examples=80, deadline=None)
@given(paces, st.integers(1, 64), st.floats(0.01, 300), st.floats(1, 5), st.floats(0.1, 60), st.floats(1, 3))
def test_more_requests_never_need_fewer_and_a_longer_latency_never_more(
    pace: Pace, rows: int, mean: float, more: float, latency: float, longer: float
) -> None:
    def devices(load: Load) -> float:
        answer = fleet(of(pace, rows), load)
        return answer.devices.value if isinstance(answer, Fleet) else math.inf

    load = Load(mean=mean, latency_seconds=latency)
    assert devices(load) <= devices(replace(load, mean=more * mean))
    assert devices(load) >= devices(replace(load, latency_seconds=longer * latency))
    assert devices(replace(load, latency_seconds=None)) <= devices(load)
    assert devices(load) <= devices(replace(load, target=load.target / longer))


@settings(max_examples=80, deadline=None)
@given(paces, st.integers(1, 64), st.floats(0.01, 300), st.one_of(st.none(), st.floats(0.1, 60)))
def test_a_fleet_keeps_what_was_asked_and_its_interval_holds_it(
    pace: Pace, rows: int, mean: float, latency: float | None
) -> None:
    load = Load(mean=mean, latency_seconds=latency)
    answer = fleet(of(pace, rows), load)
    if isinstance(answer, Message):
        assert latency is not None and pace.seconds(1) >= latency
        return
    assert answer.used <= load.target + 1e-6
    assert latency is None or answer.seconds.value <= latency
    assert answer.devices.low <= answer.devices.value <= answer.devices.high
    assert answer.shapes(8).value == math.ceil(answer.devices.value / 8)


def test_money_of_whole_machines_by_hand() -> None:
    """Two A10 at 8.5794 CNY an hour, 7.2 CNY a dollar; 100,000 requests of 640 tokens a day."""
    offer = next(one for one in shipped_offers() if one.on_demand_hourly == Money(8.5794, "CNY"))
    price = offer.price(DEFAULT_RATE, date(2026, 11, 25))
    assert isinstance(price, Price) and price.is_old and price.as_of == "2024-12-31"
    money = serving_money(Figure(2, 1, 4, Evidence.FORMULA), price, Load(mean=100_000 / 86_400), 640)
    assert money.hourly.cny.value == pytest.approx(17.1588)
    assert money.monthly.cny.value == pytest.approx(17.1588 * 720)  # 12,354.3
    assert money.monthly.usd.value == pytest.approx(17.1588 * 720 / 7.2)
    assert money.monthly.figure("USD").high == pytest.approx(4 * 8.5794 * 720 / 7.2)
    assert money.million_requests.cny.value == pytest.approx(17.1588 * 720 / 3.0)  # three million in thirty days
    assert money.million_tokens.cny.value == pytest.approx(17.1588 * 720 / (3.0 * 640))
    assert money.monthly.cny.evidence is Evidence.FORMULA


def yuan(amount: float) -> Spend:
    return exact_spend(Money(amount, "CNY"), DEFAULT_RATE)


def test_ways_cross_where_their_money_is_the_same() -> None:
    """500 and 100 a month beside 20 and 260: 480 more once, 160 less a month, so after three months."""
    dear, cheap = Way(once=yuan(500), monthly=yuan(100)), Way(once=yuan(20), monthly=yuan(260))
    assert break_even_month(dear, cheap) == break_even_month(cheap, dear) == pytest.approx(3.0)
    assert dear.total(3).cny.value == cheap.total(3).cny.value == pytest.approx(800)
    assert break_even_month(dear, Way(once=yuan(600), monthly=yuan(200))) is None
    assert break_even_month(dear, dear) is None


def test_volume_at_which_a_service_by_the_request_costs_as_much() -> None:
    """(600 + 12 x 1,200) / (12 x 30 x 0.01 CNY) = 4,167 a day."""
    assert break_even_volume(yuan(600), yuan(1200), 12, yuan(0.01)) == pytest.approx(15_000 / 3.6)


def test_sums_are_as_well_known_as_the_worse_half() -> None:
    guess = Spend(cny=Figure(10, 5, 20, Evidence.FORMULA), usd=Figure(1, 0.5, 2, Evidence.FORMULA))
    assert yuan(7.2).plus(guess) == Spend(
        cny=Figure(17.2, 12.2, 27.2, Evidence.FORMULA), usd=Figure(2, 1.5, 3, Evidence.FORMULA)
    )


@pytest.mark.parametrize(
    ("months", "rows"), [(1, (1,)), (3, (1, 2, 3)), (12, (1, 2, 3, 6, 12)), (30, (1, 2, 3, 6, 12, 24, 30))]
)
def test_months_worth_a_row(months: int, rows: tuple[int, ...]) -> None:
    assert shown_months(months) == rows
