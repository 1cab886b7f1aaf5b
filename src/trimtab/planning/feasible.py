"""Feasible: whether an estimate stays within machine and limits, and by how much it does not.

"Fits" compares the high end of the predicted interval: what may run out of memory, time or money does not fit.
"""

from trimtab.errors import Message, message
from trimtab.estimation.estimate import Estimate
from trimtab.hardware.machine import Machine
from trimtab.planning.plan import Limits
from trimtab.planning.words import part_word, phase_word, price_word
from trimtab.units import Figure, Money


def usable_bytes(machine: Machine, limits: Limits) -> int:
    """Memory a training may use, in bytes: what a process can get of one device, and no more than the user's
    limit. Further devices do not count, since no strategy shards a model yet."""
    usable = machine.device.usable_bytes
    return usable if limits.memory_bytes is None else min(usable, limits.memory_bytes)


def overrun(estimate: Estimate, machine: Machine, limits: Limits) -> float:
    """Need over allowance, the worst of memory, time and money: up to 1.0 it fits, 2.0 needs twice as much."""
    memory = memory_overrun(estimate, machine, limits)
    time = 0.0 if limits.seconds is None else estimate.time.total_seconds.high / limits.seconds
    money = 0.0 if limits.money is None else cost(estimate, limits.money).high / limits.money.amount
    return max(memory, time, money)


def memory_overrun(estimate: Estimate, machine: Machine, limits: Limits) -> float:
    """Memory needed over memory allowed."""
    return estimate.memory.peak_bytes.high / usable_bytes(machine, limits)


def cost(estimate: Estimate, limit: Money) -> Figure:
    """What a run costs, in the currency of `limit`. A request without a price of its machine has no such limit."""
    assert estimate.money is not None, "Request.check refuses it"
    return estimate.money.figure(limit.currency)


def shortfalls(estimate: Estimate, machine: Machine, limits: Limits) -> tuple[Message, ...]:
    """Why it does not fit, in numbers; empty where it fits."""
    found = []
    peak, usable = estimate.memory.peak_bytes, usable_bytes(machine, limits)
    if peak.high > usable:
        largest = estimate.memory.parts.largest
        found.append(
            message(
                "TT-P101" if usable == machine.device.usable_bytes else "TT-P102",
                need=peak.high,
                have=usable,
                part=part_word(largest),
                part_bytes=getattr(estimate.memory.parts, f"{largest}_bytes"),
                phase=phase_word(estimate.memory.phase),
            )
        )
    total = estimate.time.total_seconds
    if limits.seconds is not None and total.high > limits.seconds:
        found.append(message("TT-P103", need=total.high, expected=total.value, have=limits.seconds))
    if limits.money is not None and cost(estimate, limits.money).high > limits.money.amount:
        found.append(_too_dear(estimate, limits.money))
    return tuple(found)


def _too_dear(estimate: Estimate, limit: Money) -> Message:
    figure = cost(estimate, limit)
    assert estimate.money is not None
    return message(
        "TT-P105",
        need=Money(figure.high, limit.currency),
        expected=Money(figure.value, limit.currency),
        have=limit,
        price=price_word(estimate.money.price),
    )
