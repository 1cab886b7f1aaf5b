"""A base in few bits: what it holds, what it computes, and that the file it came from is let go."""

import importlib.util
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from bitsandbytes import functional
from torch import nn

from tiny_models import tiny_model
from trimtab import tuning
from trimtab.errors import ModelError
from trimtab.estimation.held import held_bytes
from trimtab.methods import QUANTISED, BasePrecision, Choices, Lora, Strategy, method_named
from trimtab.models import ModelSource, read_spec, shape_named
from trimtab.tuning.packed import Int8Linear, Nf4Linear
from trimtab.tuning.quantised import quantised_names

every_base = pytest.mark.parametrize("base", QUANTISED)
every_layer = pytest.mark.parametrize("kind", [Nf4Linear, Int8Linear])


def made(source: ModelSource, base: BasePrecision, method: str = "lora") -> Strategy:
    parts = method_named(method).parts(read_spec(source), Choices())
    return Strategy(method=method, parts=parts, base_precision=base)


def tensors_of(model: nn.Module) -> list[torch.Tensor]:
    packed = [tensor for module in model.modules() if tuning.is_packed(module) for tensor in module.tensors()]
    return [*model.parameters(), *packed]


@every_base
@pytest.mark.parametrize("method", ["lora", "head", "freeze"])
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_weights_take_the_bytes_that_are_predicted(
    family: str, method: str, base: BasePrecision, tmp_path: Path
) -> None:
    source = tiny_model(tmp_path, family, layers=3, hidden=48)
    strategy, spec = replace(made(source, base, method), precision="bf16"), read_spec(source)
    model = tuning.load_classifier(source, outputs=3, pad_token_id=0)
    tuning.cast(tuning.apply(strategy, model, spec), "bf16")
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage() for tensor in tensors_of(model)}
    assert sum(storage.nbytes() for storage in storages.values()) == held_bytes(strategy, spec, 3)


def test_the_bytes_of_a_matrix_by_hand() -> None:
    """Llama 7B's query matrix, 4,096 x 4,096: half a byte a number, a byte for 64, 4 for 16,384, tables beside.
    The QLoRA paper says 0.127 bits a number for the scales."""
    query = shape_named("llama-2-7b").linears[0]
    strategy = Strategy(method="lora", parts=(Lora(),), base_precision="nf4")
    assert query in strategy.quantised(shape_named("llama-2-7b"), 0)
    from trimtab.methods.base_precision import matrix_bytes

    numbers = 4096 * 4096
    assert matrix_bytes("nf4", query) == numbers // 2 + numbers // 64 + 4 * numbers // 16384 + 4 + 16 * 4 + 256 * 4
    assert 8 * matrix_bytes("nf4", query) / numbers == pytest.approx(4.127, abs=0.001)
    assert matrix_bytes("int8", query) == numbers + 4 * 4096


@every_layer
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_packed_matrix_is_near_the_plain_one_and_computes_what_it_unpacks_to(kind, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(96, 64).to(dtype).requires_grad_(False)
    packed, x = kind.of(linear), torch.randn(5, 7, 96, dtype=dtype, requires_grad=True)
    error = (packed.unpacked(torch.float32) - linear.weight.float()).norm() / linear.weight.float().norm()
    assert error < {Nf4Linear: 0.10, Int8Linear: 0.008}[kind]
    outputs = packed(x)
    assert torch.equal(outputs, nn.functional.linear(x, packed.unpacked(dtype), linear.bias))
    outputs.sum().backward()
    expected = torch.ones(5, 7, 64, dtype=dtype) @ packed.unpacked(dtype)
    assert torch.equal(x.grad, expected)


@every_layer
def test_training_and_evaluation_compute_the_same(kind) -> None:
    """bitsandbytes' own layers do not on a CPU: see tuning/packed.py."""
    packed, x = kind.of(nn.Linear(96, 64).requires_grad_(False)), torch.randn(3, 96)
    trained = packed.train()(x)
    with torch.inference_mode():
        assert torch.equal(packed.eval()(x), trained)


@every_layer
def test_nothing_is_kept_for_backward(kind) -> None:
    packed, kept = kind.of(nn.Linear(96, 64).requires_grad_(False)), []
    x = torch.randn(3, 96, requires_grad=True) + 1.0
    held = weakref.ref(x)
    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda tensor: tensor):
        outputs = packed(x)
    del x
    assert outputs.requires_grad and kept == [] and held() is None


@every_layer
def test_a_bias_beside_a_packed_matrix_can_be_trained(kind) -> None:
    linear = nn.Linear(8, 4)
    linear.weight.requires_grad_(False)
    kind.of(linear)(torch.ones(2, 3, 8)).sum().backward()
    assert torch.equal(linear.bias.grad, torch.full((4,), 6.0))


def test_a_row_of_zeros_stays_one() -> None:
    for kind in (Nf4Linear, Int8Linear):
        linear = nn.Linear(64, 4).requires_grad_(False)
        linear.weight[1] = 0.0
        found = kind.of(linear).unpacked(torch.float32)
        assert torch.isfinite(found).all() and not found[1].any()


def test_nf4_is_what_bitsandbytes_unpacks() -> None:
    linear = nn.Linear(64, 32).requires_grad_(False)
    packed = Nf4Linear.of(linear)
    theirs = functional.dequantize_4bit(packed.weight.data, packed.weight.quant_state)
    assert torch.equal(packed.unpacked(torch.float32), theirs)


@every_base
def test_the_file_of_the_base_is_let_go(base: BasePrecision, tmp_path: Path) -> None:
    """On a CPU weights are mapped; one tensor that still points there would keep the whole file in memory."""
    source = tiny_model(tmp_path, "llama", layers=3)
    model = tuning.load_classifier(source, outputs=3, pad_token_id=0)
    before = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    tuning.apply(made(source, base), model, read_spec(source))
    assert not before & {tensor.untyped_storage().data_ptr() for tensor in tensors_of(model)}


@every_base
def test_head_norms_and_embeddings_keep_their_numbers(base: BasePrecision, tmp_path: Path) -> None:
    source = tiny_model(tmp_path, "bert", layers=3)
    spec, strategy = read_spec(source), made(source, base, "freeze")
    model = tuning.apply(strategy, tuning.load_classifier(source, outputs=3, pad_token_id=0), spec)
    packed = {name for name, module in model.named_modules() if tuning.is_packed(module)}
    assert packed == set(quantised_names(strategy, model, spec))
    assert len(packed) == 2 * 6 and all(".layer.0." in name or ".layer.1." in name for name in packed)


def test_without_the_library_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tiny_model(tmp_path, "bert")
    model = tuning.load_classifier(source, outputs=3, pad_token_id=0)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="trimtab\\[quant\\]") as caught:
        tuning.apply(made(source, "nf4"), model, read_spec(source))
    assert caught.value.code == "TT-T090"
