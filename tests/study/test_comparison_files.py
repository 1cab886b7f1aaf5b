"""The files of a bake-off: JSON with every fact, CSV that no spreadsheet computes, charts that stand alone."""

import csv
import io
import json
import stat
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from bakeoff_cases import CASES, EVIL, FORMULA, hostile, of_errors, rich, single

from trimtab.data.spec import LengthHistogram
from trimtab.errors import Message
from trimtab.study.chart_png import png_converter, write_png
from trimtab.study.comparison_files import (
    chart_svgs,
    comparison_csv,
    comparison_json,
    guarded,
    write_comparison,
)

SVG = "{http://www.w3.org/2000/svg}"


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def missing(value: object, told: Any, path: str = "") -> list[str]:
    """Fields of a dataclass, and of those within, that JSON does not have under their own names."""
    if isinstance(value, Message | LengthHistogram):
        return []
    if is_dataclass(value) and not isinstance(value, type):
        found = [f"{path}.{one.name}" for one in fields(value) if one.name not in told]
        known = [one.name for one in fields(value) if one.name in told]
        return found + [
            gap for name in known for gap in missing(getattr(value, name), told[name], f"{path}.{name}")
        ]
    if isinstance(value, tuple):
        assert len(value) == len(told), path
        return [gap for at, one in enumerate(value) for gap in missing(one, told[at], f"{path}[{at}]")]
    return []


@pytest.mark.parametrize("case", CASES)
def test_json_is_strict_and_holds_every_field(case: str) -> None:
    bakeoff = CASES[case]()
    told = json.loads(json.dumps(comparison_json(bakeoff), allow_nan=False))
    assert told["format"] == 1
    assert missing(bakeoff, told) == []


def test_json_says_what_follows_from_the_facts() -> None:
    told = comparison_json(rich())
    assert told["chosen"] == "lora" and told["knee"] == "freeze (top 2)"
    assert told["frontier"] == ["lora", "full", "freeze (top 2)", "head"]
    best = told["standings"][0]["best"]
    assert best["dev"]["value"] == 0.928 and best["test"]["rows"] == 1000
    assert best["curve"][0][0] == 5 and best["trial"]["learning_rate"] == pytest.approx(1.5e-3)
    assert told["standings"][8]["trials"][0]["dev_loss"] is None, "infinity is not a number of JSON"
    assert told["standings"][9]["reason"]["code"] == "TT-P223" and told["standings"][9]["best"] is None
    errors = sorted(abs(p / m - 1) for p, m in ((1.15, 1.21), (1.9, 1.92), (1.02, 0.97), (0.6, 0.61)))
    assert told["errors"]["memory_share"] == pytest.approx((errors[1] + errors[2]) / 2, rel=1e-6)


def test_an_interval_that_is_not_known_is_null() -> None:
    told = json.loads(json.dumps(comparison_json(of_errors()), allow_nan=False))
    assert told["standings"][1]["compared"]["low"] is None


def test_messages_of_json_are_in_the_language_asked_for() -> None:
    assert comparison_json(rich(), "zh")["verdict"]["text"] == rich().verdict.text("zh")


def test_csv_has_a_row_a_strategy_with_the_figures_of_the_facts() -> None:
    bakeoff = rich()
    found = rows(comparison_csv(bakeoff))
    assert [row["strategy"] for row in found] == [one.entrant.name for one in bakeoff.standings]
    first, second = found[:2]
    assert (first["status"], first["dev"], first["test"]) == ("chosen", "0.928", "0.916")
    assert first["peak_memory_bytes"] == str(int(1.21 * 1024**3)) and first["train_seconds"] == "171.4"
    assert float(second["against_chosen"]) == pytest.approx(0.003)
    assert float(second["against_chosen_low"]) == -0.009, "a number stays one, though it begins with a minus"
    assert (first["seeds"], second["seeds"], first["switchable"]) == ("3", "1", "true")
    assert [row["knee"] for row in found].count("true") == 1
    failed, untried = found[8], found[9]
    assert failed["dev"] == untried["dev"] == "" and untried["learning_rate"] == ""
    assert float(untried["predicted_train_seconds"]) == 1440


def test_no_cell_of_csv_is_a_formula() -> None:
    found = rows(comparison_csv(hostile()))
    assert [row["strategy"] for row in found[1:7]] == [
        f"'{FORMULA}", "'+1", "'-1", "'@SUM(A1)", "'\tx", "'\rx",
    ]  # fmt: skip
    assert found[8]["strategy"] == 'a,b\n"c"', "quoted, and whole"
    cells = [cell for row in found for cell in row.values() if cell and not _is_number(cell)]
    assert not [cell for cell in cells if cell[0] in "=+-@\t\r\n"]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return cell not in ("+1", "-1")


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"), ("  =1", "'  =1"), ("＝1", "'＝1"), ("\n=1", "'\n=1"), ("plain", "plain"), ("", ""),
        (-0.5, "-0.5"), (0, "0"), (True, "true"), (None, ""), (float("nan"), ""), (float("-inf"), ""), 
        ("a=b", "a=b"),
    ],
)  # fmt: skip
def test_what_a_spreadsheet_would_compute_is_guarded(cell: Any, written: str) -> None:
    assert guarded(cell) == written


@pytest.mark.parametrize("case", CASES)
def test_charts_are_files_that_need_nothing_else(case: str) -> None:
    for name, svg in chart_svgs(CASES[case]()):
        root = ElementTree.fromstring(svg)
        assert root.tag == f"{SVG}svg", name
        assert not [one for one in root.iter() if one.tag in (f"{SVG}script", f"{SVG}image", f"{SVG}a")]
        style = root.find(f"{SVG}style")
        assert style is not None and style.text is not None and "var(" not in style.text and "@import" not in svg
        box = [float(number) for number in root.attrib["viewBox"].split()]
        assert float(root.attrib["width"]) / float(root.attrib["height"]) == pytest.approx(box[2] / box[3])


def test_what_has_no_figures_has_no_chart() -> None:
    names = [name for name, _ in chart_svgs(rich())]
    planes = ["frontier-memory", "frontier-seconds", "predicted-memory", "predicted-seconds"]
    assert names == [*planes, "learning-curves", "learning-rates"]
    bare = replace(single(), standings=(replace(single().chosen, trials=()),))
    assert [name for name, _ in chart_svgs(bare)] == [*planes, "learning-curves"]


def test_everything_is_written_and_the_page_last(tmp_path: Path) -> None:
    page = write_comparison(rich(), tmp_path / "out", "zh")
    assert page == tmp_path / "out" / "comparison.html"
    files = {str(file.relative_to(page.parent)) for file in page.parent.rglob("*") if file.suffix != ".png"}
    charts = {f"charts/{name}.svg" for name, _ in chart_svgs(rich())}
    assert files == {"comparison.html", "comparison.json", "comparison.csv", "charts", *charts}
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert json.loads((page.parent / "comparison.json").read_text())["chosen"] == "lora"
    assert 'lang="zh-CN"' in page.read_text(encoding="utf-8")
    assert rows((page.parent / "comparison.csv").read_bytes().decode())[0]["strategy"] == "lora"


def test_a_second_time_everything_is_replaced(tmp_path: Path) -> None:
    write_comparison(rich(), tmp_path)
    write_comparison(single(), tmp_path)
    assert len(rows((tmp_path / "comparison.csv").read_text())) == 1


def _converter(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "rsvg-convert"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_png_is_made_where_a_converter_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _converter(tmp_path, 'out=${2#--output=}; cp "$3" "$out"', monkeypatch)
    svg = tmp_path / "a chart.svg"
    svg.write_text("<svg/>")
    assert png_converter() == "rsvg-convert"
    assert write_png(svg) == tmp_path / "a chart.png" and (tmp_path / "a chart.png").read_text() == "<svg/>"


def test_a_converter_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _converter(tmp_path, "echo half > ${2#--output=}; exit 1", monkeypatch)
    svg = tmp_path / "chart.svg"
    svg.write_text("<svg/>")
    assert write_png(svg) is None and not (tmp_path / "chart.png").exists()


def test_without_a_converter_there_is_no_png(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert png_converter() is None and write_png(tmp_path / "chart.svg") is None


def test_hostile_names_stand_in_charts_as_text() -> None:
    svg = dict(chart_svgs(hostile()))["learning-rates"]
    texts = " ".join(ElementTree.fromstring(svg).itertext())
    assert EVIL[-9:] in texts
