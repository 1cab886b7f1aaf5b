"""Faster dropout and attention for training on a CPU: same mathematics, cheaper random numbers, fewer passes.

torch draws one Bernoulli number an element there, which costs a fifth of a LoRA step of a small encoder.
Four 16-bit draws fit in one 64-bit number; the keep rate is exact to 1/65,536 and the generator is torch's own,
so a seed and a saved generator state still decide everything. A mask is an integer as wide as the number it
keeps (all bits set) or drops (none): applying it is one vectorised `and`, four times faster than `torch.where`.
Leaves out: GPUs, where torch's kernels are good, and evaluation, where nothing is dropped.
"""

from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from trimtab.estimation.kept import ATTENTION_MOST, ATTENTION_PIECE
from trimtab.tuning.products import use_quick_products

_NAME = "trimtab_cpu"
_LOW_BYTES = 2
_VECTOR = 32  # numbers in bf16, of 512 bits
_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def use_cpu_kernels(model: PreTrainedModel) -> None:
    """Put them into `model`, in place, and quick products where they pay. Modules that are not nn.Dropout, and
    models whose attention transformers does not let one choose, keep what they have."""
    use_quick_products(model)
    for name, module in list(model.named_modules()):
        if type(module) is nn.Dropout:
            model.set_submodule(name, Dropout(module.p), strict=True)
    AttentionInterface.register(_NAME, attention_forward)
    AttentionMaskInterface.register(_NAME, sdpa_mask)
    if getattr(model, "_supports_sdpa", False):
        model.set_attn_implementation(_NAME)


def keep_mask(shape: torch.Size, p: float, dtype: torch.dtype) -> torch.Tensor:
    """Mask for numbers of `dtype`, on the CPU: an integer tensor of `shape`, as wide as they are, each element -1
    (all bits set) with probability 1 - p (to 1/65,536) and else 0."""
    count = shape.numel()
    draws = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    mask = torch.empty(shape, dtype=_INTEGERS[dtype.itemsize])
    torch.ge(draws[:count].view(shape), round(p * 65536) - 32768, out=mask)
    return mask.neg_()


class Dropout(nn.Dropout):
    """nn.Dropout with `keep_mask`. Stands where nn.Dropout stood."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0.0:
            return x
        return _Dropout.apply(x, self.p)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, p):  # type: ignore[no-untyped-def]
        keep = keep_mask(x.shape, p, x.dtype)
        ctx.save_for_backward(keep)
        ctx.scale = 1.0 / (1.0 - p)
        return _drop(x, keep, ctx.scale)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        (keep,) = ctx.saved_tensors
        return _drop(gradient, keep, ctx.scale), None


class _Attention(torch.autograd.Function):
    """softmax(q k' * scaling + mask) with dropout, times v. Shapes: q (B, H, L, D), k, v (B, H, K, D), mask (B or
    1, 1, L, K) boolean (True = attend) or None. Keeps q, k, v, the probabilities and their mask for backward.

    Inside, batch and heads are one dimension: torch copies every operand that it has to flatten, here each once.
    Scales are part of a product.
    """

    @staticmethod
    def forward(ctx, q, k, v, mask, scaling, p):  # type: ignore[no-untyped-def]
        shape = q.shape
        q, k, v = (_flat(x) for x in (q, k, v))
        probabilities = _probabilities(q, k, _hidden(mask, q.dtype), scaling)
        keep = keep_mask(probabilities.shape, p, probabilities.dtype)
        ctx.save_for_backward(q, k, v, probabilities, keep)
        ctx.scaling, ctx.scale = scaling, 1.0 / (1.0 - p)
        return _scaled(_kept(probabilities, keep), v, ctx.scale).view(shape)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        q, k, v, probabilities, keep = ctx.saved_tensors
        shape = gradient.shape
        of_keys = (*shape[:2], *k.shape[1:])
        gradient = gradient.reshape(q.shape)
        grad_v = _scaled(_kept(probabilities, keep).mT, gradient, ctx.scale)
        grad_scores = _of_scores(_kept(_scaled(gradient, v.mT, ctx.scale), keep), probabilities)
        grad_q = _scaled(grad_scores, k, ctx.scaling)
        grad_k = _scaled(grad_scores.mT, q, ctx.scaling)
        return grad_q.view(shape), grad_k.view(of_keys), grad_v.view(of_keys), None, None, None


class _AttentionAgain(torch.autograd.Function):
    """The same without dropout: keeps q, k and v alone, and makes the probabilities once more in backward. Some
    rows at a time, so that what is in between stays in the cache."""

    @staticmethod
    def forward(ctx, q, k, v, mask, scaling):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(q, k, v, mask)
        ctx.scaling = scaling
        out = q.new_empty(*q.shape[:-1], v.shape[-1])
        for rows in _rows_at_once(q, k):
            hidden = _hidden(_of_rows(mask, rows), q.dtype)
            probabilities = _probabilities(_flat(q[rows]), _flat(k[rows]), hidden, scaling)
            torch.bmm(probabilities, _flat(v[rows]), out=_flat(out[rows]))
        return out

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        *of, mask = ctx.saved_tensors
        made = [x.new_empty(x.shape) for x in of]
        for rows in _rows_at_once(of[0], of[1]):
            q, k, v, above = (_flat(x[rows]) for x in (*of, gradient))
            probabilities = _probabilities(q, k, _hidden(_of_rows(mask, rows), q.dtype), ctx.scaling)
            grad_q, grad_k, grad_v = (_flat(x[rows]) for x in made)
            torch.bmm(probabilities.mT, above, out=grad_v)
            grad_scores = _of_scores(torch.bmm(above, v.mT), probabilities).mul_(ctx.scaling)
            torch.bmm(grad_scores, k, out=grad_q)
            torch.bmm(grad_scores.mT, q, out=grad_k)
        return (*made, None, None)


def _probabilities(q: torch.Tensor, k: torch.Tensor, hidden: torch.Tensor | None, scaling: float) -> torch.Tensor:
    """Of flat queries and keys, (B H, L, K)."""
    scores = _scaled(q, k.mT, scaling)
    if hidden is not None:
        scores.view(len(hidden), -1, *scores.shape[1:]).add_(hidden)
    return torch.softmax(scores, dim=-1, dtype=_wide(scores)).to(q.dtype)


def _of_scores(gradient: torch.Tensor, probabilities: torch.Tensor) -> torch.Tensor:
    """The gradient of scores from that of their probabilities."""
    wide = _wide(gradient)
    made = torch._softmax_backward_data(gradient.to(wide), probabilities.to(wide), -1, wide)
    return made.to(gradient.dtype)


def _wide(scores: torch.Tensor) -> torch.dtype:
    """In what a softmax is made: fp32 at least where a row's keys leave a vector half filled, over which torch's
    kernels for bf16 take four times as long, ten times backward. It sums in fp32 anyway."""
    whole = scores.shape[-1] % _VECTOR == 0
    return scores.dtype if whole else torch.promote_types(scores.dtype, torch.float32)


def _hidden(mask: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | None:
    """What is added to scores: nothing where `mask` is True, else the least number, under which none counts."""
    if mask is None:
        return None
    return torch.zeros(mask.shape, dtype=dtype).masked_fill_(~mask, torch.finfo(dtype).min)


def _flat(x: torch.Tensor) -> torch.Tensor:
    """Batch and heads as one dimension."""
    return x.reshape(-1, *x.shape[2:])


def _rows_at_once(q: torch.Tensor, k: torch.Tensor) -> list[slice]:
    """Rows of a batch in pieces of a few scores, each of one row at least."""
    rows, heads, length, _ = q.shape
    at_once = max(1, ATTENTION_PIECE // (heads * length * k.shape[2]))
    return [slice(first, first + at_once) for first in range(0, rows, at_once)]


def _of_rows(mask: torch.Tensor | None, rows: slice) -> torch.Tensor | None:
    return mask if mask is None or len(mask) == 1 else mask[rows]


def _scaled(a: torch.Tensor, b: torch.Tensor, scale: float) -> torch.Tensor:
    """`scale` times the products of two batches of matrices."""
    return torch.baddbmm(a.new_empty(1), a, b, beta=0, alpha=scale)


def _kept(x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    return (x.view(keep.dtype) & keep).view(x.dtype)


def _drop(x: torch.Tensor, keep: torch.Tensor, scale: float) -> torch.Tensor:
    return _kept(x, keep).mul_(scale)


def attention_forward(  # type: ignore[no-untyped-def]
    module, query, key, value, attention_mask, dropout=0.0, scaling=None, **kwargs
):
    """transformers' attention interface: (B, H, L, D) in, (B, L, H, D) out."""
    given, scaling = scaling, query.shape[-1] ** -0.5 if scaling is None else scaling
    if dropout > 0.0 and query.shape[1] == key.shape[1] and not getattr(module, "is_causal", False):
        out = _Attention.apply(query, key, value, attention_mask, scaling, dropout)
        return out.transpose(1, 2).contiguous(), None
    if dropout > 0.0 or not _is_ours(query, key, attention_mask, kwargs):
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=given, **kwargs
        )
    if attention_mask is None and getattr(module, "is_causal", True):
        attention_mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool).tril()[None, None]
    key, value = (repeat_kv(x, query.shape[1] // x.shape[1]) for x in (key, value))
    out = _AttentionAgain.apply(query, key, value, attention_mask, scaling)
    return out.transpose(1, 2).contiguous(), None


def _is_ours(query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None, others: dict[str, Any]) -> bool:
    """Where torch's fused kernel is slow: in low precision, backward at any usual length, forward too. It is left
    with long texts, of which nothing as large as L x L may be made, one token beside what has been read, and
    whatever more a class asks of it."""
    (_, heads, length, _), keys = query.shape, key.shape[2]
    return (
        torch.is_grad_enabled()  # scored as wherever the model is opened, bit for bit
        and query.device.type == "cpu"
        and query.dtype.itemsize == _LOW_BYTES
        and length > 1
        and heads * length * keys <= ATTENTION_MOST
        and (mask is None or (mask.dtype == torch.bool and mask.shape[1] == 1))
        and all(others.get(name) is None for name in ("is_causal", "position_bias", "cache", "softcap"))
    )
