"""The loss over a vocabulary, in chunks: cross entropy as torch computes it, value and gradients."""

import pytest
import torch
from torch.nn import functional as F

from trimtab.data.spec import padded_positions, vocabulary_chunk
from trimtab.evaluation import vocabulary
from trimtab.evaluation.vocabulary import VocabularyHead, cross_entropy_sum, token_scores

WIDTH, VOCABULARY, POSITIONS = 12, 50, 23


def case(dtype: torch.dtype = torch.float32, *, bias: bool = False) -> list[torch.Tensor]:
    torch.manual_seed(1)
    made = [torch.randn(POSITIONS, WIDTH), torch.randn(VOCABULARY, WIDTH)]
    made += [torch.randn(VOCABULARY)] if bias else []
    return [tensor.to(dtype).requires_grad_() for tensor in made]


def chunks_of(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Chunks of `size` positions, each computed with three more."""
    monkeypatch.setattr(vocabulary, "vocabulary_chunk", lambda vocab: size)
    monkeypatch.setattr(vocabulary, "padded_positions", lambda positions, vocab: min(positions, size) + 3)


def plain(head: VocabularyHead, hidden: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    logits = F.linear(hidden, head.weight, head.bias).float() * head.factor
    logits = head.cap * torch.tanh(logits / head.cap) if head.cap else logits
    return F.cross_entropy(logits, tokens, reduction="sum")


@pytest.mark.parametrize("size", [4, 23, 1000])
@pytest.mark.parametrize("form", [{}, {"factor": 0.25}, {"cap": 3.0}, {"factor": 2.0, "cap": 5.0}])
@pytest.mark.parametrize("bias", [False, True])
def test_value_and_gradients_equal_plain_cross_entropy(
    monkeypatch: pytest.MonkeyPatch, size: int, form: dict[str, float], bias: bool
) -> None:
    chunks_of(monkeypatch, size)
    tokens = torch.randint(VOCABULARY, (POSITIONS,), generator=torch.Generator().manual_seed(2))
    found = []
    for loss in (cross_entropy_sum, lambda hidden, tokens, head: plain(head, hidden, tokens)):
        leaves = case(bias=bias)
        head = VocabularyHead(*leaves[1:], **form)
        value = loss(leaves[0], tokens, head) / 7
        value.backward()
        found.append([value.detach(), *(leaf.grad for leaf in leaves)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_frozen_head_gets_no_gradient_and_low_precision_stays_near_fp32() -> None:
    tokens = torch.randint(VOCABULARY, (POSITIONS,), generator=torch.Generator().manual_seed(2))
    hidden, weight = case()
    exact = cross_entropy_sum(hidden, tokens, VocabularyHead(weight.detach()))
    exact.backward()
    assert weight.grad is None and hidden.grad is not None
    low, low_weight = case(torch.bfloat16)
    near = cross_entropy_sum(low, tokens, VocabularyHead(low_weight))
    near.backward()
    assert near.dtype == torch.float32 and abs(near / exact - 1) < 0.01
    assert low.grad is not None
    torch.testing.assert_close(low.grad.float(), hidden.grad, rtol=0.1, atol=0.05)


def test_scores_of_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    chunks_of(monkeypatch, 5)
    hidden, weight = (leaf.detach() for leaf in case())
    logits = hidden @ weight.T
    tokens = logits.argmax(1)
    tokens[::2] = 3
    losses, right = token_scores(hidden, tokens, VocabularyHead(weight))
    torch.testing.assert_close(losses, F.cross_entropy(logits, tokens, reduction="none"))
    assert right.tolist() == (logits.argmax(1) == tokens).tolist()


def test_a_chunk_takes_no_more_than_64_mib_in_fp32_and_few_numbers_of_rows_occur() -> None:
    for vocab in (32_000, 49_152, 128_256, 262_144):
        assert 4 * vocabulary_chunk(vocab) * vocab <= 1 << 26
    assert vocabulary_chunk(10**8) == 32
    assert [padded_positions(n, 49_152) for n in (0, 1, 32, 33, 319, 500)] == [32, 32, 32, 64, 320, 320]
