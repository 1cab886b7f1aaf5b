"""How much of a model has to go for it to be small enough, or fast enough: the least share of heads and neurons.
Pure.

Bytes of a share are exact before anything is cut. Seconds of one text are predicted from the work of a forward
pass, and measured on what is left. A pass takes some time whatever its work, most of it where matrices are small:
that shows in what was measured, and the next share is predicted with it.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from trimtab.models.layer_shapes import Kept

MOST_SHARE = 0.95
_HALVINGS = 12
_TRIES = 5
_AIMED = 0.98  # of the latency, so that what is measured is rather below than above
_NEAR = 0.93  # of the latency: pruned by no more than it takes


def least_share(enough: Callable[[float], bool]) -> float | None:
    """The least share up to `MOST_SHARE` of which `enough` holds, by halving; None where it holds of none."""
    low, high, found = 0.0, MOST_SHARE, None
    for _ in range(_HALVINGS):
        share = (low + high) / 2
        if enough(share):
            found = high = share
        else:
            low = share
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Tried:
    """What may be kept: its work in a forward pass, as a share of the whole model's, and seconds of one text."""

    kept: Kept
    work_share: float
    predicted_seconds: float
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class FastEnough:
    """A search for what takes at most `wanted_seconds`, of a model that takes `whole_seconds`. `left`: what a
    share leaves; `work`: of a forward pass of that, as a share of the whole model's; `measure`: seconds of one
    text."""

    wanted_seconds: float
    whole_seconds: float
    left: Callable[[float], Kept]
    work: Callable[[Kept], float]
    measure: Callable[[Kept], float]

    def tries(self) -> Iterator[Tried]:
        """A few, each predicted better than the last, until one is fast enough and hardly faster."""
        tried: list[Tried] = []
        for _ in range(_TRIES):
            line = self._line(tried)
            kept = self._at_most(line.work_at(_AIMED * self.wanted_seconds))
            if any(one.kept == kept for one in tried):
                return
            work = self.work(kept)
            one = Tried(
                kept=kept,
                work_share=work,
                predicted_seconds=line.seconds_at(work),
                seconds=self.measure(kept),
            )
            tried.append(one)
            yield one
            if _NEAR * self.wanted_seconds <= one.seconds <= self.wanted_seconds:
                return

    def best(self, tried: Iterable[Tried]) -> Tried | None:
        """The one that keeps most of those that are fast enough."""
        fast = [one for one in tried if one.seconds <= self.wanted_seconds]
        return max(fast, key=lambda one: one.work_share, default=None)

    def _at_most(self, work_share: float) -> Kept:
        """What keeps that share of the work, or as little as can be."""
        share = least_share(lambda share: self.work(self.left(share)) <= work_share)
        return self.left(MOST_SHARE if share is None else share)

    def _line(self, tried: list[Tried]) -> "_Line":
        """Through the two measurements next to what is wanted, on either side of it where there are such."""
        whole = (1.0, self.whole_seconds)
        slow = min([whole, *self._points(tried, slow=True)])
        fast = max(self._points(tried, slow=False), default=None)
        if fast is not None:
            return _Line(*fast, *slow)
        return _Line(0.0, 0.0, *whole) if slow == whole else _Line(*slow, *whole)

    def _points(self, tried: list[Tried], *, slow: bool) -> list[tuple[float, float]]:
        return [(one.work_share, one.seconds) for one in tried if (one.seconds > self.wanted_seconds) is slow]


@dataclass(frozen=True, slots=True)
class _Line:
    """Seconds by work, through two points, the one with less work first."""

    less_work: float
    less_seconds: float
    more_work: float
    more_seconds: float

    @property
    def seconds_a_work(self) -> float:
        """What less work saves; a twentieth of what it would in proportion where noise says less."""
        risen = (self.more_seconds - self.less_seconds) / (self.more_work - self.less_work)
        return max(risen, 0.05 * self.more_seconds / self.more_work)

    def seconds_at(self, work: float) -> float:
        return self.less_seconds + (work - self.less_work) * self.seconds_a_work

    def work_at(self, seconds: float) -> float:
        return self.less_work + (seconds - self.less_seconds) / self.seconds_a_work
