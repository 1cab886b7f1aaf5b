"""What kernels of a GPU keep for backward, for a dry run on a machine without one.

Fake tensors of a device that torch was not built for abort the process, so a dry run traces on fake CPU tensors.
Where the real run uses other kernels than a CPU does, these stand in: they compute nothing, and keep what those
keep.

    fused attention     q, k, v, the output, the log-sum-exp in fp32, and the mask as a bias (Dao et al. 2022,
                        arXiv 2205.14135; torch makes the bias of the boolean mask, once a layer)
    dropout             a mask of one byte a number
"""

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import sdpa_mask

_NAME = "trimtab_fused"


def use_gpu_stand_ins(model: PreTrainedModel) -> None:
    """Put them into a fake `model`, in place."""
    for name, module in list(model.named_modules()):
        if type(module) is nn.Dropout:
            model.set_submodule(name, _Dropout(module.p), strict=True)
    AttentionInterface.register(_NAME, _attention_forward)
    AttentionMaskInterface.register(_NAME, sdpa_mask)
    if getattr(model, "_supports_sdpa", False):
        model.set_attn_implementation(_NAME)


class _Dropout(nn.Dropout):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _DropoutShape.apply(x) if self.training and self.p else x


class _DropoutShape(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(torch.empty_like(x, dtype=torch.bool))
        return torch.empty_like(x)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        return torch.empty_like(gradient)


class _FusedAttentionShape(torch.autograd.Function):
    """q (B, H, L, D), k and v (B, K, L, D), mask or None. Out (B, H, L, D)."""

    @staticmethod
    def forward(ctx, q, k, v, mask):  # type: ignore[no-untyped-def]
        out = torch.empty_like(q, memory_format=torch.contiguous_format)
        statistics = torch.empty(q.shape[:3], dtype=torch.float32)
        bias = () if mask is None else (torch.empty_like(mask, dtype=q.dtype),)
        ctx.save_for_backward(q, k, v, out, statistics, *bias)
        return out

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        q, k, v, *_ = ctx.saved_tensors
        return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v), None


def _attention_forward(  # type: ignore[no-untyped-def]
    module, query, key, value, attention_mask, dropout=0.0, scaling=None, **kwargs
):
    """transformers' attention interface: (B, H, L, D) in, (B, L, H, D) out. With a mask, keys and values are
    repeated to the number of query heads, as transformers does for torch's attention."""
    repeats = query.shape[1] // key.shape[1]
    if repeats > 1 and attention_mask is not None:
        key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
    out = _FusedAttentionShape.apply(query, key, value, attention_mask)
    return out.transpose(1, 2).contiguous(), None
