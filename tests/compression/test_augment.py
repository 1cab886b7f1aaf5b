"""Noisy copies: how many words change, into what, and that a second reading gives the same."""

from collections import Counter

import numpy as np
import pytest

from trimtab.compression.augment import Joined, Noise, NoisyCopies
from trimtab.data import Example

ROWS = [Example(("one two three four five six seven eight",), 1), Example(("one, one (two)!", "好 film"), 0)] * 200


def words_of(text: str) -> list[str]:
    return text.split()


def test_each_copy_has_no_label_and_as_many_words() -> None:
    copies = list(NoisyCopies(ROWS, Noise(copies=3), "[MASK]"))
    assert len(copies) == 1200 == len(NoisyCopies(ROWS, Noise(copies=3), "[MASK]"))
    assert {copy.label for copy in copies} == {None}
    for number, copy in enumerate(copies):
        original = ROWS[number // 3]
        assert [len(words_of(text)) for text in copy.texts] == [len(words_of(text)) for text in original.texts]


def test_marks_and_spaces_stay_where_they_are() -> None:
    nothing = Noise(copies=1, mask_share=0.0, replace_share=0.0)
    assert [copy.texts for copy in NoisyCopies(ROWS, nothing, "[MASK]")] == [row.texts for row in ROWS]


def test_shares_of_masked_and_replaced_words() -> None:
    rows = [Example(("alpha " * 50,), 0), Example(("beta " * 150,), 0)] * 20
    noise = Noise(copies=2, mask_share=0.2, replace_share=0.4, seed=3)
    alphas = Counter(
        word for copy in list(NoisyCopies(rows, noise, "[MASK]"))[::1] for word in words_of(copy.texts[0])
    )
    words = sum(alphas.values())
    assert words == 2 * 200 * 20
    assert alphas["[MASK]"] / words == pytest.approx(0.2, abs=0.02)
    # Words are drawn by how often they occur, so that their shares stay: 1 to 3.
    assert alphas["alpha"] / (words - alphas["[MASK]"]) == pytest.approx(0.25, abs=0.02)
    from_beta = [word for copy in NoisyCopies(rows[1:2] * 40, noise, "[MASK]") for word in words_of(copy.texts[0])]
    assert set(from_beta) == {"beta", "[MASK]"}


def test_without_a_mask_those_words_stay() -> None:
    noise = Noise(copies=1, mask_share=0.5, replace_share=0.0)
    assert [copy.texts for copy in NoisyCopies(ROWS, noise, None)] == [row.texts for row in ROWS]


def test_a_seed_decides_all() -> None:
    def texts(seed: int) -> list[tuple[str, ...]]:
        return [copy.texts for copy in NoisyCopies(ROWS, Noise(seed=seed), "[MASK]")]

    copies = NoisyCopies(ROWS, Noise(seed=1), "[MASK]")
    assert [copy.texts for copy in copies] == [copy.texts for copy in copies] == texts(1) != texts(2)
    assert Noise(seed=1).key != Noise(seed=2).key


def test_rows_joined_come_one_after_the_other() -> None:
    joined = Joined([ROWS[:2], ROWS[1:2]])
    assert len(joined) == 3 and list(joined) == [*ROWS[:2], ROWS[1]]
    assert np.array_equal([len(list(joined)), len(list(joined))], [3, 3])
