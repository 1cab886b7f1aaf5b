"""How many devices a load needs, and what they cost: hours, months, a million tokens or requests.

A queue must not be full: at a share u of what devices can do, one of them waits on average u / (1 - u) times
what a request takes (M/M/1), 2.3 times at 0.7 and 9 times at 0.9. The peak of the load is therefore held to
`target` of the throughput, 0.7 unless said; what waits with n places at once is Erlang's second formula (M/M/c;
Kleinrock, Queueing Systems, vol. 1, 1975, section 3.5):

    C(n, a) = B / (1 - (a / n)(1 - B)),  B(0) = 1,  B(n) = a B(n-1) / (n + a B(n-1))
    wait    = C(n, a) / (n / S - arrivals)              a = arrivals x S

Places n: devices x rows where a request joins those under way (chat), S what it then takes; where it waits for
the next pass (classifiers), devices, S a whole pass and arrivals of whole passes. A request takes S + wait, on
average; of a wait that is exponential one in twenty is three times as long. Of all numbers of rows (1, 2, 4, ...
and the most that fit) the one is taken with which the fewest devices keep to `target` and to the latency asked
for, and of those the quickest.

Known error: that of the throughput. Arrivals are taken as independent; the peak is the user's to know.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from trimtab.errors import Message, message
from trimtab.estimation.serving import Capacity, Pace
from trimtab.hardware.machine import Price
from trimtab.units import Currency, Evidence, ExchangeRate, Figure, Money

MONTH_HOURS = 720.0
_HOUR_SECONDS = 3600.0
_DAY_SECONDS = 86_400.0
DEFAULT_TARGET = 0.7
# Requests of people bunch by day: an hour of the day's busiest holds about an eighth of it. A rule.
DEFAULT_PEAK = 3.0
_MOST_PLACES = 1000  # beyond these fewer are taken: what waits is then too much, and next to nothing
_MOST_DEVICES = 10**9
_ROUNDING = 1e-9  # 3 x 0.7 / 0.7 is not to become four
_MILLION = 1e6


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """Requests a second: `mean` over a month, and `peak` times as many at the busiest. `target`: the share of what
    devices can do that the peak may take. `latency_seconds`: of a request on average, all of its tokens; None = as
    long as it takes."""

    mean: float
    peak: float = DEFAULT_PEAK
    target: float = DEFAULT_TARGET
    latency_seconds: float | None = None

    @property
    def busiest(self) -> float:
        return self.mean * self.peak

    @property
    def requests_per_month(self) -> float:
        return self.mean * MONTH_HOURS * _HOUR_SECONDS

    @classmethod
    def per_day(cls, requests: float) -> float:
        """Requests a second, of so many a day."""
        return requests / _DAY_SECONDS


@dataclass(frozen=True, kw_only=True, slots=True)
class Fleet:
    """`devices` that carry a load, each with `rows` requests at once at the peak. `per_second`: what one of them
    can do at the most within the latency, `used`: the share of it that the peak takes; `seconds`: a request at
    the peak, with the time it waits for a place."""

    devices: Figure
    rows: int
    per_second: Figure
    used: float
    seconds: Figure

    def shapes(self, accelerators: int) -> Figure:
        """Machines of so many devices each."""
        value, low, high = (
            math.ceil(count / accelerators) for count in (self.devices.value, self.devices.low, self.devices.high)
        )
        return Figure(value, low, high, self.devices.evidence)


def fleet(capacity: Capacity, load: Load) -> Fleet | Message:
    """The fewest devices that keep to the target and the latency; a message with the numbers where even one
    request alone takes longer. The interval: the same for devices as slow, and as quick, as the throughput may
    be; where so slow ones cannot keep to the latency at all, what the target alone asks for."""
    found = _fewest(capacity.pace, capacity.most_rows, load)
    if found is None:
        assert load.latency_seconds is not None, "without one everything is quick enough"
        alone = capacity.seconds(1)
        return message("TT-P510", least=alone.value, low=alone.low, high=alone.high, asked=load.latency_seconds)
    quick = _fewest(capacity.pace.slowed(1 / capacity.factor), capacity.most_rows, load) or found
    slow = _fewest_slow(capacity, load)
    best = capacity.per_second(_best_rows(capacity, load))
    seconds = found.seconds
    return Fleet(
        devices=Figure(
            found.devices, min(found.devices, quick.devices), max(found.devices, slow.devices), best.evidence
        ),
        rows=found.rows,
        per_second=best,
        used=load.busiest / (found.devices * best.value),
        seconds=Figure(seconds, seconds / capacity.factor, seconds * capacity.factor, best.evidence),
    )


@dataclass(frozen=True, slots=True, order=True)
class _Found:
    """Devices, what a request takes there, and requests at once on each; the fewest and quickest come first."""

    devices: int
    seconds: float
    rows: int


def _fewest(pace: Pace, most_rows: int, load: Load) -> _Found | None:
    fits = (_with_rows(pace, load, rows) for rows in _rows(most_rows))
    return min((found for found in fits if found is not None), default=None)


def _fewest_slow(capacity: Capacity, load: Load) -> _Found:
    slow = capacity.pace.slowed(capacity.factor)
    found = _fewest(slow, capacity.most_rows, load)
    found = found or _fewest(slow, capacity.most_rows, replace(load, latency_seconds=None))
    assert found is not None, "without a latency everything is quick enough"
    return found


def _best_rows(capacity: Capacity, load: Load) -> int:
    """Requests at once with which one device does most within the latency, waiting left out."""
    asked = load.latency_seconds
    quick = [rows for rows in _rows(capacity.most_rows) if asked is None or capacity.pace.seconds(rows) < asked]
    return max(quick, key=capacity.pace.per_second)


def _rows(most: int) -> Iterator[int]:
    """1, 2, 4, ... and the most."""
    rows = 1
    while rows < most:
        yield rows
        rows *= 2
    yield most


def _with_rows(pace: Pace, load: Load, rows: int) -> _Found | None:
    """The fewest devices with `rows` requests at once; None where none are quick enough."""
    asked = load.latency_seconds
    if asked is not None and pace.seconds(rows) >= asked:
        return None
    devices = max(1, math.ceil(load.busiest / (load.target * pace.per_second(rows)) - _ROUNDING))
    if asked is not None and _seconds(pace, load, rows, devices) > asked:
        devices = _fewest_quick(pace, load, rows, devices, asked)
    return _Found(devices, _seconds(pace, load, rows, devices), rows)


def _fewest_quick(pace: Pace, load: Load, rows: int, too_few: int, asked: float) -> int:
    """More devices, until nobody waits too long: waiting becomes shorter with every one."""
    most = too_few
    while _seconds(pace, load, rows, most) > asked and most < _MOST_DEVICES:
        too_few, most = most, 2 * most
    while most - too_few > 1:
        middle = (too_few + most) // 2
        too_few, most = (middle, most) if _seconds(pace, load, rows, middle) > asked else (too_few, middle)
    return most


def _seconds(pace: Pace, load: Load, rows: int, devices: int) -> float:
    """What a request takes at the peak, with its wait."""
    seconds = pace.seconds(rows)
    if pace.joins:
        return seconds + waiting_seconds(devices * rows, load.busiest, seconds)
    return seconds + waiting_seconds(devices, load.busiest / rows, seconds)


def waiting_seconds(places: int, arrivals: float, seconds: float) -> float:
    """How long one of `arrivals` a second waits on average for one of `places`, each of which takes `seconds`; the
    places are more than enough for all."""
    busy = arrivals * seconds / places
    counted = min(places, _MOST_PLACES)
    return erlang_c(counted, busy * counted) / (places / seconds - arrivals)


def erlang_c(places: int, offered: float) -> float:
    """The share of arrivals that find all `places` taken, of `offered` = arrivals x seconds each takes."""
    blocked = 1.0
    for place in range(1, places + 1):
        blocked = offered * blocked / (place + offered * blocked)
    return blocked / (1 - offered / places * (1 - blocked))


@dataclass(frozen=True, kw_only=True, slots=True)
class Spend:
    """The same money in both currencies."""

    cny: Figure
    usd: Figure

    def figure(self, currency: Currency) -> Figure:
        return self.cny if currency == "CNY" else self.usd

    def times(self, factor: float) -> "Spend":
        return Spend(cny=self.cny.times(factor), usd=self.usd.times(factor))

    def plus(self, other: "Spend") -> "Spend":
        """Both together, ends with ends: as far off as they can be at once. As well known as the worse of the
        two."""
        return Spend(cny=_sum(self.cny, other.cny), usd=_sum(self.usd, other.usd))


def _sum(first: Figure, second: Figure) -> Figure:
    weaker = min(first.evidence, second.evidence, key=list(Evidence).index)
    return Figure(first.value + second.value, first.low + second.low, first.high + second.high, weaker)


def exact_spend(money: Money, rate: ExchangeRate) -> Spend:
    """A sum that is known, as a price is."""
    cny, usd = rate.amount(money, "CNY"), rate.amount(money, "USD")
    return Spend(
        cny=Figure(cny, cny, cny, Evidence.MEASURED),
        usd=Figure(usd, usd, usd, Evidence.MEASURED),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ServingMoney:
    """What `machines` of an offer cost at `price` each, whether they are busy or not: an hour, a month of 720
    hours, and that over what they answer in it."""

    machines: Figure
    hourly: Spend
    monthly: Spend
    million_tokens: Spend
    million_requests: Spend
    price: Price


def serving_money(machines: Figure, price: Price, load: Load, tokens_per_request: int) -> ServingMoney:
    """`machines` are paid all month. The interval and evidence are those of their number."""
    hourly = Spend(
        cny=machines.times(price.rate.amount(price.hourly, "CNY")),
        usd=machines.times(price.rate.amount(price.hourly, "USD")),
    )
    monthly = hourly.times(MONTH_HOURS)
    million = monthly.times(_MILLION / load.requests_per_month)
    return ServingMoney(
        machines=machines,
        hourly=hourly,
        monthly=monthly,
        million_tokens=million.times(1 / tokens_per_request),
        million_requests=million,
        price=price,
    )
