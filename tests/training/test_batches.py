"""Which rows make which batch."""

import numpy as np
import pytest

from trimtab.training.batches import epoch_batches, longest_rows, micro_batches

LENGTHS = np.random.default_rng(0).geometric(0.05, 1003)


def plan(seed: int = 0, epoch: int = 0) -> list[np.ndarray]:
    return epoch_batches(LENGTHS, 8, seed=seed, epoch=epoch)


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 512, 513, 1003])
def test_every_row_stands_in_exactly_one_batch(rows: int) -> None:
    batches = epoch_batches(LENGTHS[:rows], 8, seed=1, epoch=2)
    assert sorted(np.concatenate(batches).tolist()) == list(range(rows))
    assert len(batches) == -(-rows // 8)
    assert sum(len(batch) < 8 for batch in batches) == (rows % 8 > 0)


def test_seed_and_epoch_decide_everything() -> None:
    def same(left: list[np.ndarray], right: list[np.ndarray]) -> bool:
        return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))

    assert same(plan(), plan())
    assert not same(plan(epoch=0), plan(epoch=1))
    assert not same(plan(seed=0), plan(seed=1))


def padding_share(batches: list[np.ndarray]) -> float:
    padded = sum(LENGTHS[batch].max() * len(batch) for batch in batches)
    return 1 - LENGTHS.sum() / padded


def test_padding_nearly_vanishes() -> None:
    order = np.random.default_rng(1).permutation(len(LENGTHS))
    by_chance = padding_share([order[at : at + 8] for at in range(0, len(order), 8)])
    assert by_chance > 0.5
    assert padding_share(plan()) < 0.1


def test_long_and_short_batches_are_mixed() -> None:
    """Sorting must not become a curriculum: length and position in the epoch are unrelated."""
    means = [LENGTHS[batch].mean() for batch in plan()]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.25


def test_micro_batches_keep_the_rows_and_the_limit() -> None:
    rows = np.arange(10)
    pieces = micro_batches(rows, 4)
    assert [piece.tolist() for piece in pieces] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_the_longest_rows_come_first() -> None:
    assert longest_rows(np.array([3, 9, 1, 9, 5]), 3).tolist() == [1, 3, 4]
