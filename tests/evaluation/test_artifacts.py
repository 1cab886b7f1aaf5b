"""Artifacts that lie are refused; what they say of a text is right."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from plain_chinese import english_in
from tiny_models import tiny_model, tiny_tokenizer
from tiny_training import tiny_strategy
from trimtab import tuning
from trimtab.artifacts import sha256_of
from trimtab.data import Example
from trimtab.errors import ArtifactError, TrimtabError
from trimtab.evaluation import ArtifactFacts, Base, open_artifact, read_facts, require_equal, save_artifact
from trimtab.models import read_spec, weights_hash

LABELS = ("bad", "good")
ADAPTERS = ("lora", "adapter", "ia3", "bitfit", "prompt")
ADAPTER_WEIGHTS = "adapter_model.safetensors"
WEIGHTS = {"lora": ADAPTER_WEIGHTS, "full": "model.safetensors"}


def make(folder: Path, method: str, *, task: str = "classify") -> Path:
    source = tiny_model(folder / "base", "bert")
    spec, strategy = read_spec(source), tiny_strategy(source, method)
    outputs = 1 if task == "regress" else 2
    model = tuning.load_classifier(source, outputs=outputs, pad_token_id=0, seed=3)
    tuning.apply(strategy, model, spec)
    out = folder / "artifact"
    out.mkdir()
    facts = ArtifactFacts(
        adapter=method in ADAPTERS,
        task=task,
        labels=() if task == "regress" else LABELS,
        columns=("first", "second") if task == "pair" else ("text",),
        label_column="label",
        outputs=outputs,
        base=Base(
            name=str(source.folder),
            hub_id="",
            revision="",
            family="bert",
            weights_sha256=weights_hash(source.folder),
        ),
        strategy=strategy,
        trimtab_version="0",
    )
    save_artifact(out, facts, model.eval(), tiny_tokenizer(), spec)
    return out


def refusal(open_it: Callable[[], object]) -> TrimtabError:
    with pytest.raises(ArtifactError) as caught:
        open_it()
    assert caught.value.exit_code == 5
    return caught.value


def resealed(folder: Path) -> None:
    """Make artifact.json agree with the files as they are: only what is inside them can give a lie away."""
    path = folder / "artifact.json"
    plain = json.loads(path.read_text())
    names = [entry[0] for entry in plain["files"]]
    plain["files"] = [[name, (folder / name).stat().st_size, sha256_of(folder / name)] for name in names]
    path.write_text(json.dumps(plain))


@pytest.mark.parametrize("method", ["lora", "full"])
def test_every_file_of_an_artifact_is_sealed(method: str, tmp_path: Path) -> None:
    out = make(tmp_path, method)
    facts = read_facts(out)
    sealed = {name for name, _, _ in facts.files}
    assert sealed == {path.name for path in out.iterdir()} - {"artifact.json"}
    assert {WEIGHTS[method], "tokenizer.json"} <= sealed
    for name in sealed:
        content = bytearray((out / name).read_bytes())
        content[len(content) // 2] ^= 1
        kept = (out / name).read_bytes()
        (out / name).write_bytes(bytes(content))
        error = refusal(lambda: read_facts(out))
        assert (error.code, error.message.fact("file")) == ("TT-A003", name)
        (out / name).unlink()
        assert refusal(lambda: read_facts(out)).code == "TT-A003"
        (out / name).write_bytes(kept)
    read_facts(out)


@pytest.mark.parametrize(
    ("content", "said", "names"),
    [
        ("", "it is not JSON (line 1, column 1)", ()),
        ("{", "it is not JSON", ()),
        ('{"format": 2}', "written by a newer Trimtab", ()),
        ('{"format": 1}', "it lacks base", ("base",)),
        ("{}", "it lacks format", ("format",)),
    ],
)
def test_an_unreadable_artifact_json_is_refused(
    content: str, said: str, names: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "artifact.json").write_text(content)
    error = refusal(lambda: read_facts(tmp_path))
    assert error.code == "TT-A002" and said in str(error)
    assert english_in(error.message, str(tmp_path), "artifact.json", *names) == []


def test_an_artifact_json_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "artifact.json").write_text("[]")
    assert refusal(lambda: read_facts(tmp_path)).code == "TT-A002"


def test_a_folder_without_artifact_json_is_no_artifact(tmp_path: Path) -> None:
    assert refusal(lambda: read_facts(tmp_path)).code == "TT-A001"


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "..\\b"])
def test_a_file_name_that_leads_out_is_refused(name: str, tmp_path: Path) -> None:
    out = make(tmp_path, "lora")
    plain = json.loads((out / "artifact.json").read_text())
    plain["files"].append([name, 1, "0"])
    (out / "artifact.json").write_text(json.dumps(plain))
    error = refusal(lambda: read_facts(out))
    assert error.code == "TT-A002" and "leads out of the folder" in str(error)


@pytest.mark.parametrize("method", ADAPTERS)
def test_another_base_is_refused(method: str, tmp_path: Path) -> None:
    out = make(tmp_path, method)
    shutil.rmtree(tmp_path / "base")
    tiny_model(tmp_path / "base", "bert", seed=1)
    assert refusal(lambda: open_artifact(out)).code == "TT-A004"


def _without(tensors: dict[str, torch.Tensor], name: str) -> None:
    del tensors[name]


def _of_another_shape(tensors: dict[str, torch.Tensor], name: str) -> None:
    tensors[name] = torch.zeros(5, 5)


def _not_finite(tensors: dict[str, torch.Tensor], name: str) -> None:
    tensors[name].view(-1)[0] = float("inf")


@pytest.mark.parametrize(
    ("spoil", "code"), [(_without, "TT-A005"), (_of_another_shape, "TT-A027"), (_not_finite, "TT-A006")]
)
@pytest.mark.parametrize(
    ("method", "which"),
    [
        ("lora", "lora_A"),
        ("lora", "classifier.weight"),
        ("lora", "pooler.dense.bias"),
        ("adapter", "bneck_up.weight"),
        ("ia3", "ia3_l"),
        ("bitfit", "bitfit_bias"),
        ("prompt", "prompt_embeddings"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(
    method: str, which: str, spoil, code: str, tmp_path: Path
) -> None:
    out = make(tmp_path, method)
    file = out / ADAPTER_WEIGHTS
    tensors = load_file(file)
    name = next(name for name in tensors if which in name)
    spoil(tensors, name)
    save_file(tensors, file)
    resealed(out)
    error = refusal(lambda: open_artifact(out))
    assert (error.code, error.message.fact("name")) == (code, name)


@pytest.mark.parametrize("method", ADAPTERS)
def test_an_adapter_of_another_number_of_labels_is_refused(method: str, tmp_path: Path) -> None:
    out = make(tmp_path, method)
    path = out / "artifact.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"labels": ["a", "b", "c"], "outputs": 3}))
    error = refusal(lambda: open_artifact(out))
    assert error.code == "TT-A027" and "classifier" in str(error)


def test_the_gate_lets_equals_through_and_nothing_else(tmp_path: Path) -> None:
    artifact = open_artifact(make(tmp_path, "lora"))
    rows = artifact.encode([Example(("good film",), 1), Example(("a bad story",), 0)])
    outputs = artifact.logits(rows)
    require_equal(artifact, rows, outputs)
    assert refusal(lambda: require_equal(artifact, rows, outputs + 0.01)).code == "TT-A007"
    assert refusal(lambda: require_equal(artifact, rows, outputs * np.nan)).code == "TT-A007"


def test_predictions_come_in_order_with_all_labels(tmp_path: Path) -> None:
    artifact = open_artifact(make(tmp_path, "full"))
    texts = [(f"good {'film ' * (number % 13)}{number}",) for number in range(1100)]  # more than a window
    found = list(artifact.predict(Example(text, None) for text in texts))
    outputs = artifact.logits(artifact.encode(Example(text, 0) for text in texts))
    assert len(found) == len(texts)
    assert [one.label for one in found] == [LABELS[index] for index in outputs.argmax(1)]
    for one in found[:20]:
        assert {label for label, _ in one.scores} == set(LABELS)
        assert sum(share for _, share in one.scores) == pytest.approx(1, abs=1e-6)
        assert (one.label, one.probability) == one.scores[0]
        assert one.scores[0][1] >= one.scores[1][1]


def test_a_regression_predicts_values(tmp_path: Path) -> None:
    artifact = open_artifact(make(tmp_path, "lora", task="regress"))
    (one,) = artifact.predict([Example(("good film",), None)])
    assert (one.label, one.probability, one.scores) == (None, None, ())
    expected = artifact.logits(artifact.encode([Example(("good film",), 0.0)]))[0, 0]
    assert one.value == pytest.approx(float(expected), abs=1e-6)


def test_a_wrong_number_of_texts_is_refused(tmp_path: Path) -> None:
    artifact = open_artifact(make(tmp_path, "lora", task="pair"))
    assert refusal(lambda: list(artifact.predict([Example(("only one",), None)]))).code == "TT-A008"
    assert len(list(artifact.predict([Example(("one", "and two"), None)]))) == 1


def test_saving_leaves_nothing_half_done_beside_the_artifact(tmp_path: Path) -> None:
    out = make(tmp_path, "full")
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []
    facts = read_facts(out)
    assert replace(facts, files=()).strategy == facts.strategy
