"""docs/tables.md: every figure of ours on the page is what the program says of docs/tables.csv."""

import csv
import re
from datetime import date
from pathlib import Path

import pytest

from trimtab.study.request import Pricing
from trimtab.study.rows import RowEstimate, estimate_rows

DOCS = Path(__file__).resolve().parents[2] / "docs"
ROWS = list(csv.DictReader((DOCS / "tables.csv").open(encoding="utf-8")))
PAGE = (DOCS / "tables.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[RowEstimate]:
    """Shipped prices alone, on a fixed day."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIMTAB_HOME", str(tmp_path_factory.mktemp("home")))
        return list(estimate_rows(str(DOCS / "tables.csv"), pricing=Pricing(today=date(2026, 11, 25))))


def test_the_page_says_what_the_program_says(found: list[RowEstimate]) -> None:
    lines = [line for line in PAGE.splitlines() if re.match(r"\| (ChatGLM|Qwen|BGE|Mistral|MiniCPM)", line)]
    assert len(lines) == len(found) == len(ROWS)
    for line, row in zip(lines, found, strict=True):
        assert row.estimate is not None and row.train_seconds is not None and row.money is not None, row.error
        _, _, memory, hours, cny, at = (cell.strip() for cell in line.strip("|").split("|"))
        assert memory == f"{row.estimate.memory.reserved.value / 2**30:.1f} GiB", row.id
        assert hours == f"{row.train_seconds.value / 3600:.2f}", row.id
        assert cny == f"{row.money.cny.value:.1f}", row.id
        hourly, day = row.money.price.hourly, row.money.price.as_of
        assert at == f"{hourly.amount:.2f} {hourly.currency}/h, {day}", row.id


def test_each_fits_the_card_it_is_for(found: list[RowEstimate]) -> None:
    sizes = {"A10": 24, "P100-16GB-PCIe": 16, "T4": 16, "RTX 3090": 24, "A100-40GB-SXM": 40}
    for cells, row in zip(ROWS, found, strict=True):
        assert row.estimate is not None
        assert row.estimate.memory.device.high < 0.95 * sizes[cells["device"]] * 2**30, row.id


def test_popular_hours_are_of_the_same_order_but_for_the_p100(found: list[RowEstimate]) -> None:
    theirs = {"chatglm3-6b": (2, 3), "bge-large-zh": (0, 1), "mistral-7b": (2, 3), "minicpm-2b-t4": (0.66, 1)}
    for row in found:
        assert row.train_seconds is not None
        if row.id in theirs:
            low, high = theirs[row.id]
            assert row.train_seconds.low / 3600 <= high and row.train_seconds.high / 3600 >= 0.5 * low
        if row.id == "qwen-7b":
            assert row.train_seconds.low / 3600 > 4
