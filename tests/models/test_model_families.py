"""The arithmetic of families.py against AutoModelForSequenceClassification, on the meta device."""

import pytest
from meta_models import classifier, config_of, count, layers_of
from torch import nn
from transformers.pytorch_utils import Conv1D

from trimtab.models import (
    ModelSpec,
    backbone_parameters,
    catalogue,
    embedding_parameters,
    final_norm_parameters,
    head_parameters,
    layer_linears,
    layer_parameters,
    pooler_parameters,
    shape_named,
    stored_layers,
    top_parameters,
)
from trimtab.models.layouts import LAYOUTS


def encoder(family: str, **changed: object) -> ModelSpec:
    shape = dict(
        name="small", family=family, kind="encoder", layers=3, hidden=48, heads=4, kv_heads=4, head_dim=12,
        ffn=80, gated_ffn=False, vocab=101, max_positions=37, type_vocab=2, qkv_bias=True, o_bias=True,
        ffn_bias=True, norm="layer", position="learned",
    )  # fmt: skip
    return ModelSpec(**(shape | changed))


def decoder(family: str, **changed: object) -> ModelSpec:
    shape = dict(
        name="small", family=family, kind="decoder", layers=3, hidden=48, heads=4, kv_heads=2, head_dim=16,
        ffn=80, gated_ffn=True, vocab=101, max_positions=37, tied_embeddings=False,
    )  # fmt: skip
    return ModelSpec(**(shape | changed))


SMALL = [
    encoder("bert"),
    encoder("roberta"),
    encoder("xlm-roberta"),
    encoder("distilbert", type_vocab=0),
    encoder("electra", embedding_size=20),
    encoder("electra"),
    encoder("albert", embedding_size=20),
    encoder("mobilebert", embedding_size=20, heads=4, head_dim=6, type_vocab=2),
    encoder("deberta-v2", position="relative", type_vocab=0),
    decoder("llama"),
    decoder("llama", tied_embeddings=True),
    decoder("mistral"),
    decoder("mixtral", experts=4, experts_per_token=2),
    decoder("qwen2", qkv_bias=True),
    decoder("qwen3", qk_norm=True),
    decoder("gemma", tied_embeddings=True),
    decoder("gemma2", norms_per_layer=4),
    decoder("gemma3_text", norms_per_layer=4, qk_norm=True),
    decoder("phi3", head_dim=12),
    decoder("gpt2", kv_heads=4, head_dim=12, gated_ffn=False, qkv_bias=True, o_bias=True, ffn_bias=True,
            norm="layer", position="learned", tied_embeddings=True),
    decoder("phi", kv_heads=4, head_dim=12, gated_ffn=False, qkv_bias=True, o_bias=True, ffn_bias=True,
            norm="layer", norms_per_layer=1, head_bias=True),
    decoder("gpt_neox", kv_heads=4, head_dim=12, gated_ffn=False, qkv_bias=True, o_bias=True, ffn_bias=True,
            norm="layer"),
    shape_named("falcon-7b"),
    shape_named("gpt-neo-125m"),
    shape_named("santacoder"),
    shape_named("t5-small"),
]  # fmt: skip
OUTPUTS = 7


def label(spec: ModelSpec) -> str:
    return f"{spec.family}-{spec.embedding_size}-{spec.tied_embeddings}"


@pytest.mark.parametrize("spec", SMALL, ids=label)
def test_backbone_and_head_add_up_to_the_classifier(spec: ModelSpec) -> None:
    model = classifier(spec, OUTPUTS)
    assert backbone_parameters(spec) + head_parameters(spec, OUTPUTS) == count(model)


@pytest.mark.parametrize("spec", SMALL, ids=label)
def test_head_is_what_stands_outside_the_base_model(spec: ModelSpec) -> None:
    """The pooler is the base model's in BERT and ALBERT, DeBERTa has it outside; the head never holds it."""
    model = classifier(spec, OUTPUTS)
    base = getattr(model, model.base_model_prefix)
    outside = count(model) - count(base)
    pooler_outside = pooler_parameters(spec) if spec.family == "deberta-v2" else 0
    assert head_parameters(spec, OUTPUTS) + pooler_outside == outside


@pytest.mark.parametrize("spec", [shape for shape in SMALL if shape.kind == "encoder"], ids=label)
def test_pooler_is_the_one_the_classifier_runs(spec: ModelSpec) -> None:
    modules = classifier(spec, OUTPUTS).named_modules()
    poolers = [module for name, module in modules if name.endswith("pooler")]
    assert pooler_parameters(spec) == sum(count(pooler) for pooler in poolers)


@pytest.mark.parametrize("spec", [shape for shape in SMALL if stored_layers(shape) != 1], ids=label)
def test_one_layer(spec: ModelSpec) -> None:
    layer = layers_of(classifier(spec, OUTPUTS), spec)[-1]
    assert layer_parameters(spec) == count(layer)


def test_albert_stores_one_layer_for_all() -> None:
    spec = encoder("albert", embedding_size=20)
    model = classifier(spec, OUTPUTS)
    shared = model.albert.encoder.albert_layer_groups[0].albert_layers[0]
    assert layer_parameters(spec) == count(shared)
    assert stored_layers(spec) == spec.stored_layers == 1
    assert stored_layers(encoder("bert")) == 3


@pytest.mark.parametrize("spec", SMALL, ids=label)
def test_layer_linears_name_real_matrices_of_that_size(spec: ModelSpec) -> None:
    model = classifier(spec, OUTPUTS)
    if spec.family == "albert":
        layer = model.albert.encoder.albert_layer_groups[0].albert_layers[0]
    else:
        layer = layers_of(model, spec)[0]
    for linear in layer_linears(spec):
        module = layer.get_submodule(linear.module)
        outputs_first = tuple(module.weight.shape)
        stored = outputs_first[::-1] if isinstance(module, Conv1D) else outputs_first
        assert stored == (linear.outputs, linear.inputs), linear
        assert (module.bias is not None) == linear.bias, linear


@pytest.mark.parametrize("spec", [shape for shape in SMALL if not shape.experts], ids=label)
def test_layer_linears_are_all_matrices_of_a_layer(spec: ModelSpec) -> None:
    model = classifier(spec, OUTPUTS)
    if spec.family == "albert":
        layer = model.albert.encoder.albert_layer_groups[0].albert_layers[0]
    else:
        layer = layers_of(model, spec)[-1]
    real = {name for name, module in layer.named_modules() if isinstance(module, nn.Linear | Conv1D)}
    assert {linear.module for linear in layer_linears(spec)} == real


@pytest.mark.parametrize("spec", [shape for shape in SMALL if shape.kind != "encoder-decoder"], ids=label)
def test_parts_add_up_to_the_backbone(spec: ModelSpec) -> None:
    layers = stored_layers(spec) * layer_parameters(spec)
    assert embedding_parameters(spec) + layers + top_parameters(spec) == backbone_parameters(spec)


def test_what_is_below_and_above_the_layers_by_hand() -> None:
    bert = encoder("bert")
    # tables of 101 tokens, 37 positions, 2 types, each 48 wide; LayerNorm has weight and bias
    assert embedding_parameters(bert) == (101 + 37 + 2) * 48 + 2 * 48
    assert final_norm_parameters(bert) == 0
    assert top_parameters(bert) == pooler_parameters(bert) == 48 * 48 + 48
    assert head_parameters(bert, 1) == 48 + 1
    llama = decoder("llama")
    assert embedding_parameters(llama) == 101 * 48
    assert top_parameters(llama) == final_norm_parameters(llama) == 48
    assert head_parameters(llama, 3) == 3 * 48
    assert head_parameters(encoder("roberta"), 3) == 48 * 48 + 48 + 3 * 48 + 3


def test_a_language_model_head_is_in_the_published_count_only() -> None:
    untied = decoder("llama")
    assert untied.parameters == backbone_parameters(untied) + 101 * 48
    tied = decoder("llama", tied_embeddings=True)
    assert tied.parameters == backbone_parameters(tied)


def test_fused_matrices_say_which_roles_they_play() -> None:
    roles = {linear.module: linear.roles for linear in decoder("phi3", head_dim=12).linears}
    assert roles["self_attn.qkv_proj"] == ("q", "k", "v")
    assert roles["mlp.gate_up_proj"] == ("gate", "up")
    assert roles["self_attn.o_proj"] == ("o",)


def test_every_family_of_the_catalogue_has_a_layout() -> None:
    assert {spec.family for spec in catalogue()} <= set(LAYOUTS)


def test_meta_models_have_the_shape_they_were_asked_for() -> None:
    """The second implementation must not fall back to a default."""
    config = config_of(decoder("llama"))
    assert (config.hidden_size, config.head_dim, config.num_key_value_heads) == (48, 16, 2)
