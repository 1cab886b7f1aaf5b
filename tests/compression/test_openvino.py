"""OpenVINO artifacts: they compute what they were made of, and their folder runs alone. Where OpenVINO, an extra,
is not installed, only the refusals that say so are tested."""

import csv
import json
import os
import resource
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from tiny_artifacts import TEXTS, moved_artifact, tiny_base
from tiny_embed import write_scored
from tiny_tagging import write_tags
from tiny_training import write_data
from trimtab.app.cli import run
from trimtab.artifacts import sha256_of
from trimtab.compression.wanted import Export, OpenVino, Quantize, Wanted
from trimtab.data import Example
from trimtab.errors import ArtifactError, ModelError, UsageError
from trimtab.evaluation import open_artifact, openvino_model
from trimtab.study import Compressed, CompressRequest, compress

needs_openvino = pytest.mark.skipif(
    find_spec("openvino") is None, reason='OpenVINO is not installed: pip install "trimtab[openvino]"'
)
ROWS = [Example((text,), 0) for text in TEXTS]
PAIRS = [Example((text, TEXTS[0]), 0) for text in TEXTS]


def made(folder: Path, out: Path, wanted: Wanted | None = None, **asked: object) -> Compressed:
    request = CompressRequest(
        folder=str(folder),
        out=str(out),
        wanted=wanted or OpenVino(),
        **asked,  # type: ignore[arg-type]
    )
    *_, last = compress(request)
    assert isinstance(last, Compressed)
    return last


def logits(folder: Path, rows: list[Example] = ROWS) -> np.ndarray:
    artifact = open_artifact(folder)
    return artifact.logits(artifact.encode(rows))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and in the folder `out` beside it the same for OpenVINO."""
    place = tmp_path_factory.mktemp("whole")
    folder = moved_artifact(place / "a", tiny_base(place, layers=2), "full")
    made(folder, place / "out")
    return folder


@needs_openvino
@pytest.mark.parametrize(
    ("family", "method", "task"),
    [
        ("distilbert", "lora", "pair"),
        pytest.param("bert", "full", "classify", marks=pytest.mark.soak),
        pytest.param("bert", "full", "tag", marks=pytest.mark.soak),
        pytest.param("bert", "full", "embed", marks=pytest.mark.soak),
        pytest.param("bert", "full", "regress", marks=pytest.mark.soak),
        pytest.param("bert", "prefix", "classify", marks=pytest.mark.soak),
        pytest.param("roberta", "bitfit", "multilabel", marks=pytest.mark.soak),
        pytest.param("xlm-roberta", "ia3", "classify", marks=pytest.mark.soak),
        pytest.param("llama", "full", "classify", marks=pytest.mark.soak),
    ],
)
def test_it_computes_what_the_model_does(family: str, method: str, task: str, tmp_path: Path) -> None:
    labels = {"tag": ("O", "B-mood", "B-number", "I-number"), "embed": (), "regress": ()}.get(
        task, ("bad", "good")
    )
    base = tiny_base(tmp_path, family, layers=2)
    folder = moved_artifact(tmp_path / "a", base, method, task=task, labels=labels)
    write = {"tag": write_tags, "embed": write_scored}.get(task)
    data = None if write is None else str(write(tmp_path / "data"))
    found = made(folder, tmp_path / "out", data=data).change.compared[0]
    assert found.largest_difference < 1e-4 and found.agreement in (1.0, None)
    assert found.after == pytest.approx(found.before, abs=5e-3)  # of vectors, ranks that are all but tied
    assert open_artifact(tmp_path / "out").facts.engine == "openvino"
    if data is None:
        rows = PAIRS if task == "pair" else ROWS
        assert logits(tmp_path / "out", rows) == pytest.approx(logits(folder, rows), abs=1e-4)
        one_by_one = np.concatenate([logits(tmp_path / "out", [row]) for row in rows])
        assert one_by_one == pytest.approx(logits(folder, rows), abs=1e-4)


@needs_openvino
@pytest.mark.parametrize(
    "quantised",
    [
        Quantize(ranges="none"),
        pytest.param(Quantize(bits="q4"), marks=pytest.mark.soak),
        pytest.param(Quantize(ranges="static", calibration_rows=40), marks=pytest.mark.soak),
    ],
    ids=["weights", "int4", "static"],
)
def test_few_bits_stay_and_come_as_near_as_onnx_runtime_does(quantised: Quantize, tmp_path: Path) -> None:
    base, data = tiny_base(tmp_path, layers=2, hidden=64), str(write_data(tmp_path))
    folder = moved_artifact(tmp_path / "a", base, "full")
    made(folder, tmp_path / "few", quantised, data=data, force=True)
    done = made(tmp_path / "few", tmp_path / "out", data=data, force=True)
    assert [change.step for change in open_artifact(tmp_path / "out").facts.changes] == ["quantize", "export"]
    stored = (tmp_path / "out" / "openvino_model.bin").stat().st_size
    assert stored < 1.1 * (tmp_path / "few" / "model.onnx").stat().st_size
    assert done.change.weight_bytes_after == stored + (tmp_path / "out" / "openvino_model.xml").stat().st_size
    exact, theirs, ours = (logits(tmp_path / name) for name in ("a", "few", "out"))
    step = np.abs(theirs - exact).max()  # what the few bits cost in ONNX Runtime
    assert 0 < np.abs(ours - exact).max() < 3 * step + 0.02 * np.abs(exact).max()
    with pytest.raises(UsageError, match="TT-C011"):
        made(tmp_path / "few", tmp_path / "unseen")
    assert not (tmp_path / "unseen").exists()


@needs_openvino
def test_ranges_measured_while_it_runs_are_refused(whole: Path, tmp_path: Path) -> None:
    data = str(write_data(tmp_path))
    made(whole, tmp_path / "int8", Quantize(), data=data, force=True)
    with pytest.raises(ModelError, match="TT-C702") as caught:
        made(tmp_path / "int8", tmp_path / "out", data=data)
    assert str(whole.resolve()) in str(caught.value) and not (tmp_path / "out").exists()


@needs_openvino
@pytest.mark.soak
def test_onnx_in_fp32_gives_the_same_numbers(whole: Path, tmp_path: Path) -> None:
    made(whole, tmp_path / "onnx", Export())
    before = sorted(path.name for path in tmp_path.iterdir())
    before_it = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before_it[1]))  # as a disk that is full
    try:
        with pytest.raises(OSError, match="rror"):
            made(tmp_path / "onnx", tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before_it)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert made(tmp_path / "onnx", tmp_path / "out").change.compared[0].largest_difference < 1e-4
    assert logits(tmp_path / "out") == pytest.approx(logits(whole), abs=1e-4)


# The script, where nothing but its packages can be imported, and openvino_telemetry writes down that it was.
_ALONE = """
import sys, runpy
sys.path += {path!r}
for name in ("torch", "transformers", "trimtab", "peft", "onnxruntime"):
    sys.modules[name] = None
sys.argv[0] = "run.py"
runpy.run_path("run.py", run_name="__main__")
"""


def alone(folder: Path, *texts: str, also: Path) -> str:
    path = [str(also), *(place for place in sys.path if place)]
    command = [sys.executable, "-S", "-c", _ALONE.format(path=path)]
    return subprocess.run([*command, *texts], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def telling(tmp_path: Path) -> Path:
    """A folder with a module openvino_telemetry that leaves the file `told` where it is imported."""
    (tmp_path / "told-by").mkdir()
    said = f"open({str(tmp_path / 'told')!r}, 'w').close()\nraise ImportError"
    (tmp_path / "told-by" / "openvino_telemetry.py").write_text(said, encoding="utf-8")
    return tmp_path / "told-by"


@needs_openvino
def test_the_folder_runs_without_trimtab_and_tells_nobody(whole: Path, telling: Path) -> None:
    out = whole.parent / "out"
    wanted = [(one.label, one.probability) for one in open_artifact(out).predict(ROWS)]
    found = [line.split("\t") for line in alone(out, *TEXTS, also=telling).splitlines()]
    assert [label for label, _ in found] == [label for label, _ in wanted]
    assert [float(share) for _, share in found] == pytest.approx([share for _, share in wanted], abs=2e-4)
    here = str(Path(__file__).parents[2])
    assert not any(here in file.read_text(encoding="utf-8") for file in out.glob("*.xml"))
    assert sum(bool(line.strip()) for line in (out / "run.py").read_text(encoding="utf-8").splitlines()) <= 26
    assert not (telling.parent / "told").exists()


@needs_openvino
@pytest.mark.soak
def test_nothing_is_told_by_importing_it_here(telling: Path) -> None:
    ours = "from trimtab.evaluation.openvino_model import import_openvino; import_openvino()"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(telling), *filter(None, sys.path)])}
    subprocess.run([sys.executable, "-c", ours], env=environment, check=True)
    assert not (telling.parent / "told").exists()
    subprocess.run([sys.executable, "-c", "import openvino"], env=environment, check=True)
    assert (telling.parent / "told").exists()  # so the test would see it


@needs_openvino
def test_by_command_line_from_the_first_to_the_last(whole: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path / "home"))
    data, out = write_data(tmp_path / "data"), str(tmp_path / "out")

    def said(*words: str) -> str:
        capsys.readouterr()
        assert run(words, {}) == 0
        return capsys.readouterr().out

    assert "openvino" in said("compress", str(whole), "export", "--help")
    done = json.loads(
        said("compress", str(whole), "export", "--to", "openvino", "--out", out, "--data", str(data), "--json")
    )
    assert done["change"]["settings"] == ["--to", "openvino"] and done["change"]["compared"][0]["agreement"] == 1.0
    file = tmp_path / "asked.csv"
    with file.open("w", newline="", encoding="utf-8") as opened:
        csv.writer(opened).writerows([["text"], *[[text] for text in TEXTS]])
    before, after = (
        [json.loads(line) for line in said("predict", place, "--file", str(file), "--json").splitlines()]
        for place in (str(whole), out)
    )
    assert [one["label"] for one in after] == [one["label"] for one in before]
    assert [one["probability"] for one in after] == pytest.approx([one["probability"] for one in before], abs=1e-4)
    scores = [
        json.loads(said("evaluate", place, "--data", str(data), "--json"))["metrics"]
        for place in (str(whole), out)
    ]
    assert scores[0] == scores[1]
    timed = json.loads(said("bench", str(whole), out, "--rounds", "2", "--length", "8", "--json"))
    assert [one["speed"]["folder"] for one in timed] == [str(whole), out]


@needs_openvino
def test_damaged_and_foreign_files_are_refused(whole: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(whole.parent / "out", tmp_path / "out"))
    graph, weights = out / "openvino_model.xml", out / "openvino_model.bin"
    said, held = graph.read_text(encoding="utf-8"), weights.read_bytes()
    weights.write_bytes(held[: len(held) // 2])
    with pytest.raises(ArtifactError, match="TT-A003"):
        open_artifact(out)
    _refused(out)
    weights.unlink()
    with pytest.raises(ArtifactError, match="TT-A003"):
        open_artifact(out)
    _refused(out, without="openvino_model.bin")
    weights.symlink_to("/dev/null")
    _refused(out)
    weights.unlink()
    weights.write_bytes(held)
    for wrong in (
        said[: len(said) // 2],
        "",
        said.replace('offset="', 'offset="9'),
        said.replace("MatMul", "Maybe"),
    ):
        graph.write_text(wrong, encoding="utf-8")
        _refused(out)
    graph.write_text(said.replace('"logits"', '"secrets"'), encoding="utf-8")
    assert "secrets" in _refused(out)


def _refused(folder: Path, without: str = "") -> str:
    """Let artifact.json say of every file what it is now; the runtime is to refuse it."""
    plain = json.loads((folder / "artifact.json").read_text(encoding="utf-8"))
    names = [name for name, _, _ in plain["files"] if name != without]
    plain["files"] = [(name, (folder / name).stat().st_size, sha256_of(folder / name)) for name in names]
    (folder / "artifact.json").write_text(json.dumps(plain), encoding="utf-8")
    with pytest.raises(ArtifactError, match="TT-C002") as caught:
        open_artifact(folder)
    return str(caught.value)


def test_without_the_package_one_line_says_how_to_get_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(openvino_model, "PACKAGE", "no_such_openvino")
    folder = moved_artifact(tmp_path / "a", tiny_base(tmp_path, layers=1), "full")
    with pytest.raises(ModelError, match="TT-C701") as caught:
        made(folder, tmp_path / "out")
    assert 'pip install "trimtab[openvino]"' in str(caught.value) and not (tmp_path / "out").exists()
    plain = json.loads((folder / "artifact.json").read_text(encoding="utf-8"))
    (folder / "artifact.json").write_text(json.dumps(plain | {"engine": "openvino"}), encoding="utf-8")
    with pytest.raises(ArtifactError, match="TT-C700") as caught:
        open_artifact(folder)
    assert 'pip install "trimtab[openvino]"' in str(caught.value)


@needs_openvino
def test_a_batch_that_cannot_be_computed_is_an_error(whole: Path) -> None:
    artifact = open_artifact(whole.parent / "out")
    tokens = artifact.encode(ROWS)
    batch = artifact.collator.batch(tokens, np.arange(2))
    batch["input_ids"] = batch["input_ids"][:, :-1]
    with pytest.raises(ArtifactError, match="TT-C002"):
        artifact.model(**batch)
