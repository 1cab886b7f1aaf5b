"""KL of next tokens in chunks, against all logits at once."""

import pytest
import torch
from torch.nn import functional as F

from trimtab.compression.token_kl import token_kl_sum
from trimtab.evaluation import vocabulary
from trimtab.evaluation.vocabulary import VocabularyHead

VOCAB = 70


def head(width: int, seed: int, *, bias: bool, factor: float, cap: float, dtype: torch.dtype) -> VocabularyHead:
    torch.manual_seed(seed)
    weight = torch.randn(VOCAB, width).to(dtype).requires_grad_()
    return VocabularyHead(weight, torch.randn(VOCAB).to(dtype).requires_grad_() if bias else None, factor, cap)


def all_logits(hidden: torch.Tensor, head: VocabularyHead) -> torch.Tensor:
    logits = F.linear(hidden, head.weight, head.bias).float() * head.factor
    return head.cap * torch.tanh(logits / head.cap) if head.cap else logits


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize(("bias", "factor", "cap"), [(False, 1.0, 0.0), (True, 0.5, 5.0)])
@pytest.mark.parametrize("positions", [0, 9, 75])
def test_chunks_add_up_to_the_whole(
    temperature: float, bias: bool, factor: float, cap: float, positions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks of 32 positions in place of the usual 64 MiB."""
    monkeypatch.setattr(vocabulary, "vocabulary_chunk", lambda vocab: 32)
    ours = head(8, 1, bias=bias, factor=factor, cap=cap, dtype=torch.float32)
    theirs = head(12, 2, bias=bias, factor=factor, cap=cap, dtype=torch.float32)
    hidden, teacher_hidden = torch.randn(positions, 8).requires_grad_(), torch.randn(positions, 12)
    trained = [x for x in (hidden, ours.weight, ours.bias) if x is not None]

    said, wanted = (
        all_logits(*side).div(temperature).log_softmax(1) for side in ((hidden, ours), (teacher_hidden, theirs))
    )
    expected = F.kl_div(said, wanted.detach(), log_target=True, reduction="sum") * temperature**2
    gradients = torch.autograd.grad(1.7 * expected, trained)
    found = token_kl_sum(hidden, ours, teacher_hidden, theirs, temperature)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    for mine, whole in zip(torch.autograd.grad(1.7 * found, trained), gradients, strict=True):
        torch.testing.assert_close(mine, whole, rtol=1e-4, atol=1e-4)


def test_bf16_heads_are_near_fp32_ones() -> None:
    low = [
        head(width, seed, bias=False, factor=1.0, cap=0.0, dtype=torch.bfloat16)
        for width, seed in ((8, 1), (12, 2))
    ]
    hidden, teacher_hidden = torch.randn(40, 8).bfloat16(), torch.randn(40, 12).bfloat16()
    high = [VocabularyHead(side.weight.detach().float()) for side in low]
    found = token_kl_sum(hidden, low[0], teacher_hidden, low[1], 2.0)
    expected = token_kl_sum(hidden.float(), high[0], teacher_hidden.float(), high[1], 2.0)
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=1e-2)
