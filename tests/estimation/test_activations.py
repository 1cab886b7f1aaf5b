"""The activation formula against autograd: every tensor a real training step keeps for backward, by storage.

Measured per layer, as the difference between models of four and of two layers, so that what stands above and
below cancels. In training mode, with a padding mask, on the kernels the loop uses.
"""

from pathlib import Path

import pytest
import torch

from tiny_models import tiny_model
from tiny_training import tiny_strategy
from trimtab import tuning
from trimtab.estimation.kept import layer_bytes
from trimtab.hardware.machine import Device, Machine
from trimtab.methods import METHODS, Choices, Placement, Precision, Schedule, Stage, Strategy, method_named
from trimtab.models import read_spec
from trimtab.models.spec import ModelSpec
from trimtab.training.session import make_trainable

ROWS, LENGTH = 4, 32
CPU = Machine(name="here", device=Device(name="CPU", kind="cpu", memory_bytes=1, usable_bytes=1))
ALLOWED = 0.01  # the statistics of norms, which the formula leaves out


def kept_bytes(model: torch.nn.Module) -> int:
    """Bytes of all storages saved for backward, parameters left out."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    storages: dict[int, torch.UntypedStorage] = {}  # held, so that no address is used twice

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage
        return tensor

    ids = torch.randint(4, 40, (ROWS, LENGTH), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[0, LENGTH // 2 :] = 0
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(input_ids=ids, attention_mask=mask).logits.float().logsumexp(1).sum()
    return sum(storage.nbytes() for storage in storages.values())


def tiny(folder: Path, family: str, layers: int, method: str, precision: Precision, dropout: float):
    source = tiny_model(folder / f"{layers}", family, layers=layers, hidden=64, dropout=dropout)
    spec = read_spec(source)
    preset = method_named(method)
    choices = Choices(top_layers=layers) if "top_layers" in preset.takes else Choices()
    strategy = tiny_strategy(source, method, parts=preset.parts(spec, choices), precision=precision)
    model = tuning.load_classifier(source, outputs=2, pad_token_id=0)
    model, _ = make_trainable(model, strategy, spec, torch.device("cpu"))
    tuning.train_mode(strategy, model, spec)
    return model, strategy, spec


def a_layer(folder: Path, *which) -> tuple[float, Strategy, ModelSpec]:
    """Measured bytes of one layer."""
    two, _, _ = tiny(folder, which[0], 2, *which[1:])
    four, strategy, spec = tiny(folder, which[0], 4, *which[1:])
    return (kept_bytes(four) - kept_bytes(two)) / 2, strategy, spec


@pytest.mark.parametrize("dropout", [0.1, 0.0])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", [method.name for method in METHODS if method.stages is None])
@pytest.mark.parametrize("family", ["bert", "distilbert", "llama"])
def test_a_layer_keeps_what_the_formula_says(
    family: str, method: str, precision: Precision, dropout: float, tmp_path: Path
) -> None:
    if (method, family) in (("bitfit", "llama"), ("prefix", "distilbert")):
        pytest.skip("is refused")
    measured, strategy, spec = a_layer(tmp_path, family, method, precision, dropout)
    if method == "head":
        assert strategy.lowest_layer(spec) == spec.layers
        assert measured == 0
        return
    width = LENGTH + strategy.virtual_tokens
    predicted = ROWS * width * layer_bytes(strategy, spec, 3, width, CPU.device.kind)
    assert predicted == pytest.approx(measured, rel=ALLOWED)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("family", "method"), [("bert", "full"), ("bert", "lora"), ("llama", "adapter")])
def test_a_frozen_layer_that_gradients_pass_keeps_what_the_formula_says(
    family: str, method: str, precision: Precision, tmp_path: Path
) -> None:
    """Above the trained layers of a stage."""
    measured = {}
    for layers in (3, 5):
        source = tiny_model(tmp_path / f"{layers}", family, layers=layers, hidden=64)
        spec = read_spec(source)
        whole = Strategy(
            method=method,
            parts=method_named(method).parts(spec, Choices()),
            precision=precision,
            schedule=Schedule(stages=(Stage(first=0, last=0),)),
        )
        model = tuning.load_classifier(source, outputs=2, pad_token_id=0)
        model, _ = make_trainable(model, whole, spec, torch.device("cpu"))
        (strategy,) = whole.stages
        tuning.train_mode(strategy, model, spec)
        measured[layers] = kept_bytes(model)
    predicted = ROWS * LENGTH * layer_bytes(strategy, spec, 3, LENGTH, CPU.device.kind)
    assert predicted == pytest.approx((measured[5] - measured[3]) / 2, rel=ALLOWED)


def test_layers_below_the_lowest_trained_one_keep_nothing(tmp_path: Path) -> None:
    source = tiny_model(tmp_path, "bert", layers=4, hidden=64)
    spec = read_spec(source)
    kept = []
    for top in (1, 2, 3):
        parts = method_named("lora").parts(spec, Choices(top_layers=top))
        strategy = tiny_strategy(source, "lora", parts=parts)
        model = tuning.load_classifier(source, outputs=2, pad_token_id=0)
        model, _ = make_trainable(model, strategy, spec, torch.device("cpu"))
        tuning.train_mode(strategy, model, spec)
        kept.append(kept_bytes(model))
    # Layers in the middle keep the same; the lowest needs no gradient of its own input.
    assert kept[2] - kept[1] == kept[1] - kept[0] > 0


@pytest.mark.parametrize("placement", ["houlsby", "pfeiffer"])
@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_of_the_lowest_layer_only_what_stands_above_the_first_bottleneck_is_kept(
    family: str, placement: Placement, tmp_path: Path
) -> None:
    source = tiny_model(tmp_path, family, layers=3, hidden=64)
    spec, kept = read_spec(source), []
    for method, choices in (("head", Choices()), ("adapter", Choices(placement=placement, top_layers=1))):
        strategy = tiny_strategy(source, method, parts=method_named(method).parts(spec, choices))
        model = tuning.load_classifier(source, outputs=2, pad_token_id=0)
        model, _ = make_trainable(model, strategy, spec, torch.device("cpu"))
        tuning.train_mode(strategy, model, spec)
        kept.append(kept_bytes(model))
    predicted = ROWS * LENGTH * layer_bytes(strategy, spec, 2, LENGTH, CPU.device.kind)
    assert predicted == pytest.approx(kept[1] - kept[0], rel=2 * ALLOWED)  # fewer numbers to the same statistics
