"""ONNX artifacts: what they compute is what they were made of, alone and in a folder that stands alone."""

import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from filelock import FileLock
from onnx import numpy_helper
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from tiny_artifacts import TEXTS, moved_artifact, tiny_base
from tiny_embed import write_scored
from tiny_tagging import write_tags
from tiny_training import write_data
from trimtab.artifacts import sha256_of
from trimtab.compression.wanted import Export, Floor, Quantize, parse_floor
from trimtab.data import Example
from trimtab.errors import ArtifactError, BadInput, Diverged, Message, ModelError, TrimtabError, UsageError
from trimtab.evaluation import open_artifact
from trimtab.study import Compressed, CompressRequest, compress, evaluate

ROWS = [Example((text,), 0) for text in TEXTS]
PAIRS = [Example((text, TEXTS[0]), 0) for text in TEXTS]


def made(folder: Path, out: Path, wanted: Export | Quantize, **asked: object) -> Compressed:
    request = CompressRequest(folder=str(folder), out=str(out), wanted=wanted, **asked)  # type: ignore[arg-type]
    *_, last = compress(request)
    assert isinstance(last, Compressed)
    return last


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model, and in the folder `out` beside it the same in ONNX."""
    place = tmp_path_factory.mktemp("whole")
    folder = moved_artifact(place / "a", tiny_base(place, layers=2), "full")
    made(folder, place / "out", Export())
    return folder


def logits(folder: Path, rows: list[Example]) -> np.ndarray:
    artifact = open_artifact(folder)
    return artifact.logits(artifact.encode(rows))


@pytest.mark.parametrize(
    ("family", "method", "task"),
    [
        ("distilbert", "lora", "pair"),
        pytest.param("bert", "full", "classify", marks=pytest.mark.soak),
        pytest.param("bert", "adapter", "classify", marks=pytest.mark.soak),
        pytest.param("bert", "prefix", "classify", marks=pytest.mark.soak),
        pytest.param("bert", "prompt", "classify", marks=pytest.mark.soak),
        pytest.param("roberta", "bitfit", "multilabel", marks=pytest.mark.soak),
        pytest.param("xlm-roberta", "ia3", "classify", marks=pytest.mark.soak),
        pytest.param("llama", "full", "classify", marks=pytest.mark.soak),
    ],
)
def test_an_exported_graph_computes_what_the_model_does(
    family: str, method: str, task: str, tmp_path: Path
) -> None:
    source = tiny_base(tmp_path, family, layers=2)
    folder = moved_artifact(tmp_path / "a", source, method, task=task)
    done = made(folder, tmp_path / "out", Export())
    (found,) = done.change.compared
    assert found.agreement == 1.0 and found.largest_difference < 1e-4 and found.metric == ""
    rows = PAIRS if task == "pair" else ROWS
    assert logits(tmp_path / "out", rows) == pytest.approx(logits(folder, rows), abs=1e-4)
    one_by_one = np.concatenate([logits(tmp_path / "out", [row]) for row in rows])
    assert one_by_one == pytest.approx(logits(folder, rows), abs=1e-4)


def test_the_folder_runs_without_trimtab_and_names_nothing_of_this_machine(whole: Path) -> None:
    out = whole.parent / "out"
    artifact = open_artifact(out)
    wanted = [(one.label, one.probability) for one in artifact.predict(ROWS)]
    found = [line.split("\t") for line in alone(out, *TEXTS).splitlines()]
    assert [label for label, _ in found] == [label for label, _ in wanted]
    assert [float(share) for _, share in found] == pytest.approx([share for _, share in wanted], abs=2e-4)
    graph = onnx.load(out / "model.onnx")
    assert not any(node.metadata_props or node.doc_string for node in graph.graph.node)
    assert str(Path(__file__).parents[2]).encode() not in (out / "model.onnx").read_bytes()


# The script of the folder, where nothing but its three packages can be imported.
_ALONE = """
import sys, runpy
sys.path += {path!r}
for name in ("torch", "transformers", "trimtab", "peft"):
    sys.modules[name] = None
sys.argv[0] = "run.py"
runpy.run_path("run.py", run_name="__main__")
"""


@pytest.mark.parametrize("task", ["tag", pytest.param("embed", marks=pytest.mark.soak)])
def test_the_script_says_what_the_artifact_says_of_other_tasks(task: str, tmp_path: Path) -> None:
    labels = ("O", "B-mood", "B-number", "I-number") if task == "tag" else ()
    folder = moved_artifact(tmp_path / "a", tiny_base(tmp_path, layers=1), "full", task=task, labels=labels)
    if task == "embed":
        plain = json.loads((folder / "artifact.json").read_text(encoding="utf-8"))
        plain["prefixes"] = {"query": "music : ", "passage": None}
        (folder / "artifact.json").write_text(json.dumps(plain), encoding="utf-8")
    data = write_tags(tmp_path / "data") if task == "tag" else write_scored(tmp_path / "data")
    made(folder, tmp_path / "out", Export(), data=str(data), force=True)
    said = alone(tmp_path / "out", "good film", "a bad story").splitlines()
    artifact = open_artifact(tmp_path / "out")
    asked = list(artifact.objective.asked(("good film", "a bad story"), None, artifact.facts.columns))
    for line, prediction in zip(said, artifact.predict(asked), strict=True):
        if task == "embed":
            assert json.loads(line) == pytest.approx(prediction.vector, abs=1e-5)
        else:
            tags = {entity.text: entity.type for entity in prediction.entities}
            assert [word.partition("/")[2] == "O" for word in line.split()] == [
                not any(word.partition("/")[0] in text.split() for text in tags) for word in line.split()
            ]


def test_labels_that_are_numbered_are_not_lost(tmp_path: Path) -> None:
    """transformers leaves id2label out of config.json where the labels are LABEL_0, LABEL_1."""
    labels = ("LABEL_0", "LABEL_1")
    folder = moved_artifact(tmp_path / "a", tiny_base(tmp_path, layers=1), "full", labels=labels)
    made(folder, tmp_path / "out", Export())
    assert alone(tmp_path / "out", *TEXTS).count("LABEL_") == len(TEXTS)


def alone(folder: Path, *texts: str) -> str:
    command = [sys.executable, "-S", "-c", _ALONE.format(path=[p for p in sys.path if "site-packages" in p])]
    return subprocess.run([*command, *texts], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("task", ["tag", pytest.param("embed", marks=pytest.mark.soak)])
def test_other_tasks_are_scored_by_the_same_rows(task: str, tmp_path: Path) -> None:
    data = write_tags(tmp_path) if task == "tag" else write_scored(tmp_path)
    labels = ("O", "B-mood", "B-number", "I-number") if task == "tag" else ()
    folder = moved_artifact(tmp_path / "a", tiny_base(tmp_path, layers=2), "full", task=task, labels=labels)
    done = made(folder, tmp_path / "out", Export(), data=str(data))
    found = done.change.compared[0]
    assert found.before == pytest.approx(found.after, abs=1e-6) and found.metric
    assert evaluate(str(tmp_path / "out"), str(data)).main.name == found.metric


@pytest.mark.parametrize(
    "wanted",
    [Quantize(), pytest.param(Quantize(ranges="static", calibration_rows=40), marks=pytest.mark.soak)],
    ids=["dynamic", "static"],
)
def test_every_weight_in_int8_is_within_half_a_step_of_what_it_was(
    wanted: Quantize, whole: Path, tmp_path: Path
) -> None:
    done = made(whole, tmp_path / "out", wanted, data=str(write_data(tmp_path)), force=True)
    assert done.change.weight_bytes_after == (tmp_path / "out" / "model.onnx").stat().st_size
    exact = _weights(whole.parent / "out" / "model.onnx")
    found = _weights(tmp_path / "out" / "model.onnx")
    matrices = [name for name in exact if f"{name}_scale" in found and "dense" not in name]
    assert len(matrices) >= 2 * 6 + 3  # of two layers, and the embeddings
    for name in set(matrices) - {"model.classifier.weight"}:
        scale, zero = found[f"{name}_scale"], found[f"{name}_zero_point"].astype(np.float32)
        unpacked = (found[f"{name}_quantized"].astype(np.float32) - zero) * scale
        assert (np.abs(unpacked - exact[name]) <= 0.5001 * scale).all(), name


def test_int4_is_packed_in_blocks(whole: Path, tmp_path: Path) -> None:
    made(whole, tmp_path / "out", Quantize(bits="q4"), data=str(write_data(tmp_path)), force=True)
    exact, found = _weights(whole.parent / "out" / "model.onnx"), _weights(tmp_path / "out" / "model.onnx")
    packed = {name: weight for name, weight in found.items() if weight.dtype == np.uint8 and weight.ndim == 3}
    assert len(packed) == 2 * 6
    (name, blocks), *_ = packed.items()
    inputs, outputs = exact[name.removesuffix("_Q4")].shape
    assert blocks.shape == (outputs, inputs // 32, 16)


def _weights(file: Path) -> dict[str, np.ndarray]:
    return {one.name: numpy_helper.to_array(one) for one in onnx.load(file).graph.initializer}


def test_what_hurts_most_is_kept_until_the_floor_holds(tmp_path: Path) -> None:
    """A model whose second layer has a product that int8 cannot hold: in each row of weights one, of an input that
    is always 0, is a thousand times the others."""
    folder = moved_artifact(tmp_path / "a", tiny_base(tmp_path, layers=2, hidden=64), "full")
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    above = model.bert.encoder.layer[1]
    with torch.no_grad():
        above.output.dense.weight.mul_(4.0)
        above.output.dense.weight[:, 0] = 4000.0
        above.intermediate.dense.weight[0] = above.intermediate.dense.bias[0] = 0.0
    _save_balanced(model, folder, write_data(tmp_path))
    request = CompressRequest(
        folder=str(folder),
        out=str(tmp_path / "out"),
        wanted=Quantize(),
        data=str(tmp_path),
        floor=Floor(points=0.0),
    )
    messages = list(compress(request))
    said = [one for one in messages if isinstance(one, Message) and one.code == "TT-C022"]
    assert said[0].fact("kept") == "bert.encoder.layer.1.output"
    done = messages[-1]
    assert isinstance(done, Compressed)
    found = done.change.compared[0]
    assert found.before == 1.0 and found.lost == pytest.approx(0.0, abs=1e-9)
    refused = replace(request, out=str(tmp_path / "refused"), wanted=Quantize(back_off=False))
    with pytest.raises(TrimtabError, match="TT-C012"):
        list(compress(refused))


def _save_balanced(model: PreTrainedModel, folder: Path, data: Path) -> None:
    """Save `model` with a head that divides dev where its outputs lie furthest apart, and write into dev what it
    says: so that rounding alone changes no answer."""
    dev = data / "dev.csv"
    rows = list(csv.DictReader(dev.open(encoding="utf-8")))
    model.save_pretrained(folder)
    _resign(folder)
    found = logits(folder, [Example((row["text"],), 0) for row in rows])
    away = found[:, 1] - found[:, 0]
    lying = np.sort(away)
    quarter = len(lying) // 4
    widest = quarter + int(np.diff(lying[quarter:-quarter]).argmax())
    middle = float(lying[widest : widest + 2].mean())
    with torch.no_grad():
        model.classifier.bias[0] += middle
    model.save_pretrained(folder)
    _resign(folder)
    said = ["good" if one > middle else "bad" for one in away]
    with dev.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *zip([row["text"] for row in rows], said, strict=True)])


def _resign(folder: Path) -> None:
    """Let artifact.json say of every file what it is now."""
    plain = json.loads((folder / "artifact.json").read_text(encoding="utf-8"))
    names = [name for name, _, _ in plain["files"]]
    plain["files"] = [(name, (folder / name).stat().st_size, sha256_of(folder / name)) for name in names]
    (folder / "artifact.json").write_text(json.dumps(plain), encoding="utf-8")


def test_beyond_the_floor_nothing_is_kept_but_by_force(tmp_path: Path, monkeypatch) -> None:
    from trimtab.compression import onnx_graph

    plain = onnx_graph._plain

    def bent(artifact):  # type: ignore[no-untyped-def]
        import torch

        model = plain(artifact)
        with torch.no_grad():
            model.classifier.weight.mul_(-1.0)
            model.classifier.bias.mul_(-1.0)
        return model

    monkeypatch.setattr(onnx_graph, "_plain", bent)
    data = str(write_data(tmp_path))
    folder = moved_artifact(tmp_path / "a", tiny_base(tmp_path, layers=1), "full")
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(TrimtabError) as caught:
        made(folder, tmp_path / "out", Export(), data=data)
    assert caught.value.code == "TT-C013" and caught.value.exit_code == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    done = made(folder, tmp_path / "out", Export(), data=data, force=True)
    found = done.change.compared[0]
    assert found.agreement == 0.0 and found.after == pytest.approx(1 - found.before)
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["scores"]["dev"]["metrics"][0]["value"] == found.after


def test_a_damaged_or_foreign_graph_is_refused(whole: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(whole.parent / "out", tmp_path / "out"))
    written = (out / "model.onnx").read_bytes()
    (out / "model.onnx").write_bytes(written[: len(written) // 2])
    with pytest.raises(ArtifactError, match="TT-A003"):
        open_artifact(out)
    _resign(out)
    with pytest.raises(ArtifactError, match="TT-C002"):
        open_artifact(out)
    graph = onnx.load_from_string(written)
    (tmp_path / "secret").write_bytes(bytes(10**6))
    for weight in graph.graph.initializer:
        onnx.external_data_helper.set_external_data(weight, location="../secret")
        weight.ClearField("raw_data")
    (out / "model.onnx").write_bytes(graph.SerializeToString())
    _resign(out)
    with pytest.raises(ArtifactError, match="TT-C002"):
        open_artifact(out)


def test_what_cannot_be_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    folder = moved_artifact(tmp_path / "a", tiny_base(tmp_path, layers=1), "full")
    out, data = tmp_path / "out", str(write_data(tmp_path))
    with pytest.raises(UsageError, match="TT-C011"):
        made(folder, out, Quantize())
    with pytest.raises(UsageError, match="TT-C019"):
        made(folder, out, Quantize(bits="q4", ranges="static"), data=data)
    with pytest.raises(UsageError, match="TT-C019"):
        made(folder, out, Quantize(bits="q4", block=7), data=data)
    with pytest.raises(ArtifactError, match="TT-A023"):
        made(tmp_path / "nowhere", out, Export())
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    with pytest.raises(BadInput, match="TT-A044"):
        made(folder, tmp_path / "full", Export())
    assert not out.exists()


def test_a_second_step_begins_with_what_transformers_opens(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="TT-C015") as caught:
        made(whole.parent / "out", tmp_path / "two", Export())
    assert str(whole.resolve()) in str(caught.value)
    merged = moved_artifact(tmp_path / "card", tiny_base(tmp_path, layers=1), "lora")
    done = made(merged, tmp_path / "three", Export(format="safetensors"))
    assert done.row.adapter is False and done.change.compared[0].largest_difference < 1e-5


def test_outputs_that_are_no_numbers_are_no_model(tmp_path: Path, monkeypatch) -> None:
    from trimtab.compression import onnx_graph

    plain = onnx_graph._plain

    def broken(artifact):  # type: ignore[no-untyped-def]
        model = plain(artifact)
        with torch.no_grad():
            model.classifier.bias.fill_(float("nan"))
        return model

    monkeypatch.setattr(onnx_graph, "_plain", broken)
    folder = moved_artifact(tmp_path / "a", tiny_base(tmp_path, layers=1), "full")
    with pytest.raises(Diverged, match="TT-C048"):
        made(folder, tmp_path / "out", Export(), data=str(write_data(tmp_path)), force=True)
    assert not (tmp_path / "out").exists()


def test_two_processes_do_not_make_the_same(tmp_path: Path) -> None:
    folder = moved_artifact(tmp_path / "a", tiny_base(tmp_path, layers=1), "full")
    with FileLock(tmp_path / ".out.lock"), pytest.raises(BadInput, match="TT-C049"):
        made(folder, tmp_path / "out", Export())
    work = tmp_path / ".out.work"
    work.mkdir()
    (work / "checkpoint").write_text("hours")
    made(folder, tmp_path / "out", Export())
    assert (work / "checkpoint").is_file() and not (tmp_path / ".out.lock").exists()


def test_a_floor_is_points_or_a_share() -> None:
    assert parse_floor("2pt").allowed(30.0, lower_is_better=True) == pytest.approx(0.6)
    assert parse_floor("0.5pt").allowed(0.9) == pytest.approx(0.005)
    assert parse_floor(" 2% ").allowed(20.0) == pytest.approx(0.4)
    assert (str(parse_floor("0.5pt")), str(parse_floor("2%"))) == ("0.5pt", "2%")
    for typed in ("", "5", "-1pt", "pt", "1e3%"):
        with pytest.raises(UsageError, match="TT-C010"):
            parse_floor(typed)


def test_models_that_write_texts_have_no_graph(tmp_path: Path) -> None:
    from tiny_chat import chat_model

    source = chat_model(tmp_path / "base")
    folder = moved_artifact(tmp_path / "a", source, task="instruct", labels=())
    with pytest.raises(ModelError, match="TT-C014"):
        made(folder, tmp_path / "out", Export())


def test_a_disk_that_is_full_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("trimtab.compression.steps.export.write_beside", full)
    folder = moved_artifact(tmp_path / "a", tiny_base(tmp_path, layers=1), "full")
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(OSError, match="No space"):
        made(folder, tmp_path / "out", Export())
    assert sorted(path.name for path in tmp_path.iterdir()) == before
