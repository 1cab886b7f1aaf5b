"""A csv of 200,000 rows: what it takes beyond a training of a thousand is a fifth of what a million may, and its
tokens are found the second time."""

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest
from million_rows import MIB, compare

ROWS = 200_000
A_MILLION_MAY = 1536 * MIB  # of resident memory beyond the model


@pytest.mark.soak
def test_many_rows_in_little_memory(real_model: Callable[[str], Path], shared: Callable[[str], str]) -> None:
    arguments = argparse.Namespace(
        model=str(real_model("paraphrase-minilm-l3-v2")), sst2=shared("sst2"), method="head", steps=5, whole=False
    )
    found = compare(ROWS, arguments)
    for name in ("all", "again"):
        seen = found[name]
        assert seen.facts["steps"] == 5 and seen.facts["train_rows"] > 0.75 * ROWS
        assert seen.peak[0] - found["base"].peak[0] < A_MILLION_MAY * ROWS / 1e6
        assert seen.peak[0] < A_MILLION_MAY  # the model among it
    first, again = (found[name].seconds["count"] + found[name].seconds["rows"] for name in ("all", "again"))
    assert again < first / 5
