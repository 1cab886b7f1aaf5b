"""Exams of every method and part: the arithmetic half says what the torch half does."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from exam_cases import OUTPUTS, Case, inputs, method_cases, part_cases

from tiny_models import tiny_model
from trimtab import tuning
from trimtab.errors import ModelError
from trimtab.methods import METHODS, PARTS, Adapter, Choices, Head, Part, Strategy
from trimtab.models import read_spec
from trimtab.models.spec import ModelSpec
from trimtab.tuning import structure
from trimtab.tuning.adapter import peft_config
from trimtab.tuning.attach import attach

every_case = pytest.mark.parametrize("case", [*method_cases(), *part_cases()], ids=lambda case: case.name)


def logits_of(model: torch.nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval()(**inputs()).logits


@every_case
def test_parameters_are_as_many_as_predicted(case: Case) -> None:
    model = case.model()
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = tuning.count_parameters(model)
    assert trained == case.strategy.trainable_parameters(case.spec, OUTPUTS)
    head = 0 if any(isinstance(part, Head) for part in case.strategy.parts) else _head_only(case)
    assert total == case.strategy.total_parameters(case.spec, OUTPUTS) + head


def _head_only(case: Case) -> int:
    """A part alone does not count the head that the class has in any case."""
    return Head().added_parameters(case.spec, OUTPUTS)


@every_case
def test_an_untrained_model_computes_what_the_base_computes(case: Case) -> None:
    if not all(part.starts_at_base for part in case.strategy.parts):
        pytest.skip("does not claim to")
    assert torch.equal(logits_of(case.model()), logits_of(case.base()))


@every_case
def test_gradients_reach_what_is_trained_and_nothing_else(case: Case) -> None:
    model = case.moved()  # LoRA's A has a zero gradient while B is zero
    tuning.train_mode(case.strategy, model, case.spec)
    labels = torch.tensor([0, 1, 2, 1])
    torch.nn.functional.cross_entropy(model(**inputs()).logits, labels).backward()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            assert parameter.grad is None, name
            continue
        assert parameter.grad is not None, f"{name} is trained and never used"
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any() or _no_gradient_by_nature(name), name


def _no_gradient_by_nature(name: str) -> bool:
    """A bias added to every key shifts all scores of a query alike, which softmax does not see."""
    own = name.removesuffix(".bitfit_bias.default").removesuffix(".bias")
    return own != name and own.endswith(("key", "k_lin", "k_proj"))


@every_case
def test_the_lowest_layer_is_told_truly(case: Case) -> None:
    model, lowest = case.model(), case.strategy.lowest_layer(case.spec)
    tuning.train_mode(case.strategy, model, case.spec)
    stack = [
        torch.nn.ModuleList(structure.below_layers(model, case.spec)),
        *structure.layers(model, case.spec),
    ]
    for number, module in enumerate(stack, start=-1):
        trained = any(p.requires_grad for p in module.parameters())
        assert trained == (number == lowest) or number > lowest, f"layer {number}, lowest {lowest}"
        modes = {inner.training for inner in module.modules() if inner is not stack[0]}
        assert modes <= {number >= lowest}, f"layer {number} in the wrong mode"


mergeable = [
    case
    for case in [*method_cases(), *part_cases()]
    if any(part.adapter and part.mergeable for part in case.strategy.parts)
]


@pytest.mark.parametrize("case", mergeable, ids=lambda case: case.name)
def test_merging_changes_the_form_and_not_the_result(case: Case) -> None:
    model = case.moved()
    before = logits_of(model)
    plain = tuning.unpack(case.base())
    assert not torch.allclose(before, logits_of(plain), atol=1e-3), "nothing to merge"
    tuning.merge(case.strategy, model, case.spec)
    torch.testing.assert_close(logits_of(model), before, atol=1e-5, rtol=1e-5)
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert [type(m) for m in model.modules()] == [type(m) for m in plain.modules()]


unmergeable = [
    case
    for case in [*method_cases(), *part_cases()]
    if any(part.adapter and not part.mergeable for part in case.strategy.parts)
]


@pytest.mark.parametrize("case", unmergeable, ids=lambda case: case.name)
def test_what_cannot_be_merged_is_refused_and_left_as_it_was(case: Case) -> None:
    model = case.moved()
    before, state = logits_of(model), {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ModelError) as caught:
        tuning.merge(case.strategy, model, case.spec)
    assert caught.value.code == "TT-T071" and case.strategy.method in str(caught.value)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(logits_of(model), before)


def test_every_part_has_a_torch_half() -> None:
    default = attach.dispatch(object)
    assert [part.name for part in PARTS if attach.dispatch(part) is default] == []
    default = peft_config.dispatch(object)
    assert [part.name for part in PARTS if part.adapter and peft_config.dispatch(part) is default] == []


def test_an_adapter_is_one_by_class_and_by_word() -> None:
    assert [part.name for part in PARTS if issubclass(part, Adapter) != part.adapter] == []


def test_a_part_without_a_torch_half_says_where_to_add_it() -> None:
    @dataclass(frozen=True, kw_only=True, slots=True)
    class Stray(Part):
        name: ClassVar[str] = "stray"
        mergeable: ClassVar[bool] = False
        starts_at_base: ClassVar[bool] = True
        adapter: ClassVar[bool] = False

        def trainable_parameters(self, spec: ModelSpec, outputs: int) -> int:
            return 0

        def added_parameters(self, spec: ModelSpec, outputs: int) -> int:
            return 0

        def lowest_layer(self, spec: ModelSpec) -> int:
            return spec.layers

        def load(self, spec: ModelSpec, layer: int) -> object:
            raise NotImplementedError

    case = method_cases()[0]
    with pytest.raises(AssertionError, match=r"Stray has no torch half; add one in tuning/"):
        tuning.apply(Strategy(method="stray", parts=(Stray(),)), case.model(attached=False), case.spec)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_model_whose_layers_share_weights_is_refused(method, tmp_path) -> None:
    source = tiny_model(tmp_path, "albert", layers=3)
    spec = read_spec(source)
    strategy = Strategy(method=method.name, parts=method.parts(spec, Choices()))
    model = tuning.load_classifier(source, outputs=OUTPUTS, pad_token_id=0)
    with pytest.raises(ModelError) as caught:
        tuning.apply(strategy, model, spec)
    assert caught.value.code == "TT-T002"
