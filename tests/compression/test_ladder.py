"""The ladder: what a machine calls for, from the gentlest, predicted and then measured."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from test_outlook import outlook
from test_trim import write_rows

from tiny_artifacts import moved_artifact, tiny_base
from tiny_training import write_data
from tiny_vocabulary import reading_model, sentences
from trimtab.compression.ladder import TARGETS, Rung, Target, calls_for_trim, rungs, target_named
from trimtab.compression.outlook import Outlook, Trimmed
from trimtab.compression.predicted import onnx_bytes
from trimtab.compression.wanted import Browser, Distil, Export, Floor, Lesson, Quantize, Wanted
from trimtab.errors import Message, TrimtabError, UsageError
from trimtab.evaluation import open_artifact
from trimtab.models import ModelSource, read_spec, spec_of
from trimtab.planning import Settings
from trimtab.study import CompressRequest, Laddered, LadderRequest, compress, compress_for, evaluate, ledger

LESSON = Lesson(settings=Settings(epochs=1, batch=8))


SPEC = spec_of("bert-base-chinese")
WHOLE = Outlook(spec=SPEC, parameters=SPEC.parameters + 1538, tokenizer_bytes=1000)
FEWER = (
    Trimmed(keep="script", tokens=11128, tokenizer_bytes=500),
    Trimmed(keep="seen", tokens=1128, tokenizer_bytes=100),
)
LAPTOP = TARGETS["laptop"]
MODELS = ("", "prune0.25 ", "prune0.4 ", "distill6 ", "distill6 prune0.25 ", "distill4 ", "distill1 ")


def in_short(rung: Rung) -> str:
    """ "trimseen distill6 prune0.25 quantize"."""
    return " ".join(f"{step.step}{_how_much(step)}" for step in rung.steps)


def _how_much(step: Wanted) -> object:
    told = (getattr(step, name, None) for name in ("share", "layers", "keep"))
    return next((one for one in told if one is not None), "")


def test_rungs_go_from_the_whole_model_in_int8_to_one_layer_in_int4() -> None:
    found = list(rungs(WHOLE, LESSON, LAPTOP, tokens=32))
    assert [in_short(rung) for rung in found] == [f"{model}quantize" for model in MODELS] * 2
    assert [rung.names[-1] for rung in found] == ["quantize --to q8"] * 7 + ["quantize --to q4"] * 7
    assert [rung.work_share for rung in found[:7]] == pytest.approx(
        [1, 0.75, 0.6, 1 / 2, 0.375, 1 / 3, 1 / 12], abs=0.01
    )
    assert found[3].steps[0] == Distil(layers=6, lesson=LESSON)
    sizes = [rung.weight_bytes for rung in found]
    assert sizes[:7] == sorted(sizes[:7], reverse=True) and sizes[7] < sizes[0]
    # By hand: 6 of 12 layers less are 6 x 7,077,888 bytes of matrices, 6 x 6,912 columns of five bytes, biases and
    # norms of 6 x 9,984 numbers, and the graph of six layers.
    assert sizes[0] - sizes[3] == 6 * (7_077_888 + 6_912 * 5 + 9_984 * 4 + 8_000)


def test_as_many_tokens_stay_as_fit() -> None:
    """All of a model that is small enough with them; else the most, else the fewest, whatever comes of it."""
    quarter = WHOLE.pruned(0.25, LESSON)
    target = replace(LAPTOP, bytes_at_most=quarter.trimmed(FEWER[0]).bytes("q8"))
    found = list(rungs(WHOLE, LESSON, target, tokens=32, fewer_tokens=FEWER))
    said = [in_short(rung) for rung in found]
    assert said[:3] == ["trimseen quantize", "trimscript prune0.25 quantize", "prune0.4 quantize"]
    assert said[3:7] == [f"{model}quantize" for model in MODELS[3:]]
    assert [rung.fits(target) for rung in found[:3]] == [
        WHOLE.trimmed(FEWER[1]).bytes("q8") <= quarter.bytes("q8"),
        True,
        True,
    ]
    assert [rung.tokenizer_bytes for rung in found[:3]] == [100, 500, 1000]
    assert found[0].work_share == 1
    page = list(rungs(WHOLE, LESSON, replace(target, page=True), tokens=32, fewer_tokens=FEWER))
    assert [rung.steps[-1] for rung in page] == [Browser()] * 7
    assert [in_short(rung) for rung in rungs(WHOLE, LESSON, LAPTOP, tokens=32, prunes=False)][
        1
    ] == "distill6 quantize"


def test_what_cannot_be_pruned_is_not() -> None:
    spec = replace(SPEC, family="gpt2")
    found = rungs(replace(WHOLE, spec=spec), LESSON, LAPTOP, tokens=32)
    assert not any("prune" in in_short(rung) for rung in found)


def test_trim_is_called_for_where_bytes_are_bounded_and_the_table_is_much_of_the_model() -> None:
    size = WHOLE.weight_bytes("q8") + WHOLE.tokenizer_bytes
    much = replace(WHOLE, spec=replace(SPEC, vocab=250_000), parameters=WHOLE.parameters + 228_872 * 768)
    bounded = Target(name="x", floor=Floor(points=1.0), bytes_at_most=size - 1)
    assert 0.15 < WHOLE.table_share < 1 / 3 < 0.6 < much.table_share
    assert calls_for_trim(much, bounded) and not calls_for_trim(WHOLE, bounded)
    assert not calls_for_trim(much, replace(bounded, bytes_at_most=None))
    assert not calls_for_trim(much, replace(bounded, bytes_at_most=much.weight_bytes("q8") + 1000))


def test_a_rung_fits_by_bytes_and_by_seconds() -> None:
    found = list(rungs(WHOLE, LESSON, LAPTOP, tokens=32))
    whole, half = found[0], found[3]
    target = Target(name="x", floor=Floor(points=1.0), bytes_at_most=half.bytes, seconds_at_most=0.010)
    assert not whole.fits(target) and half.fits(target)
    assert not half.fits(replace(target, bytes_at_most=half.bytes - 1))
    assert half.fits(target, whole_seconds=0.019) and not half.fits(target, whole_seconds=0.021)
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
    assert (kept.folder, kept.steps, kept.holds) == (
        str(tmp_path / "out"),
        ("quantize --to q8 --ranges dynamic",),
        True,
    )
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


def test_a_bound_that_calls_for_it_leads_to_a_pruned_model(calibration: Path, tmp_path: Path, monkeypatch) -> None:
    """Rungs that are predicted too large are not carried out."""
    monkeypatch.setenv("TRIMTAB_HOME", str(shutil.copytree(calibration, tmp_path / "home")))
    folder = moved_artifact(tmp_path / "a", tiny_base(tmp_path, layers=2, hidden=256), "full")
    data, model = str(write_data(tmp_path / "data")), outlook(folder)
    between = sum(rung.bytes for rung in list(rungs(model, LESSON, LAPTOP, tokens=16))[1:3]) // 2
    asked = LadderRequest(
        folder=str(folder), out=str(tmp_path / "out"), target="laptop", data=data, floor=Floor(points=100.0),
        lesson=LESSON, bytes_at_most=between,
    )  # fmt: skip
    events = list(compress_for(asked))
    over = [one.fact("steps") for one in events if isinstance(one, Message) and one.code == "TT-C052"]
    assert over == ["quantize --to q8", "prune --share 0.25 + quantize --to q8"]
    done = events[-1]
    assert isinstance(done, Laddered) and [one.steps[0] for one in done.rungs] == ["prune --share 0.4"]
    (climbed,) = done.rungs
    assert climbed.predicted_bytes == pytest.approx(climbed.weight_bytes, rel=0.03)
    changes = open_artifact(tmp_path / "out").facts.changes
    assert [one.step for one in changes] == ["prune", "quantize"]


def test_a_large_table_is_trimmed(calibration: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TRIMTAB_HOME", str(shutil.copytree(calibration, tmp_path / "home")))
    folder = moved_artifact(tmp_path / "a", reading_model(tmp_path / "base", "unigram", more_rows=20_000), "full")
    data = write_rows(tmp_path / "data", sentences(40, seed=1))
    asked = LadderRequest(
        folder=str(folder), out=str(tmp_path / "out"), target="laptop", data=str(data), floor=Floor(points=100.0),
        lesson=LESSON, bytes_at_most=300_000,
    )  # fmt: skip
    *events, done = compress_for(asked)
    (said,) = (one for one in events if isinstance(one, Message) and one.code == "TT-C054")
    (climbed,) = done.rungs  # type: ignore[attr-defined]
    assert climbed.steps in ((f"trim --keep {keep}", "quantize --to q8") for keep in ("script", "seen"))
    assert open_artifact(tmp_path / "out").spec.vocab == said.fact(
        "most" if "script" in climbed.steps[0] else "least"
    )
