"""Reading a model folder: real models against their known counts, damaged and hostile ones by their codes."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from meta_models import count
from safetensors.torch import save_file

from trimtab.errors import ModelError
from trimtab.models import ModelSource, load_config, read_spec, weights_hash
from trimtab.models.config import shape_from
from trimtab.models.config_keys import CONFIG_TABLES

MODELS = Path(os.environ.get("TRIMTAB_MODELS", "~/.cache/trimtab-dev-models")).expanduser()

BERT = {
    "model_type": "bert",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 11,
    "max_position_embeddings": 8,
}


def write_config(folder: Path, **changed: object) -> None:
    (folder / "config.json").write_text(json.dumps(BERT | changed), encoding="utf-8")


def write_safetensors(path: Path, header: object, data: bytes = b"", *, length: int | None = None) -> None:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)


def tensor(begin: int, end: int, *shape: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_config(tmp_path)
    save_file({"pooler.dense.weight": torch.zeros(2, 3)}, tmp_path / "model.safetensors")
    return tmp_path


def read(folder: Path, *, weights_needed: bool = True):
    return read_spec(ModelSource(folder=folder, name="mine"), weights_needed=weights_needed)


def code_of(action: Callable[[], object]) -> str:
    with pytest.raises(ModelError) as raised:
        action()
    assert raised.value.message.text("en")
    assert raised.value.message.text("zh")
    return raised.value.code


# Real models. The numbers are those transformers counts for the loaded files.


@pytest.mark.parametrize(
    ("name", "parameters", "layers", "dtype", "pooler"),
    [
        ("all-minilm-l6-v2", 22_713_216, 6, "fp32", True),
        ("paraphrase-minilm-l3-v2", 17_241_984, 3, "fp32", False),
        ("multilingual-e5-small", 117_505_920, 12, "fp32", False),
        ("smollm2-135m-instruct", 134_515_008, 30, "bf16", False),
    ],
)
def test_a_real_folder(name: str, parameters: int, layers: int, dtype: str, pooler: bool) -> None:
    if not (MODELS / name).is_dir():
        pytest.skip(f"the model {name} is not in {MODELS}")
    spec = read(MODELS / name)
    assert (spec.parameters, spec.layers, spec.weights_dtype, spec.pooler) == (
        parameters,
        layers,
        dtype,
        pooler,
    )
    bytes_each = 4 if dtype == "fp32" else 2
    position_ids = 512 * 8 if pooler else 0  # an int64 buffer that old BERT files carry along
    assert spec.stored_bytes == parameters * bytes_each + position_ids


def test_the_pad_token_and_dropouts_come_along() -> None:
    if not (MODELS / "multilingual-e5-small").is_dir():
        pytest.skip(f"the model multilingual-e5-small is not in {MODELS}")
    spec = read(MODELS / "multilingual-e5-small")
    assert (spec.pad_token_id, spec.hidden_dropout, spec.attention_dropout) == (1, 0.1, 0.1)


# Every family that can be read, against its configuration class.

SMALL_SIZES = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 80,
    "vocab_size": 101,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}


@pytest.mark.parametrize("family", sorted(CONFIG_TABLES))
def test_a_config_of_transformers_gives_the_count_of_its_class(family: str) -> None:
    """Small sizes, all else as the class has it by default. Keys that a class does not read (BERT has no
    "num_key_value_heads") must be ignored here as well."""
    config = transformers.AutoConfig.for_model(family, **SMALL_SIZES)
    spec = shape_from(config.to_dict(), family)
    auto = transformers.AutoModelForCausalLM if spec.kind == "decoder" else transformers.AutoModel
    with torch.device("meta"):
        model = auto.from_config(config)
    pooler = getattr(model, "pooler", None)
    assert spec.parameters == count(model) - (count(pooler) if pooler is not None else 0)
    assert spec.layers == 2
    assert spec.pad_token_id == 0


@pytest.mark.parametrize("family", sorted(CONFIG_TABLES))
def test_keys_that_are_absent_mean_what_the_class_means(family: str) -> None:
    """A config.json may leave out what its class has as default: then both must read the same."""
    table = CONFIG_TABLES[family]
    complete = transformers.AutoConfig.for_model(family).to_dict()
    short = {key: value for key, value in complete.items() if key in (*table.required, "model_type")}
    assert shape_from(short, family) == shape_from(complete, family)


def test_biases_of_llama_are_read_from_the_config() -> None:
    config = transformers.AutoConfig.for_model("llama", **SMALL_SIZES, attention_bias=True, mlp_bias=True)
    spec = shape_from(config.to_dict(), "biased")
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    assert spec.parameters == count(model)


# What a config may not say.


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"model_type": "mamba"}, "TT-M003"),
        ({"hidden_size": None}, "TT-M006"),
        ({"hidden_size": 0}, "TT-M007"),
        ({"hidden_size": -16}, "TT-M007"),
        ({"hidden_size": 16.5}, "TT-M007"),
        ({"hidden_size": True}, "TT-M007"),
        ({"hidden_size": 2**40}, "TT-M007"),
        ({"num_attention_heads": 3}, "TT-M007"),
        ({"hidden_dropout_prob": 1.5}, "TT-M007"),
        ({"hidden_dropout_prob": float("nan")}, "TT-M007"),
        ({"add_cross_attention": True}, "TT-M008"),
        ({"auto_map": {"AutoModel": "modeling_x.X"}}, "TT-M016"),
        ({"_attn_implementation_internal": "someone/kernel"}, "TT-M017"),
        ({"_attn_implementation": {"": "someone/kernel"}}, "TT-M017"),
        ({"text_config": {"attn_implementation": "someone/kernel"}}, "TT-M017"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "TT-M018"),
    ],
)
def test_a_config_that_cannot_be_used(folder: Path, changed: dict[str, object], code: str) -> None:
    write_config(folder, **changed)
    assert code_of(lambda: read(folder)) == code


def test_an_unknown_type_is_told_those_that_can_be_trained(folder: Path) -> None:
    write_config(folder, model_type="mamba")
    with pytest.raises(ModelError) as raised:
        read(folder)
    known = str(raised.value.message.fact("known")).split(", ")
    assert {"bert", "qwen3", "gpt_neox"} < set(known) and not {"albert", "granite", "t5"} & set(known)


def test_all_missing_keys_are_named_at_once(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "bert", "hidden_size": 16}', encoding="utf-8")
    with pytest.raises(ModelError) as raised:
        read(folder)
    missing = str(raised.value.message.fact("keys")).split(", ")
    assert set(missing) == set(BERT) - {"model_type", "hidden_size"}


@pytest.mark.parametrize(
    "content", [b"", b"[1]", b'{"model_type": "bert",', b"\xff\xfe{}", b"[" * 100_000], ids=str
)
def test_a_damaged_config(folder: Path, content: bytes) -> None:
    (folder / "config.json").write_bytes(content)
    assert code_of(lambda: read(folder)) == "TT-M005"


def test_a_missing_config(tmp_path: Path) -> None:
    assert code_of(lambda: read(tmp_path)) == "TT-M004"


def test_code_of_the_repository_runs_only_when_allowed(folder: Path) -> None:
    write_config(folder, auto_map={"AutoModel": "modeling_x.X"})
    allowed = ModelSource(folder=folder, name="mine", trust_remote_code=True)
    assert read_spec(allowed).hidden == 16


def test_a_tokenizer_with_code_of_its_own_is_refused_too(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["x.X", null]}}')
    assert code_of(lambda: read(folder)) == "TT-M016"


def test_private_keys_with_harmless_values_are_left_out(folder: Path) -> None:
    write_config(folder, _attn_implementation_autoset=True, _attn_implementation="sdpa")
    config = load_config(folder)
    assert not [key for key in config if "implementation" in key]
    assert read(folder).hidden == 16


# Weight files.


def test_a_pooler_in_the_file_is_found(folder: Path) -> None:
    assert read(folder).pooler
    save_file({"encoder.weight": torch.zeros(2, 3)}, folder / "model.safetensors")
    assert not read(folder).pooler


@pytest.mark.parametrize(
    ("dtypes", "word"),
    [
        (["F32"], "fp32"),
        (["BF16"], "bf16"),
        (["F16", "F16", "F32"], "fp16"),  # norms kept in fp32
        (["I64"], "unknown"),
    ],
)
def test_the_dtype_is_that_of_most_bytes(folder: Path, dtypes: list[str], word: str) -> None:
    width = {"F32": 4, "BF16": 2, "F16": 2, "I64": 8}
    header, end = {}, 0
    for index, dtype in enumerate(dtypes):
        length = 10 if dtype != "F32" or len(dtypes) == 1 else 1
        header[f"t{index}"] = tensor(end, end + length * width[dtype], length, dtype=dtype)
        end += length * width[dtype]
    write_safetensors(folder / "model.safetensors", header, bytes(end))
    assert read(folder).weights_dtype == word


@pytest.mark.parametrize(
    ("header", "data", "length", "code"),
    [
        ({"a": tensor(0, 24, 2, 3)}, bytes(20), None, "TT-M014"),  # truncated
        ({"a": tensor(0, 24, 2, 3)}, bytes(30), None, "TT-M014"),  # bytes nobody owns
        ({"a": tensor(0, 20, 2, 3)}, bytes(20), None, "TT-M014"),  # shape needs 24
        ({"a": tensor(0, 24, 6), "b": tensor(20, 44, 6)}, bytes(44), None, "TT-M014"),  # overlap
        ({"a": tensor(-4, 20, 6)}, bytes(24), None, "TT-M014"),
        ({"a": tensor(0, 24, -2, -3)}, bytes(24), None, "TT-M013"),
        ({"a": tensor(0, 24, 6, dtype="F31")}, bytes(24), None, "TT-M013"),
        ({"a": {"dtype": "F32"}}, b"", None, "TT-M013"),
        ([1, 2], b"", None, "TT-M013"),
        (b"{not json", b"", None, "TT-M013"),
        (b"[" * 100_000, b"", None, "TT-M013"),
        ({}, b"", 5_000, "TT-M011"),
        ({}, b"", 2**62, "TT-M012"),
    ],
)
def test_a_damaged_header(folder: Path, header: object, data: bytes, length: int | None, code: str) -> None:
    write_safetensors(folder / "model.safetensors", header, data, length=length)
    assert code_of(lambda: read(folder)) == code


def test_an_empty_weights_file(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")
    assert code_of(lambda: read(folder)) == "TT-M011"


def test_a_file_cut_anywhere_is_noticed(folder: Path) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert code_of(lambda: read(folder)) in ("TT-M011", "TT-M014")


def shard(folder: Path, weight_map: dict[str, str]) -> None:
    (folder / "model.safetensors").unlink()
    index = {"metadata": {"total_size": 48}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_shards_are_read_through_their_index(folder: Path) -> None:
    shard(folder, {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"})
    save_file({"a": torch.zeros(6)}, folder / "model-1-of-2.safetensors")
    save_file({"b": torch.zeros(6)}, folder / "model-2-of-2.safetensors")
    assert read(folder).stored_bytes == 48


@pytest.mark.parametrize("name", ["model-2-of-2.safetensors", "../outside.safetensors", "/etc/passwd", ""])
def test_a_shard_that_is_not_in_the_folder(folder: Path, name: str) -> None:
    shard(folder, {"a": name})
    save_file({"a": torch.zeros(6)}, folder.parent / "outside.safetensors")
    assert code_of(lambda: read(folder)) == "TT-M015"


def test_pickled_weights_are_refused_with_the_reason(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02")
    assert code_of(lambda: read(folder, weights_needed=False)) == "TT-M009"


def test_a_plan_needs_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    spec = read(folder, weights_needed=False)
    assert (spec.hidden, spec.weights_dtype, spec.stored_bytes) == (16, "unknown", 0)
    assert code_of(lambda: read(folder)) == "TT-M010"


# Fingerprint and hash.


def test_the_fingerprint_is_of_config_and_header_not_of_layout_or_weights(folder: Path) -> None:
    first = read(folder).fingerprint
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(dict(reversed(config.items())), indent=4))
    save_file({"pooler.dense.weight": torch.ones(2, 3)}, folder / "model.safetensors")
    assert read(folder).fingerprint == first
    write_config(folder, vocab_size=12)
    second = read(folder).fingerprint
    write_config(folder)
    save_file({"pooler.dense.weight": torch.ones(3, 2)}, folder / "model.safetensors")
    assert len({first, second, read(folder).fingerprint}) == 3


def test_the_hash_of_weights_sees_one_changed_bit(folder: Path) -> None:
    first = weights_hash(folder)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    assert weights_hash(folder) != first
    assert len(first) == 64
