"""What is trained, by place."""

import pytest

from tiny_models import tiny_model
from trimtab import tuning
from trimtab.methods import METHODS, Choices, Head, Lora, Strategy, Weights
from trimtab.models import read_spec
from trimtab.tuning import trained_tensors


def found(folder, parts) -> dict[str, tuple[tuple[int, ...], int]]:
    source = tiny_model(folder, "bert", layers=4)
    spec = read_spec(source)
    model = tuning.load_classifier(source, outputs=3, pad_token_id=0)
    tuning.apply(Strategy(method="x", parts=parts), model, spec)
    return {tensors.name: (tensors.shape, tensors.count) for tensors in trained_tensors(model)}


def test_layers_that_are_alike_stand_together(tmp_path) -> None:
    lora = found(tmp_path, (Lora(rank=4, top_layers=2), Head()))
    place = "bert.encoder.layer.{2-3}.attention.self.query.lora_A.default.weight"
    assert lora[place] == ((4, 32), 2)
    assert lora["classifier.weight"] == ((3, 32), 1)
    assert "bert.encoder.layer.{2-3}.output.dense.weight" not in lora


def test_a_single_layer_keeps_its_number(tmp_path) -> None:
    assert "bert.encoder.layer.3.output.dense.weight" in found(tmp_path, (Weights(top_layers=1), Head()))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_together_they_are_all_that_is_trained(method, tmp_path) -> None:
    source = tiny_model(tmp_path, "llama", layers=3)
    spec = read_spec(source)
    if method.refusal(spec, Choices()):
        pytest.skip("has nothing to train in a Llama")
    strategy = Strategy(method=method.name, parts=method.parts(spec, Choices()))
    model = tuning.apply(strategy, tuning.load_classifier(source, outputs=3, pad_token_id=0), spec)
    tensors = trained_tensors(model)
    assert sum(group.parameters for group in tensors) == strategy.trainable_parameters(spec, 3)
    assert sum(group.count for group in tensors) == sum(p.requires_grad for p in model.parameters())
