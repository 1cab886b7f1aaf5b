"""Every update rule against another implementation of it, and its bytes against those it says it holds."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import bitsandbytes
import pytest
import torch
from torch import nn

from tiny_training import run, tiny_job
from trimtab.errors import UsageError
from trimtab.methods import (
    UPDATE_RULES,
    Adafactor,
    AdamW,
    AdamW8bit,
    Head,
    Lion,
    PagedAdamW8bit,
    Strategy,
    UpdateRule,
    Weights,
    update_rule_named,
)
from trimtab.methods.update_rule import PIECE
from trimtab.training import rules
from trimtab.training.live import LiveBytes
from trimtab.training.optimizer import Optimizer
from trimtab.training.rules import torch_optimizer

SHAPES = ((700, 64), (64, 64), (64,), (3, 64), (3,))
on_a_cpu = pytest.mark.parametrize("rule", [rule for rule in UPDATE_RULES if not rule.gpu_only])


def strategy(rule: UpdateRule) -> Strategy:
    return Strategy(method="head", parts=(Head(),), optimizer=rule)


def parameters(*shapes: tuple[int, ...]) -> list[nn.Parameter]:
    draw = torch.Generator().manual_seed(1)
    return [nn.Parameter(torch.randn(*shape, generator=draw) * 0.05) for shape in shapes]


def gradients(step: int, *shapes: tuple[int, ...], scale: float = 1e-2) -> Iterator[torch.Tensor]:
    draw = torch.Generator().manual_seed(100 + step)
    return (torch.randn(*shape, generator=draw) * scale for shape in shapes)


def walk(optimizer: torch.optim.Optimizer, found: list[nn.Parameter], steps: int, scale: float = 1e-2) -> None:
    """Some steps on gradients that depend on nothing, at a learning rate that falls."""
    shapes = [tuple(p.shape) for p in found]
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 / (1 + step)
        for p, gradient in zip(found, gradients(step, *shapes, scale=scale), strict=True):
            p.grad = gradient
        optimizer.step()


def groups(found: list[nn.Parameter], decay: float) -> list[dict[str, object]]:
    return [{"params": found, "weight_decay": decay}]


def test_lion_is_the_update_of_the_paper_by_hand() -> None:
    """Algorithm 2: c = b1 m + (1 - b1) g; w -= lr (sign c + decay w); m = b2 m + (1 - b2) g. Of a weight of 1 with
    gradients 1, -3, 2: c is 0.1, then -0.291, then 0.1748 (m: 0.01, -0.0201, -0.000 ...)."""
    (p,) = parameters((1,))
    p.data.fill_(1.0)
    made = torch_optimizer(Lion(betas=(0.9, 0.99)), groups([p], 0.1))
    weight, momentum = 1.0, 0.0
    for gradient in (1.0, -3.0, 2.0, 0.0):
        p.grad = torch.tensor([gradient])
        made.param_groups[0]["lr"] = 0.01
        made.step()
        direction = math.copysign(1.0, 0.9 * momentum + 0.1 * gradient)
        weight -= 0.01 * (direction + 0.1 * weight)
        momentum = 0.99 * momentum + 0.01 * gradient
        assert p.item() == pytest.approx(weight, rel=1e-6)
        assert made.state[p]["exp_avg"].item() == pytest.approx(momentum, rel=1e-5, abs=1e-8)


def test_lion_in_pieces_is_that_of_bitsandbytes() -> None:
    shapes = ((PIECE // 500 + 100, 500), (7,))
    ours, theirs = parameters(*shapes), parameters(*shapes)
    walk(torch_optimizer(Lion(), groups(ours, 0.05)), ours, 4)
    walk(bitsandbytes.optim.Lion32bit(theirs, betas=(0.9, 0.99), weight_decay=0.05), theirs, 4)
    for mine, other in zip(ours, theirs, strict=True):
        # Where momentum and gradient all but cancel, its sign is a matter of rounding: one step of a few.
        off = (mine - other).abs() > 1e-6
        assert int(off.sum()) <= 1e-5 * mine.numel()


@pytest.mark.parametrize("shape", [(40, 30), (30,), (4, 12, 10)])
def test_adafactor_is_that_of_torch(shape: tuple[int, ...]) -> None:
    """With an epsilon that does nothing; torch's own asks for the numbers of each tensor on the way."""
    ours, theirs = parameters(shape), parameters(shape)
    walk(torch_optimizer(Adafactor(), groups(ours, 0.01)), ours, 6)
    reference = torch.optim.Adafactor(groups(theirs, 0.01), lr=1e-3, eps=(1e-15, 1e-3))
    walk(reference, theirs, 6)
    torch.testing.assert_close(ours[0], theirs[0], atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize("shape", [(40, 30), (30,)])
def test_adafactor_does_not_mind_how_small_gradients_are(shape: tuple[int, ...]) -> None:
    large, small = parameters(shape), parameters(shape)
    walk(torch_optimizer(Adafactor(), groups(large, 0.0)), large, 3, scale=1.0)
    walk(torch_optimizer(Adafactor(), groups(small, 0.0)), small, 3, scale=1e-6)
    torch.testing.assert_close(large[0], small[0], atol=1e-8, rtol=1e-5)


def test_without_a_gradient_adafactor_stays_where_it_is() -> None:
    for found in (parameters((5, 4)), parameters((5,))):
        before = found[0].detach().clone()
        found[0].grad = torch.zeros_like(found[0])
        made = torch_optimizer(Adafactor(), groups(found, 0.0))
        made.param_groups[0]["lr"] = 0.1
        made.step()
        assert torch.equal(found[0], before)


def test_8_bit_in_pieces_is_that_of_bitsandbytes_to_the_last_bit() -> None:
    shapes = ((2 * PIECE // 500 + 33, 500), (64, 64), (9, 9))
    assert math.prod(shapes[0]) > 2 * PIECE
    ours, theirs = parameters(*shapes), parameters(*shapes)
    made = torch_optimizer(AdamW8bit(betas=(0.8, 0.95), epsilon=1e-6), groups(ours, 0.1))
    other = bitsandbytes.optim.AdamW8bit(theirs, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1)
    walk(made, ours, 4)
    walk(other, theirs, 4)
    for mine, reference in zip(ours, theirs, strict=True):
        assert torch.equal(mine, reference)
        for key, value in other.state[reference].items():
            same = made.state[mine][key]
            assert torch.equal(same, value) if isinstance(value, torch.Tensor) else same == value


def test_8_bit_is_near_adamw() -> None:
    """Five steps of about 1e-3 in all: within 5 % of that, almost everywhere."""
    shapes = ((300, 64),)
    packed, exact = parameters(*shapes), parameters(*shapes)
    walk(torch_optimizer(AdamW8bit(), groups(packed, 0.01)), packed, 5)
    walk(torch_optimizer(AdamW(), groups(exact, 0.01)), exact, 5)
    moved = (exact[0] - parameters(*shapes)[0]).abs().mean()
    assert ((packed[0] - exact[0]).abs().mean() / moved).item() < 0.05


@on_a_cpu
def test_states_take_the_bytes_that_are_said(rule: type[UpdateRule]) -> None:
    """Numbers and bytes of single counters left out, and the two tables of 256 that all 8-bit states share."""
    found = parameters(*SHAPES)
    made = torch_optimizer(rule(), groups(found, 0.0))
    walk(made, found, 1)
    for p in found:
        state = made.state[p]
        held = sum(x.nbytes for key, x in state.items() if torch.is_tensor(x) and x.ndim and "qmap" not in key)
        assert held == rule().state_bytes(tuple(p.shape)), tuple(p.shape)


def test_paged_states_of_large_tensors_are_not_on_the_device() -> None:
    rule, plain = PagedAdamW8bit(), AdamW8bit()
    assert rule.device_bytes((300, 300)) == rule.state_bytes((300, 300)) == plain.state_bytes((300, 300))
    assert rule.state_bytes((400, 256)) == 2 * 400 * 256 + 2 * 4 * 400
    assert rule.device_bytes((400, 256)) == 2 * 4 * 400  # the scales


@pytest.mark.parametrize("rule", [Lion, Adafactor, AdamW])
def test_a_step_makes_what_is_said(rule: type[UpdateRule]) -> None:
    """The largest of several tensors decides: one is let go before the next."""
    shapes = ((1400, 500), (600, 400), (64,))
    found = parameters(*shapes)
    made = torch_optimizer(rule(), groups(found, 0.0))
    walk(made, found, 1)
    live = LiveBytes()
    with live:
        live.count(found)
        live.count(p.grad for p in found)
        live.count(x for state in made.state.values() for x in state.values() if torch.is_tensor(x))
        before = live.now_bytes
        live.site = "update"
        made.step()
    said = max(rule().step_bytes(shape, cpu=True) for shape in shapes)
    assert sum(live.peaks["update"].values()) - before == pytest.approx(said, rel=0.01, abs=100)


@on_a_cpu
def test_gradients_are_clipped_for_every_rule(rule: type[UpdateRule]) -> None:
    """A step on gradients clipped to 0.5 is the step on half of gradients of norm 1."""

    def after(scale: float, most: float) -> torch.Tensor:
        (p,) = found = parameters((40, 30))
        optimizer = Optimizer(nn.ParameterList(found), strategy(rule()))
        for step in range(3):
            (gradient,) = gradients(step, (40, 30))
            p.grad = gradient / gradient.norm() * scale
            assert optimizer.clip(most) == pytest.approx(scale, rel=1e-6)
            optimizer.step(1e-3)
        return p.detach()

    torch.testing.assert_close(after(1.0, 0.5), after(0.5, 0.0), atol=1e-8, rtol=1e-5)


class Wide(nn.Module):
    """A table large enough for states in 8 bit."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(200, 64)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embedding


def reread(rule: UpdateRule, rows: torch.Tensor) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The state of a table whose rows 0 to 99 were read, and what a training that reads `rows` makes of it."""
    made = Strategy(method="full", parts=(Weights(),), optimizer=rule)
    net = Wide()
    optimizer = Optimizer(net, made, torch.arange(100))
    for number in range(2):
        draw = torch.Generator().manual_seed(number)
        ids = torch.randint(0, 100, (8, 30), generator=draw)
        net.embedding(ids).square().sum().backward()
        optimizer.collect()
        optimizer.step(0.01)
    kept = {name: tensor.clone() for name, tensor in optimizer.state().items()}
    restored = Optimizer(Wide(), made, rows)
    restored.restore(kept)
    return kept, restored.state()


@on_a_cpu
def test_the_states_of_a_table_come_back(rule: type[UpdateRule]) -> None:
    kept, found = reread(rule(), torch.arange(100))
    assert kept.keys() == found.keys()
    assert [name for name in kept if not torch.equal(kept[name], found[name])] == []


def test_adafactor_finds_the_rows_that_are_still_read() -> None:
    kept, found = reread(Adafactor(), torch.arange(50, 150))
    rows = found["row_var/embedding.weight"]
    assert torch.equal(rows[:50], kept["row_var/embedding.weight"][50:]) and rows[:50].all()
    assert not rows[50:].any()
    assert torch.equal(found["col_var/embedding.weight"], kept["col_var/embedding.weight"])


def test_8_bit_states_of_other_rows_start_anew() -> None:
    kept, found = reread(AdamW8bit(), torch.arange(50, 150))
    assert kept["absmax1/embedding.weight"].any() and not found["absmax1/embedding.weight"].any()
    assert found["step/embedding.weight"] == kept["step/embedding.weight"] == 2
    assert torch.equal(found["master/embedding.weight"][:50], kept["master/embedding.weight"][50:])


def test_a_library_that_is_missing_is_said_before_anything_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, corpus = tiny_job(tmp_path, optimizer=AdamW8bit())
    monkeypatch.setattr(rules, "find_spec", lambda name: None)
    with pytest.raises(UsageError) as caught:
        run(replace(job, source=replace(job.source, folder=tmp_path / "no such folder")), corpus)
    assert caught.value.code == "TT-T085"
    assert "pip install 'trimtab[quant]'" in caught.value.message.next_step("en")


@pytest.mark.skipif(torch.accelerator.is_available(), reason="a GPU can")
def test_paged_states_need_a_gpu(tmp_path: Path) -> None:
    job, corpus = tiny_job(tmp_path, optimizer=PagedAdamW8bit())
    with pytest.raises(UsageError) as caught:
        run(job, corpus)
    assert caught.value.code == "TT-T086"


def test_every_rule_has_a_torch_half_and_a_name_of_its_own() -> None:
    default = torch_optimizer.dispatch(object)
    assert [rule.name for rule in UPDATE_RULES if torch_optimizer.dispatch(rule) is default] == []
    assert [update_rule_named(rule.name) for rule in UPDATE_RULES] == [rule() for rule in UPDATE_RULES]
    with pytest.raises(UsageError) as caught:
        update_rule_named("adam8bit")
    assert (caught.value.code, caught.value.message.fact("suggestion")) == ("TT-U040", "adamw8bit")
