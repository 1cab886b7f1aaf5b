"""Frozen matrices in the layout that oneDNN multiplies by: twice as fast in fp32 on CPUs where torch's own choice,
MKL, leaves their widest instructions unused.

The numbers are the same, sums are made in another order. Nothing is held twice: in the place of the weight there
is a shape. Forward alone; leaves out training, GPUs, and matrices stored transposed (GPT-2).
"""

import time
from collections.abc import Callable, Collection
from functools import cache

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from trimtab.models.spec import ModelSpec
from trimtab.tuning import structure

_TRIED = (128, 512, 512)  # rows, inputs, outputs of the product that decides
_TIMES = 5
_WORTH = 1.15  # times as fast
_OFF_BY = 1e-2  # of the largest number, in bf16


class BlockedLinear(nn.Linear):
    """A frozen linear layer. `weight` has shape and type and no memory: NaN, whoever reads it. Final."""

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        nothing = linear.weight.new_full((1, 1), torch.nan).expand(linear.weight.shape)
        self.weight = nn.Parameter(nothing, requires_grad=False)
        self.bias = linear.bias
        self.blocked = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach().contiguous(), None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, self.blocked, self.bias, "none", [], "")
        return y

    def unpacked(self, dtype: torch.dtype) -> torch.Tensor:
        """The matrix, (outputs, inputs)."""
        return self.blocked.to_dense().to(dtype)

    def tensors(self) -> tuple[torch.Tensor, ...]:
        """All that is held of it, but the bias."""
        return (self.blocked,)


def block(model: PreTrainedModel, spec: ModelSpec) -> None:
    """Put the matrices of a frozen model's layers into that layout, in place, one at a time, where this machine
    gains from it (`pays`). Such a model cannot be trained, saved or merged; `unblock` takes it back."""
    for name, module in structure.layers(model, spec).named_modules():
        if type(module) is nn.Linear and module.weight.device.type == "cpu" and pays(module.weight.dtype):
            structure.layers(model, spec).set_submodule(name, BlockedLinear(module), strict=True)


def unblock(model: PreTrainedModel, named: Collection[str]) -> None:
    """Plain matrices again where a module's name ends so, in place: for what reads weights themselves."""
    for name, module in list(model.named_modules()):
        if isinstance(module, BlockedLinear) and name.endswith(tuple(f".{one}" for one in named)):
            model.set_submodule(name, _plain(module), strict=True)


def _plain(blocked: BlockedLinear) -> nn.Linear:
    made = nn.Linear(blocked.in_features, blocked.out_features, device="meta")
    made.weight = nn.Parameter(blocked.unpacked(blocked.weight.dtype), requires_grad=False)
    made.bias = blocked.bias
    return made


@cache
def pays(dtype: torch.dtype) -> bool:
    """Whether it is faster here, measured on one product (some ms, once), and gives the same."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_reorder_linear_weight"):
        return False
    rows, inputs, outputs = _TRIED
    made = torch.Generator().manual_seed(0)
    linear = nn.Linear(inputs, outputs)
    x = torch.randn(rows, inputs, generator=made)
    with torch.inference_mode():
        linear, x = linear.to(dtype), x.to(dtype)
        try:
            blocked = BlockedLinear(linear)
            off_by = float((blocked(x) - linear(x)).abs().max() / linear(x).abs().max())
        except (RuntimeError, NotImplementedError):  # no kernel for this number format here
            return False
        gains = _seconds(lambda: F.linear(x, linear.weight, linear.bias)) / _seconds(lambda: blocked(x))
    return off_by < _OFF_BY and gains > _WORTH


def _seconds(run: Callable[[], object]) -> float:
    """Of the fastest of a few."""
    found = []
    for _ in range(_TIMES):
        before = time.perf_counter()
        run()
        found.append(time.perf_counter() - before)
    return min(found)
