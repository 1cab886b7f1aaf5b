"""Quick products: the numbers and gradients of plain torch and plain PEFT, parameters and names as they were."""

import copy

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn

from trimtab.tuning import products
from trimtab.tuning.products import QuickLinear, onednn_pays, use_quick_products
from trimtab.tuning.quick_lora import QuickLora

SHAPES = ((5, 48), (3, 7, 48))


@pytest.fixture(params=[True, False], ids=["oneDNN", "torch"])
def through(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Either way, whatever is faster here."""
    if request.param and not torch.backends.mkldnn.is_available():
        pytest.skip("this torch has no oneDNN")
    monkeypatch.setattr(products, "onednn_pays", lambda: request.param)
    return bool(request.param)


def gradients(module: nn.Module, shape: tuple[int, ...]) -> tuple[torch.Tensor, dict[str, torch.Tensor | None]]:
    """What it gives for an input, and the gradients of the input and of every parameter."""
    torch.manual_seed(1)
    x = torch.randn(shape, requires_grad=True)
    out = module(x)
    out.backward(torch.randn(out.shape))
    return out.detach(), {"": x.grad} | {name: p.grad for name, p in module.named_parameters()}


def assert_same(quick: nn.Module, plain: nn.Module, shape: tuple[int, ...]) -> None:
    ours, theirs = gradients(quick, shape), gradients(plain, shape)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("frozen", [(), ("weight",), ("weight", "bias")])
def test_gradients_are_those_of_a_plain_matrix(
    through: bool, shape: tuple[int, ...], bias: bool, frozen: tuple[str, ...]
) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(48, 80, bias=bias)
    for name, parameter in plain.named_parameters():
        parameter.requires_grad_(name not in frozen)
    assert_same(QuickLinear(copy.deepcopy(plain)), plain, shape)


def test_what_is_kept_for_backward_is_the_input_of_trained_matrices_alone(through: bool) -> None:
    kept: list[int] = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.untyped_storage().data_ptr())
        return tensor

    x = torch.randn(5, 48, requires_grad=True)
    for trained in (True, False):
        linear = QuickLinear(nn.Linear(48, 80).requires_grad_(trained))
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            linear(x)
        expected = {linear.weight.untyped_storage().data_ptr()}
        assert set(kept) == expected | ({x.untyped_storage().data_ptr()} if trained else set())


def lora_pair(rank_stabilised: bool = False) -> tuple[nn.Module, nn.Module]:
    """One matrix with a LoRA that is not at its start: ours, and PEFT's own."""
    made = []
    for custom in (True, False):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(48, 80).requires_grad_(False))
        config = LoraConfig(r=4, lora_alpha=6, target_modules=["0"], use_rslora=rank_stabilised)
        if custom:
            config._register_custom_module({nn.Linear: QuickLora})
        inject_adapter_in_model(config, model)
        nn.init.normal_(model[0].lora_B["default"].weight)
        made.append(model)
    assert type(made[0][0]) is QuickLora and type(made[1][0]) is not QuickLora
    return made[0], made[1]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rank_stabilised", [True, False])
def test_lora_has_the_gradients_of_plain_peft(
    through: bool, shape: tuple[int, ...], rank_stabilised: bool
) -> None:
    ours, theirs = lora_pair(rank_stabilised)
    use_quick_products(ours)
    assert isinstance(ours[0].base_layer, QuickLinear) is through
    assert_same(ours, theirs, shape)


def test_lora_goes_pefts_way_where_it_is_not_plain() -> None:
    ours, theirs = lora_pair()
    x = torch.randn(6, 48)
    for model in (ours, theirs):
        model[0].enable_adapters(False)
    assert torch.equal(ours(x), theirs(x)), "the base alone"
    for model in (ours, theirs):
        model[0].enable_adapters(True)
        model[0].merge()
    assert torch.equal(ours(x), theirs(x)), "merged"


def test_lora_at_rest_gets_no_gradients() -> None:
    ours, _ = lora_pair()
    ours.requires_grad_(False)
    _, found = gradients(ours, (5, 48))
    assert [name for name, gradient in found.items() if gradient is not None] == [""]


def test_names_and_parameters_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "onednn_pays", lambda: True)
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)).double()
    use_quick_products(model)
    assert type(model[0]) is nn.Linear, "no fp32"
    before = dict(model.float().named_parameters())
    use_quick_products(model)
    assert type(model[0]) is type(model[2]) is QuickLinear
    assert all(before[name] is parameter for name, parameter in model.named_parameters())


def test_whether_it_pays_is_measured() -> None:
    assert onednn_pays() in (True, False)
