"""The torch half of every update rule: one function each, registered on `torch_optimizer`.

Each gives a torch optimiser that takes (params, weight decay) groups and whose state is, for every parameter,
tensors and plain numbers by name. Nothing here asks a tensor for its numbers, so that a dry run goes through as
well, and a GPU is never waited for. Leaves out masters, gradients and checkpoints (`training.optimizer`).
"""

from collections.abc import Callable, Iterator
from functools import singledispatch
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.optim import Optimizer as TorchOptimizer

from trimtab.errors import UsageError
from trimtab.methods import Adafactor, AdamW, AdamW8bit, Lion, PagedAdamW8bit, UpdateRule
from trimtab.methods.update_rule import PIECE

Groups = list[dict[str, Any]]


@singledispatch
def torch_optimizer(rule: UpdateRule, groups: Groups) -> TorchOptimizer:
    """An optimiser that updates the parameters of `groups` by `rule`, its learning rate 0 until it is set."""
    raise AssertionError(f"{type(rule).__name__} has no torch half; add one in training/rules.py")


def require_library(rule: UpdateRule, device: torch.device) -> None:
    """Raises UsageError TT-T085 where the rule's library is not installed, TT-T086 where it needs a GPU."""
    if rule.gpu_only and device.type == "cpu":
        raise UsageError("TT-T086", name=rule.name)
    if rule.library and find_spec(rule.library) is None:
        raise UsageError("TT-T085", name=rule.name, library=rule.library)


@torch_optimizer.register
def _(rule: AdamW, groups: Groups) -> TorchOptimizer:
    return torch.optim.AdamW(groups, lr=0.0, betas=rule.betas, eps=rule.epsilon, fused=True)


@torch_optimizer.register
def _(rule: AdamW8bit, groups: Groups) -> TorchOptimizer:
    library = _bitsandbytes()
    with unset_fake_temporarily():  # a dry run needs the real table of what the 256 codes stand for
        made = library.optim.AdamW8bit(groups, lr=0.0, betas=rule.betas, eps=rule.epsilon)
    made.update_step = _in_pieces(made, made.update_step, library.functional)
    return made


@torch_optimizer.register
def _(rule: PagedAdamW8bit, groups: Groups) -> TorchOptimizer:
    if all(parameter.device.type == "cpu" for group in groups for parameter in group["params"]):
        return torch_optimizer(AdamW8bit(betas=rule.betas, epsilon=rule.epsilon), groups)  # a dry run's fakes
    return _bitsandbytes().optim.PagedAdamW8bit(groups, lr=0.0, betas=rule.betas, eps=rule.epsilon)


@torch_optimizer.register
def _(rule: Lion, groups: Groups) -> TorchOptimizer:
    return LionOptimizer(groups, {"lr": 0.0, "betas": rule.betas, "weight_decay": 0.0})


@torch_optimizer.register
def _(rule: Adafactor, groups: Groups) -> TorchOptimizer:
    settings = {
        "lr": 0.0,
        "weight_decay": 0.0,
        "beta2_decay": rule.beta2_decay,
        "smallest_scale": rule.smallest_scale,
        "most_update": rule.most_update,
    }
    return AdafactorOptimizer(groups, settings)


def _bitsandbytes() -> ModuleType:
    """The library, imported where it is needed: that takes a second, and not everybody has it."""
    import bitsandbytes

    return bitsandbytes


def _in_pieces(optimizer: Any, whole: Callable[..., None], functional: ModuleType) -> Callable[..., None]:
    """bitsandbytes' update of one parameter, on a CPU a piece at a time: it unpacks both states into fp32, and of
    a token table that would be more than 8 bits save. Blocks are independent, so the numbers are the same."""

    def update(group: dict[str, Any], p: torch.Tensor, gindex: int, pindex: int) -> None:
        state = optimizer.state[p]
        eight_bit = state["state1"].dtype == torch.uint8
        if p.device.type != "cpu" or not eight_bit or not p.is_contiguous():
            whole(group, p, gindex, pindex)
            return
        state["step"] += 1
        assert p.grad is not None
        flat = [x.view(-1) for x in (p.grad.contiguous(), p.data, state["state1"], state["state2"])]
        scales = (state["absmax1"], state["absmax2"])
        blocks = PIECE // 256
        for (gradient, weight, first, second), (scale1, scale2) in zip(
            zip(*(x.split(PIECE) for x in flat), strict=True),
            zip(*(x.split(blocks) for x in scales), strict=True),
            strict=True,
        ):
            functional.optimizer_update_8bit_blockwise(
                optimizer.optimizer_name, gradient, weight, first, second,
                group["betas"][0], group["betas"][1], 0.0, 0.0, group["eps"], state["step"], group["lr"],
                state["qmap1"], state["qmap2"], scale1, scale2, group["weight_decay"],
                gnorm_scale=1.0, skip_zeros=False,
            )  # fmt: skip

    return update


class LionOptimizer(TorchOptimizer):
    """Lion, algorithm 2 of arXiv 2302.06675. State: exp_avg. Final."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group, p, gradient in _with_gradients(self):
            state = self.state[p]
            if not state:
                state["exp_avg"] = torch.zeros_like(p)
            for weight, sums, average in _pieces(p, gradient, state["exp_avg"]):
                _lion_step(weight, sums, average, group)


def _lion_step(weight: torch.Tensor, gradient: torch.Tensor, average: torch.Tensor, group: dict[str, Any]) -> None:
    fast, slow = group["betas"]
    direction = average.mul(fast).add_(gradient, alpha=1 - fast).sign_()
    weight.mul_(1 - group["lr"] * group["weight_decay"]).add_(direction, alpha=-group["lr"])
    average.lerp_(gradient, 1 - slow)


class AdafactorOptimizer(TorchOptimizer):
    """Adafactor as torch.optim has it, without asking for numbers on the way, and with the paper's epsilon:
    torch's own, 1e-7, is above the mean square of gradients whose norm is clipped to 1. State: step, and row_var
    and col_var of matrices, variance of vectors. Final."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group, p, gradient in _with_gradients(self):
            state = self.state[p]
            if not state:
                _reserve_adafactor(state, p)
            _adafactor_step(p, gradient, state, group)


def _adafactor_step(p: torch.Tensor, gradient: torch.Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    state["step"] += 1
    rate = min(group["lr"], state["step"] ** -0.5)
    update = _root_inverse(state, gradient, fresh=state["step"] ** group["beta2_decay"]).mul_(gradient)
    size = _root_mean_square(p).clamp_(min=group["smallest_scale"])
    most = (_root_mean_square(update) / group["most_update"]).clamp_(min=1.0)
    p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update.mul_(rate * size / most))


_TINY = 1e-30  # of squares: keeps a gradient of 0 from 0 / 0


def _reserve_adafactor(state: dict[str, Any], p: torch.Tensor) -> None:
    state["step"] = 0
    if p.ndim < 2:
        state["variance"] = torch.zeros_like(p)
        return
    state["row_var"] = p.new_zeros((*p.shape[:-1], 1))
    state["col_var"] = p.new_zeros((*p.shape[:-2], 1, p.shape[-1]))


def _root_inverse(state: dict[str, Any], gradient: torch.Tensor, fresh: float) -> torch.Tensor:
    """1 / sqrt of the second moment, after it has taken up `gradient` by the share `fresh` (1 - beta2 in the
    paper); a new tensor of its shape."""
    if "variance" in state:
        state["variance"].lerp_(gradient.square(), fresh)
        return state["variance"].clamp(min=_TINY).rsqrt_()
    rows, columns = state["row_var"], state["col_var"]
    rows.lerp_(_mean_square(gradient, -1), fresh)
    columns.lerp_(_mean_square(gradient, -2), fresh)
    scaled = rows / rows.mean(dim=-2, keepdim=True).clamp_(min=_TINY)
    return (scaled @ columns).clamp_(min=_TINY).rsqrt_()


def _mean_square(gradient: torch.Tensor, dim: int) -> torch.Tensor:
    """Without the squares of all numbers in between."""
    return torch.linalg.vector_norm(gradient, dim=dim, keepdim=True).square_().div_(gradient.shape[dim])


def _root_mean_square(x: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vector_norm(x) / x.numel() ** 0.5


def _with_gradients(optimizer: TorchOptimizer) -> Iterator[tuple[dict[str, Any], torch.Tensor, torch.Tensor]]:
    """Group, parameter and gradient of each parameter that has one."""
    for group in optimizer.param_groups:
        for p in group["params"]:
            if p.grad is not None:
                yield group, p, p.grad


def _pieces(*tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Tensors of one shape side by side: on a CPU in pieces that stay in the cache, elsewhere whole."""
    if tensors[0].device.type != "cpu" or not all(x.is_contiguous() for x in tensors):
        yield tensors
        return
    yield from zip(*(x.view(-1).split(PIECE) for x in tensors), strict=True)
