"""Training and serving over months: what stands at the end of each, and from when on one way is cheaper than
another.

    total(m)          = training + m x month
    break-even month  = (training a - training b) / (month b - month a), where a begins dearer and goes on cheaper
    break-even volume = requests a day at which a service that is paid by the request costs as much:
                        (training + months x month) / (months x 30 x price of a request)

Money of a service that is paid by the machine goes up in steps, one by the request in a line: the volume is the
least at which so many machines can carry it and cost no more. Known error: those of its parts; rates of interest
and prices that change are left out."""

from dataclasses import dataclass

from trimtab.planning.fleet import MONTH_HOURS, Spend

MONTH_DAYS = MONTH_HOURS / 24


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """One way to serve, in money: paid once, and paid every month."""

    once: Spend
    monthly: Spend

    def total(self, months: float) -> Spend:
        return self.once.plus(self.monthly.times(months))


def break_even_month(first: Way, second: Way) -> float | None:
    """The month in which two ways have cost the same, by the likeliest figures in yuan; None: one of them is
    cheaper from the first day on."""
    begins = first.once.cny.value - second.once.cny.value
    goes_on = second.monthly.cny.value - first.monthly.cny.value
    if begins * goes_on <= 0:
        return None
    return begins / goes_on


def break_even_volume(once: Spend, monthly: Spend, months: int, request: Spend) -> float:
    """Requests a day at which a way costs as much over `months` as `request` for each of them, by the likeliest
    figures."""
    whole = once.cny.value + months * monthly.cny.value
    return whole / (months * MONTH_DAYS * request.cny.value)


def shown_months(months: int) -> tuple[int, ...]:
    """Of so many the ones worth a row: 1, 2, 3, 6, 12, 24, ... and the last."""
    usual = (1, 2, 3, 6, *range(12, months, 12))
    return (*(month for month in usual if month < months), months)
