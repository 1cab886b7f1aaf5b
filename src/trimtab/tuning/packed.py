"""Frozen matrices in few bits, as bitsandbytes stores them: layers that PEFT knows, with one forward of our own.

A matrix is unpacked into the dtype of its input, multiplied, and let go; backward unpacks it again, and nothing is
kept for it. bitsandbytes' own forwards differ by device and mode: on a CPU its 4-bit layer repacks itself for
evaluation and rounds its scales to bf16; its 8-bit layer rounds activations in evaluation and not in training, and
keeps its input beside autograd, where gradient checkpointing does not find it. Here training, evaluation and a
merged matrix compute the same.

Importing this imports bitsandbytes; `quantised.py` does so where a strategy asks for it.
"""

from typing import Self

import torch
from bitsandbytes import functional
from bitsandbytes.nn import Int8Params, Linear4bit, Linear8bitLt, Params4bit
from torch import nn

from trimtab.methods.base_precision import NF4_BLOCK

_INT8_MOST = 127.0


class Nf4Linear(Linear4bit):
    """A frozen matrix in NF4, its scales in 8 bits."""

    @classmethod
    def of(cls, linear: nn.Linear) -> Self:
        """The matrix of `linear`, packed on the device it is on; the bias is the same parameter."""
        made = cls(
            linear.in_features, linear.out_features, linear.bias is not None, quant_type="nf4", device="meta"
        )
        packed, state = functional.quantize_4bit(
            linear.weight.data, blocksize=NF4_BLOCK, compress_statistics=True, quant_type="nf4"
        )
        made.weight = Params4bit(
            packed, quant_state=state, blocksize=NF4_BLOCK, quant_type="nf4", bnb_quantized=True
        )
        made.quant_state, made.bias = state, linear.bias
        return made

    def unpacked(self, dtype: torch.dtype) -> torch.Tensor:
        """The matrix (outputs, inputs) in `dtype`."""
        state = self.weight.quant_state
        scales = functional.dequantize_blockwise(state.absmax, state.state2)
        scales += state.offset
        return torch.ops.bitsandbytes.dequantize_4bit.default(
            self.weight.data, scales, state.blocksize, state.quant_type, state.shape, dtype
        )

    def tensors(self) -> tuple[torch.Tensor, ...]:
        """All that is held of the matrix."""
        state = self.weight.quant_state
        return self.weight.data, state.absmax, state.code, state.offset, state.state2.absmax, state.state2.code

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _Unpacking.apply(x, self.bias, self)


class Int8Linear(Linear8bitLt):
    """A frozen matrix in int8, a scale a row."""

    @classmethod
    def of(cls, linear: nn.Linear) -> Self:
        """As `Nf4Linear.of`."""
        made = cls(
            linear.in_features,
            linear.out_features,
            linear.bias is not None,
            has_fp16_weights=False,
            device="meta",
        )
        packed, scales, _ = functional.int8_vectorwise_quant(linear.weight.data.to(torch.float16))
        made.weight = Int8Params(packed, requires_grad=False, SCB=scales)
        made.bias = linear.bias
        return made

    def unpacked(self, dtype: torch.dtype) -> torch.Tensor:
        """The matrix (outputs, inputs) in `dtype`."""
        return self.weight.data.to(dtype).mul_((self.weight.SCB / _INT8_MOST).unsqueeze(1))

    def tensors(self) -> tuple[torch.Tensor, ...]:
        """All that is held of the matrix."""
        return self.weight.data, self.weight.SCB

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _Unpacking.apply(x, self.bias, self)

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]
        # A move of the whole model moves the parameter's numbers and leaves its attributes behind.
        moved = super()._apply(fn, recurse)
        self.weight.SCB = self.weight.SCB.to(self.weight.device)
        return moved


class _Unpacking(torch.autograd.Function):
    """x (..., inputs) times the unpacked matrix, plus the bias: (..., outputs)."""

    @staticmethod
    def forward(ctx, x, bias, layer):  # type: ignore[no-untyped-def]
        ctx.layer = layer
        return nn.functional.linear(x, layer.unpacked(x.dtype), bias)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        of_x = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = gradient @ ctx.layer.unpacked(gradient.dtype)
        if ctx.needs_input_grad[1]:
            of_bias = gradient.flatten(0, -2).sum(0)
        return of_x, of_bias, None
