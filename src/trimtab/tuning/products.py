"""Products with a matrix in fp32 on CPUs, forward and backward: through oneDNN where that is faster than torch's
own choice, MKL, which leaves the widest instructions of AMD's processors unused.

oneDNN takes matrices as they lie, transposed too, so that nothing is held twice; its own layout (`tuning.blocked`)
is 3 % faster and worth it where weights rest. Sums are made in another order. In bf16 torch asks oneDNN anyway.
Leaves out: other devices and number formats, and matrices stored transposed (GPT-2).
"""

import time
from collections.abc import Callable
from functools import cache

import torch
from torch import nn
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.nn import functional as F

_TRIED = (256, 384, 768)  # rows, inputs, outputs of the product that decides
_TIMES = 5
_WORTH = 1.3  # times as fast; what was seen is 1.0 or 2.2, so that chance does not decide
_OFF_BY = 1e-4  # of the largest number


def product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """x W' + b: x (rows, inputs), W (outputs, inputs), each laid in any order; without gradients where
    `quick` holds."""
    return _through_onednn(x, weight, bias) if quick(weight) else F.linear(x, weight, bias)


def quick(weight: torch.Tensor) -> bool:
    """Whether products with `weight` go through oneDNN here."""
    return weight.dtype == torch.float32 and weight.device.type == "cpu" and onednn_pays()


class QuickLinear(nn.Linear):
    """nn.Linear by `product`, with its gradients. Stands where an nn.Linear stood, with its parameters. Final.

    Without gradients it multiplies as torch does: what a model scores is then, bit for bit, what it scores
    wherever it is opened again."""

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.is_grad_enabled():
            return super().forward(x)
        made: torch.Tensor = _Product.apply(x, self.weight, self.bias)
        return made


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x if weight.requires_grad else None, weight)
        return product(x, weight, bias)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        rows = gradient.reshape(-1, gradient.shape[-1])
        return (
            product(rows, weight.T).view(*gradient.shape[:-1], -1) if of_x else None,
            product(rows.T, x.reshape(-1, x.shape[-1]).T) if of_weight else None,
            rows.sum(0) if of_bias else None,
        )


def use_quick_products(model: nn.Module) -> None:
    """Let every plain linear layer of `model` be a `QuickLinear` where that is faster, in place; names and
    parameters stay."""
    for name, module in list(model.named_modules()):
        if type(module) is nn.Linear and quick(module.weight):
            model.set_submodule(name, QuickLinear(module), strict=True)


@cache
def onednn_pays() -> bool:
    """Whether it is faster here, measured on one product (some ms, once), and gives the same."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    rows, inputs, outputs = _TRIED
    with unset_fake_temporarily(), torch.inference_mode():
        made = torch.Generator().manual_seed(0)
        x, weight = (torch.randn(count, inputs, generator=made) for count in (rows, outputs))
        try:
            off_by = float((_through_onednn(x, weight, None) - F.linear(x, weight)).abs().max() / inputs**0.5)
        except (RuntimeError, NotImplementedError):
            return False
        theirs, ours = _seconds(lambda: F.linear(x, weight), lambda: _through_onednn(x, weight, None))
    return off_by < _OFF_BY and theirs > _WORTH * ours


def _through_onednn(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    made: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return made


def _seconds(*runs: Callable[[], object]) -> list[float]:
    """Of the fastest of a few, by turns."""
    found: list[list[float]] = [[] for _ in runs]
    for _ in range(_TIMES):
        for times, run in zip(found, runs, strict=True):
            before = time.perf_counter()
            run()
            times.append(time.perf_counter() - before)
    return [min(times) for times in found]
