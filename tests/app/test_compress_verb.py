"""trimtab compress and trimtab bench, as they are typed."""

import json
import shutil
from pathlib import Path

import pytest

from tiny_artifacts import moved_artifact, tiny_base
from tiny_training import write_data


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return moved_artifact(tmp_path / "mood", tiny_base(tmp_path, layers=1), "full")


def test_a_step_leaves_what_predict_and_bench_take(tt, model: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "onnx")
    done = tt("compress", str(model), "export", "--to", "onnx", "--out", out)
    assert (done.code, done.out.splitlines()[0].partition(":")[0]) == (0, out)
    assert "100.0 %" in done.out and "TT-" not in done.out + done.err
    before, after = (tt("predict", place, "--text", "a good film", "--json") for place in (str(model), out))
    assert json.loads(before.out)["probability"] == pytest.approx(json.loads(after.out)["probability"], abs=1e-4)
    timed = json.loads(tt("bench", str(model), out, "--rounds", "2", "--length", "8", "--json").out)
    assert [one["speed"]["folder"] for one in timed] == [str(model), out]
    assert all(0 < one["speed"]["median_seconds"] <= one["speed"]["p95_seconds"] for one in timed)
    table = tt("bench", str(model), "--rounds", "1", "--length", "8", "--batch", "2", "--lang", "zh")
    assert table.code == 0 and "1.00 x" in table.out
    shown = tt("ledger")
    assert shown.code == 0 and "export --to onnx" in shown.out
    (kept,) = json.loads(tt("ledger", "--json").out)["variants"]
    assert (kept["parent"], kept["folder"]) == (str(model), out)
    assert kept["weight_bytes"] == sum(file.stat().st_size for file in Path(out).glob("*.onnx"))
    again = tt("adapters", "show", out)
    assert again.code == 0 and "mood" not in again.out.splitlines()[0]


def test_pruning_until_the_floor_as_it_is_typed(tt, model: Path, calibration: Path, tmp_path: Path) -> None:
    """What it says on the way, what is left, and the command that makes it again."""
    shutil.copytree(calibration, tmp_path / "home", dirs_exist_ok=True)
    out, data = str(tmp_path / "less"), str(write_data(tmp_path / "data"))
    words = [
        "--until-floor",
        "--share",
        "0.5",
        "--steps",
        "2",
        "--floor",
        "100pt",
        "--epochs",
        "1",
        "--batch",
        "16",
    ]
    done = tt("compress", str(model), "prune", *words, "--data", data, "--out", out)
    assert done.code == 0 and "50.0 % of heads and neurons are gone" in done.err
    assert ", of 16" in done.out and ", of 12" in done.out  # outputs that were compared, in each split
    report = json.loads((tmp_path / "less" / "report.json").read_text())
    assert "prune --share 0.5 --steps 2 --until-floor --epochs 1" in report["command"]
    assert tt("predict", out, "--text", "a good film").code == 0
    assert not list(tmp_path.glob(".less*"))


@pytest.mark.parametrize(
    ("option", "code", "said"),
    [
        (["--until-floor", "--latency", "5ms"], 2, "TT-C115"),
        (["--until-floor", "--no-recovery"], 2, "TT-C115"),
        (["--share", "0.4", "--latency", "5ms"], 2, "TT-C041"),
        (["--latency", "soon"], 2, "TT-U002"),
        (["--latency", "1min", "--no-recovery"], 2, "TT-C116"),
    ],
)
def test_what_pruning_cannot_mean_is_refused(
    tt, model: Path, calibration: Path, tmp_path: Path, option, code, said
):
    shutil.copytree(calibration, tmp_path / "home", dirs_exist_ok=True)
    data = str(write_data(tmp_path / "data"))
    found = tt("compress", str(model), "prune", *option, "--data", data, "--out", str(tmp_path / "out"))
    assert (found.code, said in found.err, "->" in found.err) == (code, True, True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["compress", "DIR", "export", "--to", "onyx", "--out", "OUT"], 2, "TT-C017"),
        (["compress", "export", "DIR", "--to", "onyx", "--out", "OUT"], 2, "TT-C017"),
        (["compress", "DIR", "shrink", "--out", "OUT"], 2, "TT-V910"),
        (["compress", "DIR", "quantize", "--data", "no.csv", "--out", "OUT"], 5, "TT-D"),
        (["compress", "DIR", "quantize", "--data", "no.csv", "--out", "OUT", "--floor", "much"], 2, "TT-C010"),
        (["compress", "nowhere", "export", "--out", "OUT"], 5, "TT-A023"),
        (["bench", "DIR", "--rounds", "0"], 2, "TT-C031"),
        (["bench", "DIR", "--length", "9999"], 2, "TT-C032"),
    ],
)
def test_refusals_say_what_and_what_next(tt, model: Path, tmp_path: Path, words: list[str], code, said) -> None:
    places = {"DIR": str(model), "OUT": str(tmp_path / "out")}
    found = tt(*(places.get(word, word) for word in words))
    assert (found.code, said in found.err, "->" in found.err) == (code, True, True)
    assert not (tmp_path / "out").exists()
