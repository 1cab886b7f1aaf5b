"""PEFT's LoRA layer with one function for the frozen matrix and what runs beside it: half as many kernels, nothing
between them kept, the same numbers.

PEFT makes it in place of its own layer (`LoraConfig._register_custom_module`); names, files and merging are
PEFT's. Whatever is not plain LoRA of one adapter on a plain matrix goes PEFT's way: variants, dropout, mixed
batches, bases in few bits.
"""

from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import nn

from trimtab.tuning.products import QuickLinear, product


class QuickLora(Linear):
    """`peft.tuners.lora.Linear`, quicker where it is trained alone."""

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if args or kwargs or not self._is_plain(x):
            found: torch.Tensor = super().forward(x, *args, **kwargs)
            return found
        (name,), base = self.active_adapters, self.base_layer
        down, up = self.lora_A[name].weight, self.lora_B[name].weight
        made: torch.Tensor = _BesideFrozen.apply(x, base.weight, base.bias, down, up, self.scaling[name])
        return made

    def _is_plain(self, x: torch.Tensor) -> bool:
        """One adapter, active and not merged, on a frozen matrix of its own number format."""
        names, base = self.active_adapters, self.base_layer
        return (
            torch.is_grad_enabled()  # scored as PEFT's own layer scores, bit for bit
            and type(base) in (nn.Linear, QuickLinear)
            and not base.weight.requires_grad
            and len(names) == 1
            and names[0] in self.lora_A
            and not (self.disable_adapters or self.merged or self.lora_bias[names[0]])
            and names[0] not in self.lora_variant
            and isinstance(self.lora_dropout[names[0]], nn.Identity)
            and x.dtype == base.weight.dtype == self.lora_A[names[0]].weight.dtype
        )


class _BesideFrozen(torch.autograd.Function):
    """x W' + b + s (x A') B', W and b without gradients. Shapes: x (..., inputs), W (outputs, inputs), b (outputs)
    or None, A (rank, inputs), B (outputs, rank). Keeps x and x A' for the gradients of A and B."""

    @staticmethod
    def forward(ctx, x, weight, bias, down, up, scaling):  # type: ignore[no-untyped-def]
        rows = x.reshape(-1, x.shape[-1])
        inner = rows @ down.T
        kept = (rows, inner) if down.requires_grad else (None, None)  # at rest, in a stage that is not its own
        ctx.save_for_backward(*kept, weight, down, up)
        ctx.scaling = scaling
        made = product(rows, weight, bias).addmm_(inner, up.T, alpha=scaling)
        return made.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        rows, inner, weight, down, up = ctx.saved_tensors
        above = gradient.reshape(-1, gradient.shape[-1])
        of_inner = (above @ up).mul_(ctx.scaling)
        of_x = of_down = of_up = None
        if ctx.needs_input_grad[0]:
            of_x = product(above, weight.T).addmm_(of_inner, down).view(*gradient.shape[:-1], -1)
        if ctx.needs_input_grad[3]:
            of_down = of_inner.T @ rows
            of_up = (inner.T @ above).mul_(ctx.scaling).T  # the narrow side first: three times as fast in fp32
        return of_x, None, None, of_down, of_up, None
