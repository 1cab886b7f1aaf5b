"""A GGUF file is unpacked once, into the model it was made of; what cannot be unpacked leaves nothing behind."""

import json
from pathlib import Path

import gguf
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tiny_gguf import write_gguf
from trimtab import tuning
from trimtab.errors import ModelError
from trimtab.models import read_spec, spec_of
from trimtab.models.gguf import UNPACKED, unpacked_folder
from trimtab.tuning import gguf as unpacking

F16, F32, Q8, Q4 = (
    gguf.GGMLQuantizationType.F16,
    gguf.GGMLQuantizationType.F32,
    gguf.GGMLQuantizationType.Q8_0,
    gguf.GGMLQuantizationType.Q4_0,
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("family", "kind", "tied"),
    [("llama", Q8, True), ("llama", F32, False), ("qwen2", F16, False), ("qwen3", Q4, True)],
)
def test_the_unpacked_model_is_the_one_that_was_packed(
    tmp_path: Path, family: str, kind: gguf.GGMLQuantizationType, tied: bool
) -> None:
    path = tmp_path / "tiny.gguf"
    written, tokenizer = write_gguf(path, family, kind=kind, tied=tied)
    planned = spec_of(str(path))
    source = tuning.locate_unpacked(str(path))
    model = AutoModelForCausalLM.from_pretrained(source.folder, dtype="auto")
    with torch.no_grad():  # what the blocks have made of the weights, by the format's own arithmetic
        for parameter in written.parameters():
            if parameter.dim() > 1:
                rounded = gguf.dequantize(gguf.quantize(parameter.numpy(), kind), kind)
                parameter.copy_(torch.from_numpy(rounded))
    precision = {dtype: word for word, dtype in tuning.DTYPES.items()}[model.dtype]
    expected = dict(tuning.cast(written, precision).named_parameters())
    found = dict(model.named_parameters())
    assert found.keys() == expected.keys()
    for name, parameter in found.items():
        assert torch.equal(parameter, expected[name]), name
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        assert torch.equal(model.eval()(ids).logits, written.eval()(ids).logits), "positions, norms and all"
    again = tuning.load_tokenizer(source)
    assert again("the train leaves")["input_ids"] == tokenizer.encode("the train leaves").ids
    read = read_spec(source)
    assert read.parameters == planned.parameters == sum(p.numel() for p in model.parameters())
    assert (read.weights_dtype, read.stored_bytes) == (planned.weights_dtype, planned.stored_bytes)
    facts = (
        "layers",
        "hidden",
        "heads",
        "kv_heads",
        "head_dim",
        "ffn",
        "vocab",
        "tied_embeddings",
        "max_positions",
    )
    assert [getattr(read, fact) for fact in facts] == [getattr(planned, fact) for fact in facts]


def test_it_is_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tiny.gguf"
    write_gguf(path, kind=Q8)
    folder = tuning.locate_unpacked(str(path)).folder
    monkeypatch.setattr(unpacking, "_unpack", None)  # not called again
    assert tuning.locate_unpacked(str(path)).folder == folder
    assert json.loads((folder / UNPACKED).read_text()) == {"file": "tiny.gguf", "bytes": path.stat().st_size}
    assert "local_files_only" not in (folder / "tokenizer_config.json").read_text()


def test_a_changed_file_is_another_model(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    write_gguf(path, kind=Q8)
    before = load_file(tuning.locate_unpacked(str(path)).folder / "model.safetensors")
    write_gguf(path, kind=Q4)
    after = load_file(tuning.locate_unpacked(str(path)).folder / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    assert not torch.equal(before[name], after[name])


def test_a_failure_leaves_nothing_behind(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tiny.gguf"
    write_gguf(path, kind=Q8)

    monkeypatch.setattr(unpacking, "UNPACKED", "no such folder/a file")  # the last thing that is written
    with pytest.raises(FileNotFoundError):
        tuning.locate_unpacked(str(path))
    assert list((home / "gguf").iterdir()) == []
    monkeypatch.undo()
    monkeypatch.setenv("TRIMTAB_HOME", str(home))
    tuning.locate_unpacked(str(path))
    assert unpacked_folder(path).is_dir()


def test_a_missing_weight_is_no_model(tmp_path: Path, home: Path) -> None:
    path = tmp_path / "tiny.gguf"
    write_gguf(path, kind=F16)
    content = path.read_bytes().replace(b"blk.1.attn_q.weight", b"blk.7.attn_q.weight")
    path.write_bytes(content)
    with pytest.raises(ModelError) as refused:
        tuning.locate_unpacked(str(path))
    assert refused.value.code == "TT-M073"
    assert list((home / "gguf").iterdir()) == []
