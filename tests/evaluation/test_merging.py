"""An adapter folded into its base: the same numbers, an ordinary model, nothing where that cannot be."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from tiny_artifacts import LABELS, TEXTS, moved_artifact, tiny_base
from tiny_chat import chat_model
from trimtab.data import Example
from trimtab.errors import ArtifactError, BadInput, ModelError
from trimtab.evaluation import open_artifact
from trimtab.evaluation.made_rows import ROWS, made_rows
from trimtab.study import merge_adapter

ROWS_ASKED = [Example((text,), 0) for text in TEXTS]


@pytest.mark.parametrize(
    ("method", "precision"),
    [
        ("lora", "fp32"),
        ("qlora", "bf16"),
        *(pytest.param(method, "fp32", marks=pytest.mark.soak) for method in ("qlora", "ia3", "bitfit")),
        pytest.param("ia3", "bf16", marks=pytest.mark.soak),
    ],
)
def test_a_merged_model_is_the_adapter_on_its_base(method: str, precision: str, tmp_path: Path) -> None:
    source = tiny_base(tmp_path, layers=3)
    folder = moved_artifact(tmp_path / "a", source, method, precision=precision)
    made = merge_adapter(str(folder), str(tmp_path / "out"))
    assert made.compared_rows == ROWS and made.difference <= made.allowed
    if precision == "fp32":
        assert made.difference < 1e-5
    apart, whole = open_artifact(folder), open_artifact(tmp_path / "out")
    assert (whole.facts.adapter, whole.facts.origin, whole.facts.labels) == (False, "merged", LABELS)
    for one, other in zip(apart.predict(ROWS_ASKED), whole.predict(ROWS_ASKED), strict=True):
        assert one.probability == pytest.approx(other.probability, abs=1e-5 if precision == "fp32" else 2e-2)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    with torch.inference_mode():
        theirs = plain(**tokenizer(list(TEXTS), padding=True, return_tensors="pt")).logits.softmax(-1)
    said = {plain.config.id2label[n]: p for n, p in enumerate(theirs[0].tolist())}
    assert said == pytest.approx(dict(next(whole.predict(ROWS_ASKED[:1])).scores), abs=1e-2)


def test_a_merged_chat_model_writes_the_same(tmp_path: Path) -> None:
    source = chat_model(tmp_path / "base", tied=True)
    folder = moved_artifact(tmp_path / "a", source, task="instruct", labels=())
    made = merge_adapter(str(folder), str(tmp_path / "out"))
    assert made.difference < 1e-4 < made.allowed * 10 and made.compared_rows == ROWS
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").config.tie_word_embeddings


@pytest.mark.parametrize(
    ("method", "code", "kind"), [("adapter", "TT-T071", ModelError), ("full", "TT-A046", ArtifactError)]
)
def test_what_cannot_be_merged_leaves_nothing(method: str, code: str, kind: type, tmp_path: Path) -> None:
    folder = moved_artifact(tmp_path / "a", tiny_base(tmp_path), method)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(kind) as caught:
        merge_adapter(str(folder), str(tmp_path / "out"))
    assert caught.value.code == code and caught.value.exit_code == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_difference_is_refused_and_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    folder = moved_artifact(tmp_path / "a", tiny_base(tmp_path))
    monkeypatch.setattr("trimtab.tuning.merge", _bent)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(ArtifactError) as caught:
        merge_adapter(str(folder), str(tmp_path / "out"))
    assert caught.value.code == "TT-A047"
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def _bent(strategy, model, spec):  # type: ignore[no-untyped-def]
    from trimtab.tuning.adapter import merge

    merge(strategy, model, spec)
    with torch.no_grad():
        model.classifier.weight.mul_(1.01)
    return model


def test_a_folder_that_holds_something_is_not_written_to(tmp_path: Path) -> None:
    folder = moved_artifact(tmp_path / "a", tiny_base(tmp_path))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(BadInput) as caught:
        merge_adapter(str(folder), str(tmp_path / "out"))
    assert caught.value.code == "TT-A044" and (tmp_path / "out" / "mine.txt").read_text() == "mine"


def test_made_rows_are_the_same_every_time_and_of_many_lengths(tmp_path: Path) -> None:
    tokenizer = open_artifact(moved_artifact(tmp_path / "a", tiny_base(tmp_path))).tokenizer
    rows = made_rows(tokenizer, 2, 24)
    assert rows == made_rows(tokenizer, 2, 24) and len({row.texts for row in rows}) == ROWS
    assert all(len(row.texts) == 2 for row in rows)
    lengths = [len(tokenizer(row.texts[0])["input_ids"]) for row in rows]
    assert min(lengths) < 10 and max(lengths) > 20


def test_every_row_of_a_chat_model_is_compared(tmp_path: Path) -> None:
    source = chat_model(tmp_path / "base", tied=True)
    artifact = open_artifact(moved_artifact(tmp_path / "a", source, task="instruct", labels=()))
    gate = artifact.encode(made_rows(artifact.tokenizer, 1, artifact.facts.strategy.max_length))
    found = artifact.logits(gate)
    assert gate.learned is not None and len(found) == len(gate) == ROWS
    for row, (start, end) in enumerate(pairwise(gate.starts)):
        ids = torch.from_numpy(gate.ids[start:end].astype(np.int64))
        learned = [n for n in range(1, end - start) if gate.learned[start + n]]
        last = learned[-1] if learned else end - start - 1
        with torch.inference_mode():
            alone = artifact.model(input_ids=ids[None, :last]).logits[0, -1]
        np.testing.assert_allclose(found[row], alone, atol=1e-4)


@pytest.mark.parametrize("out", [".", "", "../here", "sub/.."])
def test_the_working_folder_is_refused_before_all_the_work(out: str, tmp_path: Path, monkeypatch) -> None:
    folder = moved_artifact(tmp_path / "a", tiny_base(tmp_path))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("trimtab.evaluation.merging.merge_artifact", None)
    with pytest.raises(BadInput) as caught:
        merge_adapter(str(folder), out)
    assert caught.value.code == "TT-A050" and str(tmp_path / "here") in str(caught.value)
