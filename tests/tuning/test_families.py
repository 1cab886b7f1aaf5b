"""Every family that a plan is made for can be attached to, and the counts of all others are true as well.

On the meta device, from the configuration classes of transformers; real trainings of a few families are in
tests/exams.
"""

import inspect
from dataclasses import replace

import pytest
import torch
import transformers
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from trimtab import tuning
from trimtab.errors import ModelError
from trimtab.methods import METHODS, Choices, Method, Strategy
from trimtab.models import TRAINED_FAMILIES, ModelSpec, catalogue, shape_named
from trimtab.models.config import shape_from
from trimtab.models.config_keys import CONFIG_TABLES
from trimtab.models.families import transposed
from trimtab.tuning import structure
from trimtab.tuning.shapes import config_of

OUTPUTS = 3
SIZES = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "vocab_size": 101,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "num_labels": OUTPUTS,
}
# Predicted from the catalogue, with a class in transformers, but not trained.
PREDICTED = ("deberta-v3-base", "falcon-7b", "gpt-neo-125m", "mobilebert-uncased", "santacoder")

every_method = pytest.mark.parametrize(
    ("method", "choices"),
    [
        (method, choices)
        for method in METHODS
        for choices in (Choices(), Choices(top_layers=1))
        if method.stages is None and (choices.top_layers is None or "top_layers" in method.takes)
    ],
    ids=lambda value: value.name if isinstance(value, Method) else str(value.top_layers),
)


def attached(
    spec: ModelSpec, config: transformers.PreTrainedConfig, method: Method, choices: Choices, device: str = "meta"
) -> tuple[Strategy, PreTrainedModel]:
    """Packing looks at the numbers: a base in few bits takes a model that has some."""
    base = "same" if device == "meta" else method.base_precision
    strategy = Strategy(method=method.name, parts=method.parts(spec, choices), base_precision=base)
    with torch.device(device):
        model = AutoModelForSequenceClassification.from_config(config)
        return strategy, tuning.apply(strategy, model, spec)


def assert_counts_are_true(strategy: Strategy, spec: ModelSpec, model: PreTrainedModel) -> None:
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    total = tuning.count_parameters(model)
    assert trained == strategy.trainable_parameters(spec, OUTPUTS)
    assert total == strategy.total_parameters(spec, OUTPUTS)


def assert_nothing_is_there(spec: ModelSpec, config: transformers.PreTrainedConfig, method: Method) -> None:
    """A refusal is true of the class: no layer has what the method trains, or no cache to find it in."""
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config)
    if method.name == "prefix":
        assert not takes_a_cache(model)
        return
    assert method.name == "bitfit"
    names = [name for name, _ in structure.layers(model, spec).named_parameters()]
    assert names and not [name for name in names if name.endswith("bias")]


def takes_a_cache(model: PreTrainedModel) -> bool:
    return "past_key_values" in inspect.signature(structure.backbone(model).forward).parameters


@every_method
@pytest.mark.parametrize("family", TRAINED_FAMILIES)
def test_a_trained_family_takes_every_method(family: str, method: Method, choices: Choices) -> None:
    """The spec is read from the config, as a training reads it."""
    config = transformers.AutoConfig.for_model(family, **SIZES)
    spec = shape_from(config.to_dict(), family)
    assert spec.can_be_trained
    if method.refusal(spec, choices):
        assert_nothing_is_there(spec, config, method)
        return
    if method.base_precision != "same" and family == "gpt2":
        with pytest.raises(ModelError) as caught:
            attached(spec, config, method, choices, "cpu")
        assert caught.value.code == "TT-T091" and transposed(spec)
        return
    device = "meta" if method.base_precision == "same" else "cpu"
    strategy, model = attached(spec, config, method, choices, device)
    assert_counts_are_true(strategy, spec, model)
    assert method.name != "prefix" or takes_a_cache(model)


@every_method
@pytest.mark.parametrize("name", PREDICTED)
def test_a_family_that_is_only_predicted_is_counted_truly(name: str, method: Method, choices: Choices) -> None:
    spec = replace(shape_named(name), layers=3, vocab=1000)
    assert not spec.can_be_trained
    config = config_of(spec, num_labels=OUTPUTS)
    if method.refusal(spec, choices):
        assert_nothing_is_there(spec, config, method)
        return
    strategy, model = attached(spec, config, method, choices)
    assert_counts_are_true(strategy, spec, model)


def test_what_every_layer_reads_is_below_the_layers() -> None:
    """DeBERTa's relative positions stand beside its layers, after them: tuning the top layer leaves them alone."""
    spec = replace(shape_named("deberta-v3-base"), layers=3, vocab=1000)
    method = next(method for method in METHODS if method.name == "freeze")
    _, model = attached(spec, config_of(spec, num_labels=OUTPUTS), method, Choices(top_layers=1))
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained and not {name for name in trained if "rel_embeddings" in name or "encoder.LayerNorm" in name}


@pytest.mark.parametrize("family", sorted(set(CONFIG_TABLES) - set(TRAINED_FAMILIES)))
def test_a_family_that_can_be_read_is_left_out_for_a_reason_that_still_holds(family: str) -> None:
    config = transformers.AutoConfig.for_model(family, **SIZES)
    spec = shape_from(config.to_dict(), family)
    if spec.stored_layers < spec.layers:
        return  # ALBERT: tests/exams holds the refusal of the torch half
    with pytest.raises(ValueError, match="Unrecognized configuration class"), torch.device("meta"):
        AutoModelForSequenceClassification.from_config(config)


@pytest.mark.parametrize("name", ["qwen-7b", "baichuan2-7b"])
def test_matrices_that_are_not_there_are_named(name: str) -> None:
    """Families without a class of their own are built from one of the same shape, with other names."""
    spec = replace(shape_named(name), layers=3, vocab=1000)
    method = next(method for method in METHODS if method.name == "lora")
    with pytest.raises(ModelError) as caught:
        attached(spec, config_of(spec, num_labels=OUTPUTS), method, Choices())
    assert caught.value.code == "TT-T006"
    assert spec.linears[0].module in str(caught.value)


def test_the_catalogue_names_both_kinds() -> None:
    kinds = {spec.family: spec.can_be_trained for spec in catalogue()}
    assert kinds["bert"] and kinds["gpt_neox"] and kinds["phi"]
    assert not any(kinds[family] for family in ("albert", "t5", "deberta-v2", "falcon", "granite", "qwen"))
