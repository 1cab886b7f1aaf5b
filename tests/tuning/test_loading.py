"""Loading a real folder: seeded heads, stored dtypes, clear refusals; and finding the parts of a model."""

from pathlib import Path

import pytest
import torch

from plain_chinese import english_in
from tiny_models import DECODERS, FAMILIES, tiny_model
from trimtab import tuning
from trimtab.errors import ModelError
from trimtab.models import ModelSource, read_spec
from trimtab.tuning import structure


def load(source: ModelSource, **more):
    return tuning.load_classifier(source, outputs=3, pad_token_id=0, **more)


def test_the_seed_makes_the_head_and_nothing_else(tmp_path: Path) -> None:
    source = tiny_model(tmp_path, "bert")
    first, same, other = (dict(load(source, seed=seed).named_parameters()) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], same[name]) for name in first)
    changed = {name for name in first if not torch.equal(first[name], other[name])}
    assert changed == {"classifier.weight"}  # the bias starts at zero


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_keep_the_dtype_they_are_stored_in(dtype: torch.dtype, tmp_path: Path) -> None:
    model = load(tiny_model(tmp_path, "llama", dtype=dtype))
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}


def test_casting_keeps_rotary_tables_in_fp32(tmp_path: Path) -> None:
    source = tiny_model(tmp_path, "llama")
    cast = tuning.cast(load(source), "bf16")
    fresh = load(tiny_model(tmp_path / "stored", "llama", dtype=torch.bfloat16))
    assert cast.model.rotary_emb.inv_freq.dtype == fresh.model.rotary_emb.inv_freq.dtype == torch.float32
    assert torch.equal(cast.model.rotary_emb.inv_freq, fresh.model.rotary_emb.inv_freq)
    assert {parameter.dtype for parameter in cast.parameters()} == {torch.bfloat16}


def test_labels_go_into_the_config(tmp_path: Path) -> None:
    config = load(tiny_model(tmp_path), labels=("x", "y", "z")).config
    assert config.id2label == {0: "x", 1: "y", 2: "z"}
    assert config.label2id == {"x": 0, "y": 1, "z": 2}


def test_truncated_weights_are_refused(tmp_path: Path) -> None:
    source = tiny_model(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError) as caught:
        load(source)
    assert caught.value.code == "TT-T004"


def test_a_missing_tokenizer_is_refused(tmp_path: Path) -> None:
    source = tiny_model(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).unlink()
    with pytest.raises(ModelError) as caught:
        tuning.load_tokenizer(source)
    assert caught.value.code == "TT-T003" and "it knows no words" in str(caught.value)
    assert english_in(caught.value.message, str(tmp_path), "tokenizer.json", "tokenizer_config.json") == []


def test_a_tokenizer_without_padding_pads_with_the_end_token(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    source = tiny_model(tmp_path, "llama")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.pad_token, tokenizer.eos_token = None, "[SEP]"
    tokenizer.save_pretrained(tmp_path)
    assert tuning.load_tokenizer(source).pad_token == "[SEP]"


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_is_below_in_above_or_in_the_head(family: str, tmp_path: Path) -> None:
    source = tiny_model(tmp_path, family, layers=3)
    model, spec = load(source), read_spec(source)
    groups = [
        structure.below_layers(model, spec),
        tuple(structure.layers(model, spec)),
        structure.above_layers(model, spec),
        tuple(structure.head(model).values()),
    ]
    counted = [sum(p.numel() for module in group for p in module.parameters()) for group in groups]
    assert sum(counted) == sum(p.numel() for p in model.parameters())
    assert counted[0] == spec.embedding_parameters
    assert counted[1] == 3 * spec.layer_parameters
    assert (counted[2] > 0) == (family in DECODERS)


def test_lora_is_asked_for_by_the_shortest_names_that_mean_it(tmp_path: Path) -> None:
    """PEFT and servers read target_modules: "query" rather than every full name, where that is the same."""
    from trimtab.methods import Lora
    from trimtab.tuning.adapter import peft_config

    source = tiny_model(tmp_path, "bert", layers=3)
    model, spec = load(source), read_spec(source)

    def asked(part: Lora) -> set[str]:
        return set(peft_config(part, model, spec).target_modules)

    assert asked(Lora()) == {"query", "value"}
    # both outputs of a layer are called output.dense: the short name would take one too many
    assert asked(Lora(targets=("o",))) == {"attention.output.dense"}
    assert asked(Lora(targets=("q",), top_layers=1)) == {"bert.encoder.layer.2.attention.self.query"}
