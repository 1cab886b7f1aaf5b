"""Money of a training: the hours a machine is paid for, times the price of an hour.

    money = seconds / 3600 x price of an hour x runs x (1 + idle share)

The whole machine is paid, however many of its devices are used, and by the second: sellers that bill whole hours
cost more. Known error: that of the time; the price is taken as exact on its date. Leaves out: disks, traffic, and
the minutes before a training in which a machine is set up (part of the idle share, where the user gives one).
"""

from trimtab.estimation.estimate import MoneyEstimate
from trimtab.hardware.machine import Price
from trimtab.units import Figure

_HOUR_SECONDS = 3600.0


def money(seconds: Figure, price: Price, *, runs: int = 1, idle_share: float = 0.0) -> MoneyEstimate:
    """What `runs` trainings of `seconds` each cost at `price`, where the machine also stands idle for `idle_share`
    of that time (0.5 = half as long again). The interval and the evidence are those of the time."""
    paid = seconds.times(runs * (1 + idle_share))
    hours = paid.times(1 / _HOUR_SECONDS)
    return MoneyEstimate(
        cny=hours.times(price.rate.amount(price.hourly, "CNY")),
        usd=hours.times(price.rate.amount(price.hourly, "USD")),
        paid_seconds=paid,
        price=price,
    )
