"""A model made smaller computes what it computed without what was taken away, and opens again as it was."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedModel

from tiny_models import tiny_model
from trimtab import tuning
from trimtab.errors import ModelError
from trimtab.evaluation import OBJECTIVES
from trimtab.methods import Choices, Strategy, method_named
from trimtab.models import ModelSource, ModelSpec, read_spec
from trimtab.models.layer_shapes import KEY, Kept, KeptLayer
from trimtab.models.weights_header import read_headers
from trimtab.tuning import structure

FAMILIES = ("bert", "xlm-roberta", "roberta", "distilbert", "electra", "llama", "qwen2", "qwen3", "mistral")
OUTPUTS = 3
NEURONS = 64
every_family = pytest.mark.parametrize("family", FAMILIES)


def uneven(spec: ModelSpec) -> Kept:
    """Other heads and other neurons of each layer, none of them the first ones alone."""
    last = spec.kv_heads - 1
    return Kept(
        layers=(
            KeptLayer(number=0, groups=(last,), neurons=tuple(range(1, NEURONS, 2))),
            KeptLayer(number=1, groups=tuple({0, last}), neurons=tuple(range(16, NEURONS))),
        )
    )


def opened(source: ModelSource, attention: str = "sdpa") -> PreTrainedModel:
    model = tuning.load_classifier(source, outputs=OUTPUTS, pad_token_id=0).eval()
    model.set_attn_implementation(attention)
    return model


def silence(model: PreTrainedModel, spec: ModelSpec, kept: Kept) -> None:
    """Zero what the heads and neurons that will go give to their output matrices."""
    modules = {role: linear.module for linear in spec.linears for role in linear.roles}
    width = spec.heads // spec.kv_heads * spec.head_dim
    for layer in kept.layers:
        module = structure.layers(model, spec)[layer.number]
        for role, units, each in (("o", layer.groups, width), ("down", layer.neurons, 1)):
            weight = module.get_submodule(modules[role]).get_parameter("weight").data
            stays = torch.zeros(weight.shape[1] // each, dtype=torch.bool)
            stays[list(units)] = True
            weight[:, ~stays.repeat_interleave(each)] = 0


@torch.no_grad()
def logits(model: PreTrainedModel) -> torch.Tensor:
    torch.manual_seed(1)
    ids = torch.randint(4, 40, (4, 9))
    mask = torch.ones_like(ids)
    mask[0, 6:] = 0
    ids[0, 6:] = 0
    return model(input_ids=ids, attention_mask=mask).logits


def reopened(model: PreTrainedModel, folder: Path, **how: object) -> ModelSource:
    model.save_pretrained(folder, **how)
    return ModelSource(folder=folder, name=str(folder))


def numbers(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def shape_facts(spec: ModelSpec) -> ModelSpec:
    """Without what is known of files alone."""
    return replace(spec, name="", source="", fingerprint="", stored_bytes=0, tokenizer_bytes=0, pooler=False)


@every_family
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_what_gave_nothing_is_not_missed(tmp_path: Path, family: str, attention: str) -> None:
    source = tiny_model(tmp_path / "whole", family)
    spec, model = read_spec(source), opened(source, attention)
    kept = uneven(spec)
    silence(model, spec, kept)
    before, held = logits(model), numbers(model)
    tuning.shrink(model, spec, kept)
    assert numbers(model) < held
    assert torch.allclose(logits(model), before, atol=1e-5)


@every_family
def test_a_shrunk_model_opens_again_and_its_spec_is_exact(tmp_path: Path, family: str) -> None:
    source = tiny_model(tmp_path / "whole", family)
    spec, model = read_spec(source), opened(source)
    after = tuning.shrink(model, spec, uneven(spec))
    small = reopened(model, tmp_path / "small")
    again, found = opened(small), read_spec(small)
    assert type(again) is type(model)
    assert torch.equal(logits(again), logits(model))
    assert shape_facts(found) == shape_facts(after)
    assert found.backbone_parameters == numbers(getattr(again, again.base_model_prefix))
    head = numbers(again) - found.backbone_parameters
    assert read_headers(small.folder).nbytes == 4 * (found.backbone_parameters + head)


@every_family
@pytest.mark.parametrize("method", ["full", "lora", "freeze", "ia3"])
def test_trained_parameters_of_uneven_layers_are_exact(tmp_path: Path, family: str, method: str) -> None:
    source = tiny_model(tmp_path / "whole", family)
    spec, model = read_spec(source), opened(source)
    after = tuning.shrink(model, spec, uneven(spec))
    strategy = Strategy(method=method, parts=method_named(method).parts(after, Choices()))
    tuning.apply(strategy, model, after)
    assert strategy.total_parameters(after, OUTPUTS) == numbers(model)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert strategy.trainable_parameters(after, OUTPUTS) == trained


@every_family
def test_plain_transformers_refuses_shapes_it_cannot_build(tmp_path: Path, family: str) -> None:
    source = tiny_model(tmp_path / "whole", family)
    spec, model = read_spec(source), opened(source)
    tuning.shrink(model, spec, uneven(spec))
    small = reopened(model, tmp_path / "small")
    for maker in (AutoModel, AutoModelForSequenceClassification):
        with pytest.raises(RuntimeError, match="mismatch"):
            maker.from_pretrained(small.folder)
    assert "Trimtab" in json.loads((small.folder / "config.json").read_text())[KEY]["note"]


@every_family
def test_fewer_neurons_and_layers_alike_make_an_ordinary_model(tmp_path: Path, family: str) -> None:
    source = tiny_model(tmp_path / "whole", family, layers=3)
    spec, model = read_spec(source), opened(source)
    groups = tuple(range(spec.kv_heads))
    kept = (KeptLayer(number=number, groups=groups, neurons=tuple(range(3, 35))) for number in (0, 2))
    after = tuning.shrink(model, spec, Kept(layers=tuple(kept)))
    assert after.pruned is None
    small = reopened(model, tmp_path / "small")
    assert KEY not in json.loads((small.folder / "config.json").read_text())
    plain = AutoModelForSequenceClassification.from_pretrained(small.folder).eval()
    assert torch.equal(logits(plain), logits(model))
    assert shape_facts(read_spec(small)) == shape_facts(after)


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "mistral"])
def test_fewer_heads_alike_make_an_ordinary_decoder_that_writes_the_same(tmp_path: Path, family: str) -> None:
    source = tiny_model(tmp_path / "whole", family, layers=3)
    spec = read_spec(source)
    model = tuning.load_language_model(source, pad_token_id=0).eval()
    kept = (KeptLayer(number=number, groups=(1,), neurons=tuple(range(NEURONS))) for number in (1, 2))
    after = tuning.shrink(model, spec, Kept(layers=tuple(kept)))
    assert after.pruned is None
    small = reopened(model, tmp_path / "small")
    plain = AutoModelForCausalLM.from_pretrained(small.folder).eval()
    ids, asked = torch.tensor([[5, 9, 17]]), {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    assert torch.equal(logits(plain), logits(model))
    assert plain.generate(ids, **asked).tolist() == model.generate(ids, **asked).tolist()
    assert read_spec(small).parameters == numbers(plain)


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_uneven_decoders_write_with_a_cache_what_they_write_without(tmp_path: Path, family: str) -> None:
    """Each layer's place in the cache is its number after others were dropped."""
    source = tiny_model(tmp_path / "whole", family, layers=3)
    spec = read_spec(source)
    model = tuning.load_language_model(source, pad_token_id=0).eval()
    layers = (
        KeptLayer(number=0, groups=(0, 1), neurons=tuple(range(NEURONS))),
        KeptLayer(number=2, groups=(1,), neurons=tuple(range(40))),
    )
    tuning.shrink(model, spec, Kept(layers=layers))
    again = tuning.load_language_model(reopened(model, tmp_path / "small"), pad_token_id=0).eval()
    ids, asked = torch.tensor([[5, 9, 17]]), {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    written = again.generate(ids, use_cache=True, **asked).tolist()
    assert written == model.generate(ids, use_cache=False, **asked).tolist()


def test_shards_and_sixteen_bits_open_as_one_file_does(tmp_path: Path) -> None:
    source = tiny_model(tmp_path / "whole", "bert", dtype=torch.bfloat16)
    spec, model = read_spec(source), opened(source)
    tuning.shrink(model, spec, uneven(spec))
    small = reopened(model, tmp_path / "small", max_shard_size="10KB")
    assert len(list(small.folder.glob("*.safetensors"))) > 1
    again = opened(small)
    assert again.dtype == torch.bfloat16
    assert torch.equal(logits(again), logits(model))


def test_a_second_step_starts_where_the_first_ended(tmp_path: Path) -> None:
    """Uneven first, alike in the end; the head size of the class stays known."""
    source = tiny_model(tmp_path / "whole", "bert")
    spec, model = read_spec(source), opened(source)
    first = tuning.shrink(model, spec, uneven(spec))
    kept = (KeptLayer(number=number, groups=(0,), neurons=tuple(range(16))) for number in (0, 1))
    second = tuning.shrink(model, first, Kept(layers=tuple(kept)))
    assert (second.heads, second.head_dim, second.ffn) == (1, spec.head_dim, 16)
    again = opened(reopened(model, tmp_path / "small"))
    assert torch.equal(logits(again), logits(model))


def test_a_shape_made_for_a_dry_run_has_the_layers_of_the_model(tmp_path: Path) -> None:
    source = tiny_model(tmp_path / "whole", "bert")
    spec, model = read_spec(source), opened(source)
    after = tuning.shrink(model, spec, uneven(spec))
    with torch.device("meta"):
        built = OBJECTIVES["classify"].shape(after, OUTPUTS)
    shapes = {name: parameter.shape for name, parameter in built.named_parameters()}
    assert shapes == {name: parameter.shape for name, parameter in model.named_parameters()}


def test_a_lost_weight_of_a_pruned_layer_is_an_error(tmp_path: Path) -> None:
    source = tiny_model(tmp_path / "whole", "bert")
    spec, model = read_spec(source), opened(source)
    tuning.shrink(model, spec, uneven(spec))
    small = reopened(model, tmp_path / "small")
    weights = load_file(small.folder / "model.safetensors")
    del weights["bert.encoder.layer.1.attention.self.query.weight"]
    save_file(weights, small.folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError) as refused:
        opened(small)
    assert refused.value.code == "TT-C204"


def test_what_cannot_be_shrunk_is_left_as_it_was(tmp_path: Path) -> None:
    source = tiny_model(tmp_path / "whole", "bert")
    spec, model = read_spec(source), opened(source)
    before = logits(model)
    layers = (KeptLayer(number=0, groups=(), neurons=(0,)), KeptLayer(number=1, groups=(0,), neurons=(0,)))
    nothing = Kept(layers=layers)
    with pytest.raises(ModelError, match="TT-C202"):
        tuning.shrink(model, spec, nothing)
    assert torch.equal(logits(model), before)
    strategy = Strategy(method="lora", parts=method_named("lora").parts(spec, Choices()))
    tuning.apply(strategy, model, spec)
    with pytest.raises(ModelError, match="TT-C203"):
        tuning.shrink(model, spec, uneven(spec))
    with pytest.raises(ModelError, match="TT-C201"):
        tuning.shrink(model, replace(spec, family="gpt2"), uneven(spec))
