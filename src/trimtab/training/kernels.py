"""Faster dropout and attention for training on a CPU: same mathematics, cheaper random numbers.

torch draws one Bernoulli number an element there, which costs a fifth of a LoRA step of a small encoder.
Four 16-bit draws fit in one 64-bit number; the keep rate is exact to 1/65,536 and the generator is torch's own,
so a seed and a saved generator state still decide everything. Masks are kept as one byte an element.
Leaves out: GPUs, where torch's kernels are good, and evaluation, where nothing is dropped.
"""

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

_NAME = "trimtab_cpu"


def use_cpu_kernels(model: PreTrainedModel) -> None:
    """Put them into `model`, in place. Modules that are not nn.Dropout, and models whose attention
    transformers does not let one choose, keep what they have."""
    for name, module in list(model.named_modules()):
        if type(module) is nn.Dropout:
            model.set_submodule(name, Dropout(module.p), strict=True)
    AttentionInterface.register(_NAME, _attention_forward)
    AttentionMaskInterface.register(_NAME, sdpa_mask)
    if getattr(model, "_supports_sdpa", False):
        model.set_attn_implementation(_NAME)


def keep_mask(shape: torch.Size, p: float) -> torch.Tensor:
    """Boolean tensor of `shape`, on the CPU, each element True with probability 1 - p (to 1/65,536)."""
    count = shape.numel()
    draws = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    return (draws.view(torch.int16)[:count] >= round(p * 65536) - 32768).view(shape)


class Dropout(nn.Dropout):
    """nn.Dropout with `keep_mask`. Stands where nn.Dropout stood."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0.0:
            return x
        return _Dropout.apply(x, self.p)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, p):  # type: ignore[no-untyped-def]
        keep = keep_mask(x.shape, p)
        ctx.save_for_backward(keep)
        ctx.scale = 1.0 / (1.0 - p)
        return _drop(x, keep, ctx.scale)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        (keep,) = ctx.saved_tensors
        return _drop(gradient, keep, ctx.scale), None


class _Attention(torch.autograd.Function):
    """softmax(q k' * scaling + mask) with dropout, times v. Shapes: q, k, v (B, H, L, D), mask (B or 1, 1, L, L)
    boolean (True = attend) or None. Keeps q, k, v, the probabilities and one byte of mask for backward."""

    @staticmethod
    def forward(ctx, q, k, v, mask, scaling, p):  # type: ignore[no-untyped-def]
        scores = torch.matmul(q, k.transpose(-1, -2)).mul_(scaling)
        if mask is not None:
            scores.masked_fill_(~mask, torch.finfo(scores.dtype).min)
        probabilities = torch.softmax(scores, dim=-1)
        keep = keep_mask(probabilities.shape, p)
        ctx.save_for_backward(q, k, v, probabilities, keep)
        ctx.scaling, ctx.scale = scaling, 1.0 / (1.0 - p)
        return torch.matmul(_drop(probabilities, keep, ctx.scale), v)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        q, k, v, probabilities, keep = ctx.saved_tensors
        dropped = _drop(probabilities, keep, ctx.scale)
        grad_v = torch.matmul(dropped.transpose(-1, -2), gradient)
        grad_dropped = torch.matmul(gradient, v.transpose(-1, -2))
        grad_probabilities = _drop(grad_dropped, keep, ctx.scale)
        grad_scores = torch._softmax_backward_data(
            grad_probabilities, probabilities, -1, probabilities.dtype
        ).mul_(ctx.scaling)
        grad_q = torch.matmul(grad_scores, k)
        grad_k = torch.matmul(grad_scores.transpose(-1, -2), q)
        return grad_q, grad_k, grad_v, None, None, None


def _drop(x: torch.Tensor, keep: torch.Tensor, scale: float) -> torch.Tensor:
    return torch.where(keep, x, 0).mul_(scale)


def _attention_forward(  # type: ignore[no-untyped-def]
    module, query, key, value, attention_mask, dropout=0.0, scaling=None, **kwargs
):
    """transformers' attention interface: (B, H, L, D) in, (B, L, H, D) out."""
    same_heads = query.shape[1] == key.shape[1]
    if dropout == 0.0 or not same_heads or getattr(module, "is_causal", False):
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    out = _Attention.apply(query, key, value, attention_mask, scaling, dropout)
    return out.transpose(1, 2).contiguous(), None
