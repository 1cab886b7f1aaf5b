"""A GGUF file that is written is the model it was made of: by transformers' reader, the format's own and ours."""

import json
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_language import TEMPLATE, language_facts, language_folder, opened
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from tiny_models import tiny_model
from trimtab import tuning
from trimtab.compression.gguf import export_gguf, write_gguf
from trimtab.errors import ModelError, UsageError
from trimtab.models import ModelSource, read_spec, spec_of
from trimtab.models.gguf_header import read_gguf_header
from trimtab.models.gguf_layout import FINER, GGUF_KINDS, kind_named
from trimtab.models.gguf_plan import gguf_bytes, plan_gguf

IDS = torch.arange(3, 60).reshape(3, 19)
FAMILIES = [
    ("llama", False),
    ("llama", True),
    ("qwen2", False),
    ("qwen2", True),
    ("qwen3", True),
    ("mistral", False),
]
LLAMA_3 = {
    "rope_type": "llama3", "rope_theta": 10_000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IDS).logits


def by_transformers(path: Path) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)


@pytest.mark.parametrize(("family", "tied"), FAMILIES)
def test_f32_is_the_same_model_to_transformers_and_to_us(tmp_path: Path, family: str, tied: bool) -> None:
    folder = language_folder(tmp_path / "model", family, tie_word_embeddings=tied)
    before = logits(opened(folder))
    file = write_gguf(folder, tmp_path / "alone" / "tiny.gguf", "f32")
    torch.testing.assert_close(logits(by_transformers(file.path)), before, rtol=0, atol=1e-5)
    export_gguf(folder, tmp_path / "out", "f32")
    assert torch.equal(logits(tuning.open_gguf_model(tmp_path / "out")), before)


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_q8_is_within_two_percent(tmp_path: Path, family: str) -> None:
    folder = language_folder(tmp_path / "model", family, initializer_range=0.05)
    before = logits(opened(folder))
    file = write_gguf(folder, tmp_path / "alone" / "tiny.gguf", kind_named("q8"))
    after = logits(by_transformers(file.path))
    assert 0 < (after - before).abs().max() < 0.02 * before.abs().max()
    export_gguf(folder, tmp_path / "out", "q8_0")
    assert torch.equal(logits(tuning.open_gguf_model(tmp_path / "out")), after)


@pytest.mark.parametrize("kind", GGUF_KINDS)
@pytest.mark.parametrize("finer", [FINER[0], FINER[2]], ids=["plain", "finer"])
def test_the_size_is_known_to_the_byte(tmp_path: Path, kind: str, finer: frozenset[str]) -> None:
    folder = language_folder(tmp_path / "model", dtype=torch.bfloat16)
    source = ModelSource(folder=folder, name="tiny")
    plan = plan_gguf(source, kind, finer)  # type: ignore[arg-type]
    written = write_gguf(source, tmp_path / "tiny.gguf", kind, finer=finer)  # type: ignore[arg-type]
    assert plan.nbytes == written.nbytes == written.path.stat().st_size
    metadata = len(plan.header)
    of_shape = gguf_bytes(read_spec(source), kind, finer)  # type: ignore[arg-type]
    assert plan.nbytes - metadata <= of_shape < plan.nbytes + 40 * 400, "the tensors, and a guess at the tokenizer"


def test_the_formats_own_reader_finds_the_same(tmp_path: Path) -> None:
    folder = language_folder(tmp_path / "model", dtype=torch.bfloat16)
    path = write_gguf(folder, tmp_path / "tiny.gguf", "q5_1", finer=FINER[1]).path
    reader, header = gguf.GGUFReader(path), read_gguf_header(path)
    places = [(tensor.name, int(tensor.data_offset), int(tensor.n_bytes)) for tensor in reader.tensors]
    assert places == [(tensor.name, tensor.begin, tensor.nbytes) for tensor in header.tensors]
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert kinds["blk.0.attn_q.weight"] == kinds["token_embd.weight"] == "Q5_1"
    assert kinds["output.weight"] == kinds["blk.1.attn_v.weight"] == "Q8_0"
    assert kinds["output_norm.weight"] == kinds["blk.0.ffn_norm.weight"] == "F32"
    stored = load_file(folder / "model.safetensors")["model.layers.1.mlp.up_proj.weight"].float().numpy()
    expected = gguf.quantize(stored, gguf.GGMLQuantizationType.Q5_1)
    found = next(tensor for tensor in reader.tensors if tensor.name == "blk.1.ffn_up.weight")
    assert np.array_equal(found.data, expected)
    planned, source = spec_of(str(path)), read_spec(ModelSource(folder=folder, name="tiny"))
    assert (planned.parameters, planned.heads, planned.kv_heads) == (source.parameters, 4, 2)
    said = {name: field.contents() for name, field in reader.fields.items()}
    assert said["llama.attention.head_count_kv"] == 2 and said["llama.rope.freq_base"] == 50_000.0
    assert said["tokenizer.ggml.tokens"][-1].startswith("[PAD") and said["tokenizer.ggml.token_type"][-1] == 5


def test_the_tokenizer_and_the_template_travel(tmp_path: Path) -> None:
    folder = language_folder(tmp_path / "model")
    path = write_gguf(folder, tmp_path / "alone" / "tiny.gguf", "q8_0").path
    before = AutoTokenizer.from_pretrained(folder)
    after = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    texts = ["the river rises", "A train<|im_end|>\n\n  leaves  12345 early!", "价格又下跌了 🙂", ""]
    assert after(texts)["input_ids"] == before(texts)["input_ids"]
    special = ("bos_token", "eos_token", "pad_token", "unk_token")
    assert [getattr(after, name) for name in special] == [getattr(before, name) for name in special]
    template = gguf.GGUFReader(path).fields["tokenizer.chat_template"].contents()
    assert template.encode() == (folder / "chat_template.jinja").read_bytes()
    assert template.replace("\r\n", "\n") == TEMPLATE.replace("\r\n", "\n")


def test_rows_that_are_no_whole_blocks_are_kept_and_told(tmp_path: Path) -> None:
    folder = language_folder(tmp_path / "model", intermediate_size=80)
    written = export_gguf(folder, tmp_path / "out", "q4_0")
    assert written.kept == ("blk.0.ffn_down.weight", "blk.1.ffn_down.weight")
    down = load_file(folder / "model.safetensors")["model.layers.0.mlp.down_proj.weight"]
    model = tuning.open_gguf_model(tmp_path / "out")
    found = model.get_parameter("model.layers.0.mlp.down_proj.weight")
    assert torch.equal(found, down.half().float())
    assert export_gguf(folder, tmp_path / "whole", "f16").kept == ()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_shards_and_short_numbers_are_read(tmp_path: Path, dtype: torch.dtype) -> None:
    folder = language_folder(tmp_path / "model", dtype=dtype, shard="60KB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    kind = "f16" if dtype == torch.float16 else "bf16"
    export_gguf(folder, tmp_path / "out", kind)  # type: ignore[arg-type]
    assert torch.equal(logits(tuning.open_gguf_model(tmp_path / "out")), logits(opened(folder)))


def test_scaled_positions(tmp_path: Path) -> None:
    """Llama 3's factors against transformers' own frequencies; of what transformers' reader of GGUF leaves out,
    nothing is lost to us."""
    folder = language_folder(tmp_path / "model", rope_parameters=LLAMA_3)
    export_gguf(folder, tmp_path / "out", "f32")
    before = opened(folder)
    frequencies, _ = ROPE_INIT_FUNCTIONS["llama3"](before.config, torch.device("cpu"))
    plain = 1 / 10_000.0 ** (torch.arange(0, 16, 2) / 16)
    reader = gguf.GGUFReader(tmp_path / "out" / "model.gguf")
    factors = next(tensor for tensor in reader.tensors if tensor.name == "rope_freqs.weight")
    assert factors.data.min() == 1.0 and factors.data.max() == 8.0
    np.testing.assert_allclose(factors.data, (plain / frequencies).numpy(), rtol=1e-5)
    assert torch.equal(logits(tuning.open_gguf_model(tmp_path / "out")), logits(before))


@pytest.mark.parametrize(("family", "keys", "tokens"), [
    ("mistral", {"sliding_window": 32}, 32),
    ("mistral", {"sliding_window": None}, 128),
    ("qwen2", {"use_sliding_window": False, "sliding_window": 32}, 128),
])  # fmt: skip
def test_a_window_bounds_the_context(tmp_path: Path, family: str, keys: dict[str, object], tokens: int) -> None:
    path = write_gguf(language_folder(tmp_path / "model", family, **keys), tmp_path / "tiny.gguf", "f16").path
    values = read_gguf_header(path).values
    assert values[f"{values['general.architecture']}.context_length"] == tokens


def refused(folder: Path, out: Path, kind: str = "q8_0") -> str:
    with pytest.raises(ModelError) as found:
        write_gguf(folder, out / "tiny.gguf", kind)  # type: ignore[arg-type]
    assert not out.exists() or list(out.iterdir()) == [], "nothing half-written"
    return found.value.code


def _weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _json(path: Path, change: Callable[[dict], object]) -> None:  # type: ignore[type-arg]
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def _tokenizer(change: Callable[[dict], object]) -> Callable[[Path], None]:  # type: ignore[type-arg]
    return lambda folder: _json(folder / "tokenizer.json", change)


BROKEN: dict[str, tuple[str, Callable[[Path], object]]] = {
    "missing": ("TT-C404", lambda folder: _weights(folder, lambda w: w.pop("model.norm.weight"))),
    "strange": ("TT-C404", lambda folder: _weights(folder, lambda w: w.update({"score.weight": torch.ones(2)}))),
    "shape": ("TT-C404", lambda folder: _json(folder / "config.json", lambda c: c.update(intermediate_size=64))),
    "int8": ("TT-C405", lambda folder: _weights(
        folder, lambda w: w.update({"model.norm.weight": torch.ones(64, dtype=torch.int8)}))),
    "nan": ("TT-C406", lambda folder: _weights(folder, lambda w: w["lm_head.weight"][3].fill_(float("nan")))),
    "large": ("TT-C406", lambda folder: _weights(folder, lambda w: w["lm_head.weight"][3].fill_(1e6))),
    "activation": ("TT-C403", lambda folder: _json(folder / "config.json", lambda c: c.update(hidden_act="gelu"))),
    "longrope": ("TT-C403", lambda folder: _json(
        folder / "config.json", lambda c: c["rope_parameters"].update(rope_type="longrope"))),
    "no tokenizer": ("TT-C408", lambda folder: (folder / "tokenizer.json").unlink()),
    "unigram": ("TT-C409", _tokenizer(lambda t: t["model"].update(type="Unigram"))),
    "split": ("TT-C409", _tokenizer(lambda t: t["pre_tokenizer"].update(add_prefix_space=True))),
    "normalizer": ("TT-C409", _tokenizer(lambda t: t.update(normalizer={"type": "Lowercase"}))),
    "around": ("TT-C409", _tokenizer(lambda t: t.update(post_processor={
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|endoftext|>"}}, {"Sequence": {"id": "A"}}],
    }))),
    "tokens": ("TT-C413", _tokenizer(lambda t: t["model"]["vocab"].update(one_more=5000))),
}  # fmt: skip


@pytest.mark.parametrize("what", list(BROKEN))
def test_what_could_not_be_the_same_is_refused(tmp_path: Path, what: str) -> None:
    folder = language_folder(tmp_path / "model")
    code, change = BROKEN[what]
    change(folder)
    assert refused(folder, tmp_path / "out") == code


def test_other_models_are_refused(tmp_path: Path) -> None:
    assert refused(tiny_model(tmp_path / "bert", "bert").folder, tmp_path / "out") == "TT-C400"
    assert refused(tiny_model(tmp_path / "words", "llama").folder, tmp_path / "out") == "TT-C409"
    biased = language_folder(tmp_path / "biased", attention_bias=True)
    assert refused(biased, tmp_path / "out") == "TT-C403"
    classifier = language_folder(tmp_path / "classifier")
    language_facts(classifier, task="classify").write(classifier)
    assert refused(classifier, tmp_path / "out") == "TT-C401"
    adapter = language_folder(tmp_path / "adapter")
    (adapter / "adapter_config.json").write_text("{}")
    assert refused(adapter, tmp_path / "out") == "TT-C402"
    with pytest.raises(UsageError) as unknown:
        kind_named("q3_k")
    assert unknown.value.code == "TT-C410" and "q8_0" in str(unknown.value)


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    folder, path = language_folder(tmp_path / "model"), tmp_path / "out" / "tiny.gguf"
    path.parent.mkdir()
    path.write_bytes(b"what was there")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(OSError) as refusal:
            write_gguf(folder, path, "f32")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert refusal.value.filename == str(path)
    assert path.read_bytes() == b"what was there" and list(path.parent.iterdir()) == [path]


def test_the_folder_opens_from_what_is_in_it(tmp_path: Path) -> None:
    folder = language_folder(tmp_path / "model")
    export_gguf(folder, tmp_path / "out", "q8_0")
    shutil.rmtree(folder)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"model.gguf", "config.json", "tokenizer.json", "chat_template.jinja"} <= names
    model = tuning.open_gguf_model(tmp_path / "out", pad_token_id=3)
    assert model.config.pad_token_id == 3 and not model.training and model.dtype == torch.float32
    assert tuning.open_gguf_model(tmp_path / "out", precision="bf16").dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda folder: (folder / "model.gguf").unlink(), "TT-M004"),
        (lambda folder: os.truncate(folder / "model.gguf", 100_000), "TT-M070"),
        (lambda folder: _json(folder / "config.json", lambda c: c.update(intermediate_size=128)), "TT-C412"),
        (lambda folder: _json(folder / "config.json", lambda c: c.update(num_hidden_layers=3)), "TT-C412"),
        (lambda folder: _json(folder / "config.json", lambda c: c.update(vocab_size=2**30)), "TT-C412"),
        (lambda folder: _json(folder / "config.json", lambda c: c.update(tie_word_embeddings=True)), "TT-C412"),
        (lambda folder: _json(folder / "config.json", lambda c: c.update(auto_map={"A": "x"})), "TT-M016"),
    ],
    ids=["gone", "cut", "shape", "layers", "huge", "tied", "code"],
)  # fmt: skip
def test_a_file_that_is_not_that_model_is_refused(
    tmp_path: Path, change: Callable[[Path], object], code: str
) -> None:
    export_gguf(language_folder(tmp_path / "model"), tmp_path / "out", "q8_0")
    change(tmp_path / "out")
    with pytest.raises(ModelError) as refusal:
        tuning.open_gguf_model(tmp_path / "out")
    assert refusal.value.code == code
