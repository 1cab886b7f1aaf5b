"""The ladder: what a machine calls for, from the gentlest, predicted and then measured."""

import shutil
from pathlib import Path

import pytest

from tiny_artifacts import moved_artifact, tiny_base
from tiny_training import write_data
from trimtab.compression.ladder import TARGETS, Target, rungs, target_named
from trimtab.compression.predicted import onnx_bytes
from trimtab.compression.wanted import Distil, Export, Floor, Lesson, Quantize
from trimtab.errors import TrimtabError, UsageError
from trimtab.models import ModelSource, read_spec, spec_of
from trimtab.planning import Settings
from trimtab.study import CompressRequest, Laddered, LadderRequest, compress, compress_for, evaluate, ledger

LESSON = Lesson(settings=Settings(epochs=1, batch=8))


def test_rungs_go_from_the_whole_model_in_int8_to_one_layer_in_int4() -> None:
    spec = spec_of("bert-base-chinese")
    found = list(rungs(spec, spec.parameters + 1538, LESSON))
    assert [len(rung.steps) for rung in found] == [1, 2, 2, 2, 1, 2, 2, 2]
    assert [rung.work_share for rung in found[:4]] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 12])
    assert [rung.names[-1] for rung in found] == ["quantize --to q8"] * 4 + ["quantize --to q4"] * 4
    assert found[1].steps[0] == Distil(layers=6, lesson=LESSON)
    sizes = [rung.weight_bytes for rung in found]
    assert sizes[:4] == sorted(sizes[:4], reverse=True) and sizes[4] < sizes[0]
    # By hand: 6 of 12 layers less are 6 x 7,077,888 bytes of matrices, 6 x 6,912 columns of five bytes, biases and
    # norms of 6 x 9,984 numbers, and the graph of six layers.
    assert sizes[0] - sizes[1] == 6 * (7_077_888 + 6_912 * 5 + 9_984 * 4 + 8_000)


def test_a_rung_fits_by_bytes_and_by_seconds() -> None:
    spec = spec_of("bert-base-chinese")
    whole, half, *_ = rungs(spec, spec.parameters, LESSON)
    size = half.weight_bytes + 1000
    target = Target(name="x", floor=Floor(points=1.0), bytes_at_most=size, seconds_at_most=0.010)
    assert not whole.fits(target, 1000) and half.fits(target, 1000) and not half.fits(target, 1001)
    assert half.fits(target, 0, whole_seconds=0.019) and not half.fits(target, 0, whole_seconds=0.021)
    assert target_named("phone") is TARGETS["phone"]
    with pytest.raises(UsageError, match="TT-C017"):
        target_named("fridge")


@pytest.mark.parametrize(
    "wanted",
    [Export(), Quantize(), pytest.param(Quantize(bits="q4"), marks=pytest.mark.soak)],
    ids=["fp32", "q8", "q4"],
)
def test_predicted_bytes_are_those_of_the_file(wanted: Export | Quantize, tmp_path: Path) -> None:
    """Of a model whose matrices outweigh its graph."""
    source = tiny_base(tmp_path, layers=2, hidden=256)
    folder = moved_artifact(tmp_path / "a", source, "full")
    data = str(write_data(tmp_path / "data"))
    request = CompressRequest(folder=str(folder), out=str(tmp_path / "out"), wanted=wanted, data=data, force=True)
    *_, _done = compress(request)
    spec = read_spec(ModelSource(folder=folder, name="a"))
    parameters = spec.parameters + 2 * (spec.hidden + 1)
    bits = wanted.bits if isinstance(wanted, Quantize) else None
    written = (tmp_path / "out" / "model.onnx").stat().st_size
    assert onnx_bytes(spec, parameters, bits) == pytest.approx(written, rel=0.03)


def test_the_ladder_leaves_the_first_rung_that_holds(calibration: Path, tmp_path: Path, monkeypatch) -> None:
    home = shutil.copytree(calibration, tmp_path / "home")
    monkeypatch.setenv("TRIMTAB_HOME", str(home))
    source = tiny_base(tmp_path, layers=2, hidden=64)
    folder = moved_artifact(tmp_path / "a", source, "full")
    data = str(write_data(tmp_path / "data"))
    size = (folder / "model.safetensors").stat().st_size
    asked = LadderRequest(
        folder=str(folder), out=str(tmp_path / "out"), target="laptop", data=data, floor=Floor(points=100.0),
        lesson=LESSON,
    )  # fmt: skip
    *_, done = compress_for(asked)
    assert isinstance(done, Laddered) and [one.steps for one in done.rungs] == [("quantize --to q8",)]
    (climbed,) = done.rungs
    assert climbed.holds and climbed.weight_bytes < size and climbed.seconds > 0
    assert climbed.predicted_bytes == pytest.approx(climbed.weight_bytes, rel=0.15)
    assert evaluate(done.row.folder, data).main.name == climbed.metric
    assert not list(tmp_path.glob(".out*"))
    (kept,) = ledger().variants
    assert (kept.folder, kept.steps, kept.holds) == (str(tmp_path / "out"), ("quantize --to q8 --ranges dynamic",), True)
    assert (kept.predicted_bytes, kept.weight_bytes) == (climbed.predicted_bytes, climbed.weight_bytes)
    assert (kept.metric, kept.split, kept.text_seconds) == (climbed.metric, "test", climbed.seconds)
    impossible = LadderRequest(
        folder=str(folder), out=str(tmp_path / "none"), target="browser", data=data, bytes_at_most=1000
    )
    with pytest.raises(TrimtabError, match="TT-C050"):
        list(compress_for(impossible))
    assert not (tmp_path / "none").exists()


@pytest.mark.soak
def test_a_rung_that_does_not_hold_leads_to_the_next(calibration: Path, tmp_path: Path, monkeypatch) -> None:
    home = shutil.copytree(calibration, tmp_path / "home")
    monkeypatch.setenv("TRIMTAB_HOME", str(home))
    folder = moved_artifact(tmp_path / "a", tiny_base(tmp_path, layers=3, hidden=64), "full")
    data = str(write_data(tmp_path / "data"))
    asked = LadderRequest(
        folder=str(folder), out=str(tmp_path / "out"), target="laptop", data=data, floor=Floor(points=100.0),
        seconds_at_most=1e-9, lesson=LESSON,
    )  # fmt: skip
    with pytest.raises(TrimtabError, match="TT-C051"):
        list(compress_for(asked))
    kept = sorted(path.name.partition("-")[0] for path in (tmp_path / ".out.ladder").iterdir())
    assert kept == ["quantize"]
