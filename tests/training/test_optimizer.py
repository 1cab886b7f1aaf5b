"""The optimiser against torch's own AdamW, the learning rate against transformers' schedules."""

from dataclasses import replace

import pytest
import torch
import transformers
from torch import nn

from trimtab.methods import DECAYS, AdamW, Head, Precision, Schedule, Strategy
from trimtab.training.optimizer import Optimizer, learning_rate_at

SETTINGS = AdamW(betas=(0.8, 0.95), epsilon=1e-6, weight_decay=0.1)


def strategy(precision: Precision = "fp32") -> Strategy:
    return Strategy(method="head", parts=(Head(),), precision=precision, optimizer=SETTINGS)


def small_net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Linear(5, 2))


def batch(number: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(number)
    return torch.randn(8, 6, generator=draw), torch.randint(0, 2, (8,), generator=draw)


def loss(net: nn.Module, number: int) -> torch.Tensor:
    x, labels = batch(number)
    return nn.functional.cross_entropy(net(x.to(next(net.parameters()).dtype)).float(), labels)


def backward(net: nn.Module, number: int) -> None:
    loss(net, number).backward()


def torch_adamw(net: nn.Module) -> torch.optim.AdamW:
    """torch's, written down anew: decay on matrices, none on norms and biases."""
    decayed = [p for p in net.parameters() if p.ndim >= 2]
    plain = [p for p in net.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.8, 0.95), eps=1e-6, fused=False, foreach=False)


def test_fp32_steps_are_those_of_torch() -> None:
    ours, theirs = small_net(), small_net()
    optimizer, reference = Optimizer(ours, strategy()), torch_adamw(theirs)
    for number in range(7):
        rate = 0.01 * (number + 1)
        backward(ours, number)
        backward(theirs, number)
        norm = optimizer.clip(0.5)
        expected = torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        assert norm == pytest.approx(float(expected), rel=1e-6)
        optimizer.step(rate)
        for group in reference.param_groups:
            group["lr"] = rate
        reference.step()
        reference.zero_grad()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-7, rtol=1e-6)


def test_bf16_masters_follow_fp32_adamw_on_the_same_gradients() -> None:
    low = small_net()
    optimizer = Optimizer(low, strategy("bf16"))
    low.to(torch.bfloat16)
    reference_net = small_net()
    reference = torch_adamw(reference_net)
    for group in reference.param_groups:
        group["lr"] = 0.01
    for number in range(5):
        for half in (2 * number, 2 * number + 1):  # two micro-batches
            gradients = torch.autograd.grad(loss(low, half), list(low.parameters()))
            for p, gradient in zip(reference_net.parameters(), gradients, strict=True):
                p.grad = gradient.float() if p.grad is None else p.grad + gradient.float()
            backward(low, half)
            assert all(q.grad is None for q in low.parameters()), "taken as soon as they are made"
            optimizer.collect()
        optimizer.step(0.01)
        reference.step()
        reference.zero_grad()
    for (name, master), other in zip(optimizer.masters.items(), reference_net.parameters(), strict=True):
        torch.testing.assert_close(master, other, atol=1e-7, rtol=1e-6)
        assert torch.equal(low.get_parameter(name), other.to(torch.bfloat16)), name


def test_small_updates_add_up_in_the_masters_and_vanish_without() -> None:
    """A thousand updates of 1e-4 on a weight of 1: bf16 has steps of 1/128 there and would stay."""

    def net() -> nn.Module:
        linear = nn.Linear(1, 1, bias=False)
        nn.init.ones_(linear.weight)
        return linear

    settings = replace(strategy("bf16"), optimizer=AdamW(weight_decay=0.0))
    kept, lost = net(), net().to(torch.bfloat16)
    optimizer = Optimizer(kept, settings)
    kept.to(torch.bfloat16)
    plain = torch.optim.AdamW(lost.parameters(), lr=1e-4, weight_decay=0.0)
    for _ in range(1000):
        kept.weight.sum().backward()
        optimizer.collect()
        optimizer.step(1e-4)
        lost.weight.grad = torch.ones_like(lost.weight)
        plain.step()
    assert kept.weight.item() == pytest.approx(0.9, abs=1 / 256)
    assert lost.weight.item() == 1.0


def test_an_fp16_overflow_skips_the_step_and_halves_the_scale() -> None:
    net = small_net()
    optimizer = Optimizer(net, strategy("fp16"))
    net.half()
    before = {name: master.detach().clone() for name, master in optimizer.masters.items()}
    scale = optimizer.loss_scale
    assert scale > 1
    (net(batch(0)[0].half()).float().sum() * 1e9).backward()
    optimizer.collect()
    assert not torch.isfinite(torch.tensor(optimizer.clip(1.0)))
    assert optimizer.skip()
    assert optimizer.loss_scale == scale / 2
    assert all(torch.equal(before[name], master) for name, master in optimizer.masters.items())
    assert all(master.grad is None for master in optimizer.masters.values())


def test_the_fp16_scale_does_not_change_the_gradient() -> None:
    net, exact = small_net(), small_net()
    optimizer = Optimizer(net, strategy("fp16"))
    net.half()
    x, labels = batch(0)
    loss = nn.functional.cross_entropy(net(x.half()).float(), labels)
    (loss * optimizer.loss_scale).backward()
    optimizer.collect()
    backward(exact, 0)
    for master, other in zip(optimizer.masters.values(), exact.parameters(), strict=True):
        torch.testing.assert_close(master.grad, other.grad, atol=2e-3, rtol=2e-2)


def test_without_a_scale_an_overflow_is_a_divergence() -> None:
    assert not Optimizer(small_net(), strategy("bf16")).skip()


def test_a_restored_optimiser_goes_on_as_if_nothing_had_been() -> None:
    net, other = small_net(), small_net(seed=1)
    optimizer, restored = Optimizer(net, strategy()), Optimizer(other, strategy())
    for number in range(3):
        backward(net, number)
        optimizer.step(0.01)
    restored.restore({name: tensor.clone() for name, tensor in optimizer.state().items()})
    for one, opt in ((net, optimizer), (other, restored)):
        backward(one, 9)
        opt.step(0.01)
    for left, right in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize("missing", ["master", "exp_avg", "exp_avg_sq", "step"])
def test_a_missing_state_is_refused(missing: str) -> None:
    net = small_net()
    optimizer = Optimizer(net, strategy())
    backward(net, 0)
    optimizer.step(0.01)
    tensors = {name: t for name, t in optimizer.state().items() if name != f"{missing}/0.weight"}
    with pytest.raises(KeyError, match=f"{missing}/0.weight"):
        Optimizer(small_net(), strategy()).restore(tensors)


def test_a_state_before_the_first_update_can_be_restored() -> None:
    fresh = Optimizer(small_net(), strategy())
    restored = Optimizer(small_net(seed=1), strategy())
    restored.restore(fresh.state())  # an fp16 run that has skipped every step so far has no states yet
    assert restored.state().keys() == fresh.state().keys()


HF = {
    "linear": transformers.get_linear_schedule_with_warmup,
    "cosine": transformers.get_cosine_schedule_with_warmup,
}


@pytest.mark.parametrize("decay", ["linear", "cosine"])
@pytest.mark.parametrize(("share", "steps"), [(0.06, 200), (0.1, 37), (0.0, 20), (0.5, 3)])
def test_the_learning_rate_is_that_of_transformers(decay, share: float, steps: int) -> None:
    """transformers spends its first step at rate 0; here warm-up starts one earlier, and the peak, which then
    comes one earlier as well, is kept for two steps, so that the decay is the same."""
    schedule = Schedule(learning_rate=3e-4, warmup_share=share, decay=decay)
    plan = replace(strategy(), schedule=schedule)
    warmup = max(1, round(share * steps)) if share else 0
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=3e-4)
    reference = HF[decay](optimizer, warmup, steps)
    theirs = []
    for _ in range(steps + 1):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()
    for step in range(1, steps + 1):
        expected = theirs[step] if step <= warmup else theirs[step - 1]
        assert learning_rate_at(plan, step, steps) == pytest.approx(expected, rel=1e-9), step
    assert learning_rate_at(plan, 1, steps) > 0
    assert learning_rate_at(plan, steps, steps) > 0


def rates(schedule: Schedule, steps: int) -> list[float]:
    plan = replace(strategy(), schedule=schedule)
    return [learning_rate_at(plan, step, steps) for step in range(1, steps + 1)]


def test_a_constant_rate_only_warms_up() -> None:
    found = rates(Schedule(learning_rate=1.0, warmup_share=0.2, decay="constant"), 10)
    assert found == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 1, 1, 1])


def test_wsd_by_hand() -> None:
    """20 steps: two of warm-up; of the 18 after it half fall, as 1 - sqrt(k / 9): the first of them is still 1."""
    found = rates(Schedule(learning_rate=2.0, warmup_share=0.1, decay="wsd", decay_share=0.5), 20)
    falling = [2 * (1 - (k / 9) ** 0.5) for k in range(9)]
    assert found == pytest.approx([1, 2, *[2] * 9, *falling])
    assert found[15] == pytest.approx(2 * (1 - 2 / 3))  # k = 4
    assert found[-1] == pytest.approx(2 * (1 - (8 / 9) ** 0.5)) and found[-1] > 0


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_a_short_training_still_learns(decay, steps: int) -> None:
    found = rates(Schedule(learning_rate=1.0, warmup_share=0.06, decay=decay), steps)
    assert all(0 < rate <= 1 for rate in found)


def test_a_vector_that_is_stored_as_a_row_or_a_column_has_no_decay() -> None:
    """The scalings of (IA)^3 are at 1 where they do nothing: decay would scale the model down."""
    net = nn.ParameterDict({"row": torch.ones(1, 4), "column": torch.ones(4, 1), "matrix": torch.ones(2, 2)})
    optimizer = Optimizer(net, strategy())
    for parameter in net.values():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step(0.5)
    assert torch.equal(net["row"], torch.ones(1, 4)) and torch.equal(net["column"], torch.ones(4, 1))
    torch.testing.assert_close(net["matrix"], torch.full((2, 2), 1 - 0.5 * 0.1))
