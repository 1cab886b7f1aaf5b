"""Lines that fit, in English and Chinese."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from trimtab.app.cli.flow import wrap


def test_english_breaks_at_spaces() -> None:
    assert list(wrap("one two three", 7)) == ["one two", "three"]


def test_chinese_breaks_between_characters_but_marks_stay_with_them() -> None:
    # Ten cells hold five characters; the comma may not open a line, so the fifth goes down with it.
    assert list(wrap("内存不足了，请关闭", 10)) == ["内存不足", "了，请关闭"]
    assert list(wrap("用时（预测）很长", 6)) == ["用时", "（预", "测）很", "长"]


def test_numbers_and_words_in_chinese_stay_whole() -> None:
    assert list(wrap("需要 21.4 GiB 内存", 11)) == ["需要 21.4", "GiB 内存"]
    assert list(wrap("使用rtx3060训练", 8)) == ["使用", "rtx3060", "训练"]


def test_a_word_wider_than_the_line_is_cut() -> None:
    assert list(wrap("abcdefgh", 3)) == ["abc", "def", "gh"]


@example(" 、、、、", 8)
@given(st.text(alphabet="ab 、。（）字词，%1", max_size=60), st.integers(min_value=8, max_value=30))
def test_no_line_is_too_wide_and_nothing_is_lost(text: str, width: int) -> None:
    lines = list(wrap(text, width))
    assert all(cell_len(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


@pytest.mark.parametrize("text", ["", "\n", "a\n\nb"])
def test_paragraphs_are_kept(text: str) -> None:
    assert list(wrap(text, 10)) == (text.splitlines() or [""])
