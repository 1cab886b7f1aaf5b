"""What is predicted of steps, beside what they then write."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_trim import write_rows

from tiny_artifacts import moved_artifact, tiny_base
from tiny_training import write_data
from tiny_vocabulary import KINDS, reading_model, sentences
from trimtab.compression.outlook import Outlook, Trimmed, vocabularies
from trimtab.compression.vocabulary import named_ids
from trimtab.compression.wanted import Lesson, Prune, Quantize, Trim
from trimtab.data import count_ids
from trimtab.evaluation import open_artifact
from trimtab.models import ModelSource, read_spec, spec_of
from trimtab.planning import Settings
from trimtab.study import CompressRequest, compress, gather
from trimtab.study.request import Reading

LESSON = Lesson(settings=Settings(epochs=1, batch=32))


def outlook(folder: Path) -> Outlook:
    spec = read_spec(ModelSource(folder=folder, name="a"))
    size = (folder / "tokenizer.json").stat().st_size
    return Outlook(spec=spec, parameters=spec.parameters + 2 * (spec.hidden + 1), tokenizer_bytes=size)


def carried_out(model: Outlook, folder: Path, data: Path, out: Path) -> Path:
    """The steps of an outlook, one after the other, without training."""
    before = folder
    for number, step in enumerate(model.steps):
        wanted = replace(step, recovers=False) if isinstance(step, Prune) else step
        made = out.with_name(f"{out.name}-{number}")
        request = CompressRequest(folder=str(before), out=str(made), wanted=wanted, data=str(data), force=True)
        list(compress(request))
        before = made
    return before


def test_bytes_of_ever_smaller_models_fall() -> None:
    spec = spec_of("bert-base-chinese")
    whole = Outlook(spec=spec, parameters=spec.parameters + 1538, tokenizer_bytes=400_000)
    half = whole.with_layers(6, LESSON)
    models = (whole, whole.pruned(0.25, LESSON), whole.pruned(0.4, LESSON), half, half.pruned(0.25, LESSON))
    sizes, work = [one.weight_bytes("q8") for one in models], [one.work(32) for one in models]
    assert sizes == sorted(sizes, reverse=True) and work == sorted(work, reverse=True)
    # By hand: a quarter of 12 x 12 heads is 36, of 12 x 3072 neurons 9,216; a head has four matrices of 768 x 64
    # and three biases of 64, a neuron two rows of 768 and a bias.
    gone = 36 * (4 * 768 * 64 + 3 * 64) + 9_216 * (2 * 768 + 1)
    assert whole.parameters - models[1].parameters == gone
    assert work[3] / work[0] == pytest.approx(0.5) and work[1] / work[0] == pytest.approx(0.75, abs=0.01)
    trimmed = whole.trimmed(Trimmed(keep="seen", tokens=1128, tokenizer_bytes=30_000))
    assert whole.parameters - trimmed.parameters == 20_000 * 768 and trimmed.tokenizer_bytes == 30_000
    assert whole.table_share == pytest.approx(21128 * 768 / whole.parameters)


def test_predicted_are_the_bytes_that_are_written(calibration: Path, tmp_path: Path, monkeypatch) -> None:
    """Pruned, in int8: of a model whose matrices outweigh its graph."""
    monkeypatch.setenv("TRIMTAB_HOME", str(shutil.copytree(calibration, tmp_path / "home")))
    folder = moved_artifact(tmp_path / "a", tiny_base(tmp_path, layers=2, hidden=512), "full")
    data = write_data(tmp_path / "data")
    model = outlook(folder).pruned(0.4, LESSON)
    pruned = carried_out(model, folder, data, tmp_path / "out")
    made = open_artifact(pruned)
    assert sum(one.numel() for one in made.model.parameters()) == model.parameters
    assert made.spec.shapes.heads == model.spec.shapes.heads
    assert made.spec.shapes.neurons == model.spec.shapes.neurons
    del made
    request = CompressRequest(
        folder=str(pruned), out=str(tmp_path / "q8"), wanted=Quantize(), data=str(data), force=True
    )
    list(compress(request))
    written = (tmp_path / "q8" / "model.onnx").stat().st_size
    assert model.weight_bytes("q8") == pytest.approx(written, rel=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_the_vocabulary_that_trim_leaves_is_counted_before(kind: str, tmp_path: Path) -> None:
    """Without torch, by tokenizer.json alone."""
    folder = moved_artifact(tmp_path / "a", reading_model(tmp_path / "base", kind), "full")
    data = write_rows(tmp_path / "data", sentences(40, seed=1))
    corpus = gather.open_corpus(str(data), Reading(task="classify", text=("text",), label="label"))
    counts = count_ids(corpus.train, folder / "tokenizer.json")
    config, plain = (json.loads((folder / name).read_text()) for name in ("config.json", "tokenizer.json"))
    model = outlook(folder)
    script, seen = vocabularies(model.spec, plain, counts, named_ids(config))
    assert seen.tokens <= script.tokens < model.spec.vocab
    trimmed = model.trimmed(script if kind == "unigram" else seen)
    assert trimmed.steps == (Trim(keep="script" if kind == "unigram" else "seen"),)
    made = open_artifact(carried_out(trimmed, folder, data, tmp_path / "out"))
    assert made.model.get_input_embeddings().weight.shape == torch.Size([trimmed.spec.vocab, 32])
    assert sum(one.numel() for one in made.model.parameters()) == trimmed.parameters
    written = (tmp_path / "out-0" / "tokenizer.json").stat().st_size
    assert trimmed.tokenizer_bytes == pytest.approx(written, rel=0.01)
