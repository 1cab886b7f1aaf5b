"""What kernels of a GPU keep for backward, for a dry run on a machine without one.

Fake tensors of a device that torch was not built for abort the process, so a dry run traces on fake CPU tensors.
Where the real run uses other kernels than a CPU does, these stand in: they compute nothing, and keep what those
keep.

    fused attention     q, k, v, the output, the log-sum-exp in fp32, and the mask as a bias (Dao et al. 2022,
                        arXiv 2205.14135; torch makes the bias of the boolean mask, once a layer)
    dropout             a mask of one byte a number
    quantised matrix    the packed numbers; unpacked while it is used; its input, where the kernel keeps that. On a
                        CPU too: packing looks at the numbers
    chunked loss        so many bytes as it is known to hold
"""

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import sdpa_mask

from trimtab.methods import Strategy
from trimtab.methods.base_precision import matrix_bytes
from trimtab.models.spec import ModelSpec
from trimtab.tuning import structure

_NAME = "trimtab_fused"


def use_gpu_stand_ins(model: PreTrainedModel, *, flash: bool = False, eager: bool = False) -> None:
    """Put those for dropout and attention into a fake `model`, in place. `flash`: keys and values are not
    repeated to the query heads; `eager`: attention stays transformers' own, which keeps the probabilities."""
    for name, module in list(model.named_modules()):
        if type(module) is nn.Dropout:
            model.set_submodule(name, _Dropout(module.p), strict=True)
    if eager:
        model.set_attn_implementation("eager")
        return
    AttentionInterface.register(_NAME, _flash_forward if flash else _attention_forward)
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


def _flash_forward(module, query, key, value, attention_mask, dropout=0.0, scaling=None, **kwargs):  # type: ignore[no-untyped-def]
    """As `_attention_forward`, with the query heads sharing keys and values."""
    out = _FusedAttentionShape.apply(query, key, value, None)
    return out.transpose(1, 2).contiguous(), None


def pack_stand_ins(model: PreTrainedModel, strategy: Strategy, spec: ModelSpec) -> None:
    """Put those for the matrices that `strategy` quantises into a `model` on the meta device, whatever stands
    beside them, in place."""
    path = structure.layers_path(model, spec)
    for layer in range(spec.layers):
        for linear in strategy.quantised(spec, layer):
            name = f"{path}.{layer}.{linear.module}"
            if isinstance(model.get_submodule(name), BaseTunerLayer):
                name += ".base_layer"
            found = model.get_submodule(name)
            assert isinstance(found, nn.Linear)
            number_bytes = matrix_bytes(strategy.base_precision, linear) / found.weight.numel()
            model.set_submodule(name, PackedLinear(found, number_bytes, keeps_input=False), strict=True)


class PackedLinear(nn.Module):
    """A frozen matrix in a few bits: `number_bytes` each, unpacked while it is used, its input kept or not."""

    def __init__(self, linear: nn.Linear, number_bytes: float, *, keeps_input: bool) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.keeps_input, self.dtype = keeps_input, linear.weight.dtype
        packed = torch.empty(round(linear.weight.numel() * number_bytes), dtype=torch.uint8, device="meta")
        self.register_buffer("packed", packed)
        self.bias = linear.bias

    @property
    def weight(self) -> nn.Parameter:
        """Unpacked, anew each time: what PEFT asks a matrix for where it works with the numbers (DoRA)."""
        return nn.Parameter(
            torch.empty(self.out_features, self.in_features, dtype=self.dtype), requires_grad=False
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _PackedShape.apply(x, self.packed, self.out_features, self.dtype, self.keeps_input)


class _PackedShape(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, packed, outputs, dtype, keeps_input):  # type: ignore[no-untyped-def]
        unpacked = torch.empty(outputs, x.shape[-1], dtype=dtype)
        ctx.save_for_backward(*((x,) if keeps_input else ()))
        ctx.shape, ctx.unpacked = x.shape, (unpacked.shape, dtype)
        return torch.empty(*x.shape[:-1], outputs, dtype=x.dtype)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        shape, dtype = ctx.unpacked
        unpacked = torch.empty(shape, dtype=dtype)
        found = torch.empty(ctx.shape, dtype=gradient.dtype)
        del unpacked
        return found, None, None, None, None


class KnownLoss(torch.autograd.Function):
    """A loss that never has all logits in fp32: it keeps `kept` bytes of them."""

    @staticmethod
    def forward(ctx, hidden, weight, kept):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(hidden, weight, torch.empty(kept, dtype=torch.uint8))
        return torch.empty((), dtype=torch.float32)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        hidden, weight, _ = ctx.saved_tensors
        of_weight = torch.empty_like(weight) if weight.requires_grad else None
        return torch.empty_like(hidden), of_weight, None
