"""The page of a bake-off in Chromium: nothing is wider than the window, no label on another, nothing fetched."""

from collections.abc import Iterator

import pytest
from bakeoff_cases import CASES

import chromium
from chromium import Page, served, window
from trimtab.study.comparison_files import write_comparison

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(bool(chromium.missing), reason=f"no {', '.join(chromium.missing)} on this machine"),
]
_BOXES = """
return [...document.querySelectorAll("svg.chart")].map((chart) =>
  [...chart.querySelectorAll("text.name, text.figure, text.tick.middle")].map((text) => {
    const box = text.getBoundingClientRect();
    return [text.textContent, box.left, box.top, box.right, box.bottom];
  }));
"""
_CONTRAST = """
const light = (colour) => colour.match(/[0-9.]+/g).slice(0, 3).map(Number)
  .map((part) => part / 255).map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
  .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
const [ink, paper] = [getComputedStyle(document.querySelector("td small")).color,
  getComputedStyle(document.querySelector(".card")).backgroundColor].map(light);
return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("compared")
    for name, make in CASES.items():
        for language in ("en", "zh"):
            write_comparison(make(), folder / name / language, language)
    with served(folder) as address:
        yield address


def covered(boxes: list[list[float | str]]) -> list[tuple[object, object]]:
    """Pairs of texts of which one lies on the other by more than a pixel each way."""
    return [
        (one[0], other[0])
        for at, one in enumerate(boxes)
        for other in boxes[at + 1 :]
        if min(one[3], other[3]) - max(one[1], other[1]) > 1 and min(one[4], other[4]) - max(one[2], other[2]) > 1
    ]


@pytest.mark.parametrize(("width", "phone"), [(1040, False), (360, True)])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_it_fits_its_window_and_no_label_lies_on_another(
    pages: str, language: str, width: int, phone: bool
) -> None:
    with window(width=width, phone=phone) as page:
        for case in CASES:
            page.requests()
            address = f"{pages}{case}/{language}/comparison.html"
            page.open(address)
            assert [one for one in page.requests() if not one.endswith("favicon.ico")] == [address]
            wide = page.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0, case
            found = [pair for chart in page.run(_BOXES) for pair in covered(chart)]
            assert not found, case


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_grey_figures_can_be_read_in_light_and_dark(pages: str, scheme: str) -> None:
    """4.5 to 1, what WCAG 2.2 asks for small text."""
    with window() as page:
        _scheme(page, scheme)
        page.open(f"{pages}rich/en/comparison.html")
        assert page.run(_CONTRAST) >= 4.5


def test_a_chart_by_itself_is_drawn_at_its_size(pages: str) -> None:
    with window() as page:
        page.open(f"{pages}rich/en/charts/frontier-memory.svg")
        left, width = page.run(
            "const box = document.documentElement.getBoundingClientRect(); return [box.left, box.width]"
        )
        assert left >= 0 and width == pytest.approx(2 * (440 + 24))


def _scheme(page: Page, scheme: str) -> None:
    said = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page.ask("/goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": said})
