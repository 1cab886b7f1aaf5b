"""Advice: what would make something fit, each piece of it tried out before it is given."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

from trimtab.errors import Message, message
from trimtab.estimation.estimate import Estimate
from trimtab.planning.candidates import default_max_length
from trimtab.planning.feasible import cost, usable_bytes
from trimtab.planning.request import Request
from trimtab.units import Money

SHORTEST_ADVISED = 32  # tokens; below this a text is hardly a text


def advice(
    request: Request, estimates: tuple[Estimate, ...], *, fits: Callable[[Request], bool]
) -> tuple[Message, ...]:
    """What to change so that a strategy fits, each change alone; a smaller model where none would do.

    `estimates` are the nearest misses of each variant; `fits` tells whether a request has a strategy.
    """
    found = [*_raise_limits(request, estimates, fits), *_other_method(request, fits)]
    found += [*_shorter_texts(request, fits), *_fewer_epochs(request, estimates, fits)]
    return tuple(found) or (_last_resort(request, estimates),)


def _least_bytes(estimates: tuple[Estimate, ...]) -> float:
    return min(estimate.memory.peak_bytes.high for estimate in estimates)


def _last_resort(request: Request, estimates: tuple[Estimate, ...]) -> Message:
    need = _least_bytes(estimates)
    if need > usable_bytes(request.machine, request.limits):
        return message("TT-P035", need=need)
    return message("TT-P036")


def _raise_limits(
    request: Request, estimates: tuple[Estimate, ...], fits: Callable[[Request], bool]
) -> Iterator[Message]:
    """The smallest limit that would do, on its own, in whole MiB, minutes or hundredths."""
    limits = request.limits
    if limits.memory_bytes is not None:
        mebibytes = -(-int(_least_bytes(estimates)) // 2**20) + 1
        if fits(replace(request, limits=replace(limits, memory_bytes=mebibytes * 2**20))):
            yield message("TT-P030", mebibytes=mebibytes)
    if limits.seconds is not None:
        minutes = int(min(estimate.time.total_seconds.high for estimate in estimates) // 60) + 1
        if fits(replace(request, limits=replace(limits, seconds=60.0 * minutes))):
            yield message("TT-P031", minutes=minutes)
    if limits.money is not None:
        least = min(cost(estimate, limits.money).high for estimate in estimates)
        enough = Money(math.floor(100 * least + 1) / 100, limits.money.currency)
        if fits(replace(request, limits=replace(limits, money=enough))):
            yield message("TT-P037", amount=f"{enough.amount:.2f}{enough.currency}")


def _other_method(request: Request, fits: Callable[[Request], bool]) -> Iterator[Message]:
    if request.method is not None and fits(replace(request, method=None)):
        yield message("TT-P032")


def _shorter_texts(request: Request, fits: Callable[[Request], bool]) -> Iterator[Message]:
    """The longest power of two that lets something fit, with how many texts it would cut."""
    length = request.settings.max_length or default_max_length(request.spec, request.data)
    shorter = 1 << ((length - 1).bit_length() - 1) if length > 1 else 1
    while shorter >= SHORTEST_ADVISED:
        if fits(replace(request, settings=replace(request.settings, max_length=shorter))):
            cut = request.data.cut_at(shorter).lengths.share_longer_than(shorter)
            yield message("TT-P033", length=shorter, cut=cut)
            return
        shorter //= 2


def _fewer_epochs(
    request: Request, estimates: tuple[Estimate, ...], fits: Callable[[Request], bool]
) -> Iterator[Message]:
    """Time and money are proportional to epochs, so that one trial is enough."""
    limits = request.limits
    if limits.seconds is None and limits.money is None:
        return
    quickest = min(estimates, key=lambda estimate: estimate.time.total_seconds.high)
    shares = []
    if limits.seconds is not None:
        shares.append(limits.seconds / quickest.time.total_seconds.high)
    if limits.money is not None:
        shares.append(limits.money.amount / cost(quickest, limits.money).high)
    epochs = int(quickest.strategy.schedule.epochs * min(shares))
    if epochs and fits(replace(request, settings=replace(request.settings, epochs=epochs))):
        yield message("TT-P034", epochs=epochs)
