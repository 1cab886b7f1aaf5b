"""How much goes for a latency: on a clock that is a formula, and on one that is wrong."""

from collections.abc import Callable

import numpy as np
import pytest

from trimtab.compression.choose import Removal, choose
from trimtab.compression.enough import MOST_SHARE, FastEnough, Tried, least_share
from trimtab.compression.worth import Importance
from trimtab.estimation.work import forward_flop
from trimtab.models import shape_named
from trimtab.models.layer_shapes import Kept
from trimtab.models.pruned import with_shapes

MINILM = shape_named("minilm-l6-h384")
WORTH = Importance(
    groups=tuple(np.arange(12.0) for _ in range(6)), neurons=tuple(np.arange(1536.0) for _ in range(6))
)


def left(share: float) -> Kept:
    return choose(MINILM, WORTH, Removal(share=share))


def work(kept: Kept) -> float:
    return forward_flop(with_shapes(MINILM, kept.shapes(MINILM.shapes)), 32) / forward_flop(MINILM, 32)


def search(wanted: float, seconds_of: Callable[[float], float]) -> tuple[list[Tried], Tried | None]:
    found = FastEnough(
        wanted_seconds=wanted,
        whole_seconds=seconds_of(1.0),
        left=left,
        work=work,
        measure=lambda kept: seconds_of(work(kept)),
    )
    tried = list(found.tries())
    return tried, found.best(tried)


def test_the_least_share_is_found_by_halving() -> None:
    assert least_share(lambda share: share >= 0.3) == pytest.approx(0.3, abs=1e-3)
    assert least_share(lambda share: True) == pytest.approx(0, abs=1e-3)
    assert least_share(lambda share: share >= MOST_SHARE) is None


def test_where_seconds_are_in_proportion_to_work_the_first_prediction_does() -> None:
    tried, best = search(0.006, lambda work: 0.010 * work)
    assert best is not None and tried == [best]
    assert 0.93 * 0.006 <= best.seconds == pytest.approx(best.predicted_seconds)


@pytest.mark.parametrize("wanted", [0.009, 0.007, 0.006])
def test_what_a_pass_takes_whatever_its_work_is_learned(wanted: float) -> None:
    """Half of the time has nothing to do with the work: the first prediction says too much of less work."""
    tried, best = search(wanted, lambda work: 0.005 + 0.005 * work)
    assert best is not None and len(tried) <= 3
    assert 0.93 * wanted <= best.seconds <= wanted
    assert tried[-1].predicted_seconds == pytest.approx(tried[-1].seconds)


def test_a_curve_is_met_from_both_sides() -> None:
    """What is too fast is not kept where less does."""
    tried, best = search(0.007, lambda work: 0.010 * work**0.3)
    assert best is not None and best.seconds <= 0.007 < tried[0].seconds
    assert best.work_share == max(one.work_share for one in tried if one.seconds <= 0.007)


def test_what_cannot_be_reached_ends_with_as_little_as_can_be() -> None:
    tried, best = search(0.004, lambda work: 0.005 + 0.005 * work)
    assert best is None and tried[-1].kept == left(MOST_SHARE)


def test_noise_ends_the_search_too() -> None:
    """A clock that says nothing of the work."""
    draw = np.random.default_rng(0)
    tried, _ = search(0.009, lambda work: 0.010 + 0.001 * draw.standard_normal())
    assert 1 <= len(tried) <= 5
